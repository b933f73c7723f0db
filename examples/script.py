"""An agent in a script: your own function as a tool, and a second turn that knows the first.

Run it with `python examples/script.py`.
"""

from agent_factory import Agent, run_sync, tool

STOCK = {"chair": 12, "table": 0, "lamp": 3}


@tool
def stock_level(article: str) -> str:
    """Tell how many pieces of an article are in stock.

    Args:
        article: One of chair, table, lamp.
    """
    count = STOCK.get(article.strip().lower().removesuffix("s"))
    return f"{count} in stock" if count is not None else f"there is no article {article!r}"


def main() -> None:
    """Ask twice, in one conversation."""
    agent = Agent(
        name="shop",
        instructions="You answer customers. Look the stock up before you promise anything.",
        tools=(stock_level, "calculator"),
    )
    first = run_sync(agent, 'Please use stock_level for "chair".')
    print(first.text)

    second = run_sync(agent, "What is 12 * 49.90?", history=first.messages)
    print(second.text)
    print(f"{len(second.messages)} messages, {second.usage.total_tokens} tokens")


if __name__ == "__main__":
    main()
