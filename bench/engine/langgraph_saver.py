# pyright: reportMissingImports=false, reportUnknownVariableType=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false
# LangGraph lies in an environment of its own
"""LangGraph with a checkpointer, `sqlite` or `postgres` by the first argument; a checkpoint before each next step."""

import sys
import uuid
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, TypedDict

from langgraph.graph import END, START, StateGraph
from load import Run, serve


class State(TypedDict):
    """What the nodes hand on."""

    number: int


async def node(state: State) -> State:
    """Do nothing."""
    return {"number": state["number"] + 1}


def chain(steps: int, saver: Any) -> Any:  # noqa: ANN401 - LangGraph's own classes
    """Make a graph of nodes, one after the other."""
    graph = StateGraph(State)
    names = [f"t{n}" for n in range(steps)]
    for name in names:
        graph.add_node(name, node)
    for before, after in zip([START, *names], [*names, END], strict=True):
        graph.add_edge(before, after)
    return graph.compile(checkpointer=saver)


@asynccontextmanager
async def saver_of(kind: str, url: str, folder: str) -> AsyncGenerator[Any, None]:
    """Open a checkpointer."""
    if kind == "sqlite":
        from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver  # noqa: PLC0415 - one of the two is used

        async with AsyncSqliteSaver.from_conn_string(f"{folder}/checkpoints.sqlite") as saver:
            yield saver
    else:
        from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver  # noqa: PLC0415 - one of the two is used
        from psycopg.rows import dict_row  # noqa: PLC0415 - as above
        from psycopg_pool import AsyncConnectionPool  # noqa: PLC0415 - as above

        options = {"autocommit": True, "prepare_threshold": 0, "row_factory": dict_row}
        async with AsyncConnectionPool(url, min_size=1, max_size=20, kwargs=options, timeout=120) as pool:
            yield AsyncPostgresSaver(pool)


@asynccontextmanager
async def opened(url: str, folder: str) -> AsyncGenerator[Run, None]:
    """Open a checkpointer and make its graphs when they are needed."""
    graphs: dict[int, Any] = {}
    async with saver_of(sys.argv[1], url, folder) as saver:
        await saver.setup()

        async def run(steps: int) -> None:
            if steps not in graphs:
                graphs[steps] = chain(steps, saver)
            thread = {"configurable": {"thread_id": str(uuid.uuid4())}}
            ended = await graphs[steps].ainvoke({"number": 0}, thread, durability="sync")
            if ended["number"] != steps:
                raise RuntimeError

        yield run


if __name__ == "__main__":
    serve(opened)
