"""Another agent as a tool."""

import pytest

from agent_factory.core.tool import ToolContext, ToolDenied, ToolUnavailable
from agent_factory.kit.errors import Invalid
from agent_factory.tools.agent import plugin


async def test_the_named_agent_gets_the_message_and_its_answer_is_the_result() -> None:
    async def run(name: str, message: str) -> str:
        return f"{name} heard {message}"

    (tool,) = await plugin.build({"agent": "researcher", "description": "Knows the archive."})
    assert (tool.name, tool.description) == ("ask_researcher", "Knows the archive.")
    context = ToolContext(resources={"run_agent": run})
    assert await tool.call({"message": "a question"}, context) == "researcher heard a question"


async def test_a_refusal_of_whoever_runs_agents_comes_through() -> None:
    async def run(name: str, message: str) -> str:
        raise ToolDenied("too deep")

    (tool,) = await plugin.build({"agent": "researcher"})
    with pytest.raises(ToolDenied, match="too deep"):
        await tool.call({"message": "x"}, ToolContext(resources={"run_agent": run}))


async def test_without_anybody_who_runs_agents_it_says_so() -> None:
    (tool,) = await plugin.build({"agent": "researcher"})
    with pytest.raises(ToolUnavailable):
        await tool.call({"message": "x"})


@pytest.mark.parametrize("config", [{}, {"agent": ""}, {"agent": "../x"}, {"agent": "Support!"}])
async def test_an_agent_needs_a_name(config: dict[str, str]) -> None:
    with pytest.raises(Invalid) as caught:
        await plugin.build(config)
    assert caught.value.errors[0].pointer == "/config/agent"
