# pyright: reportMissingImports=false, reportUnknownVariableType=false, reportUnknownMemberType=false
# pyright: reportUntypedFunctionDecorator=false, reportUnknownArgumentType=false, reportUnusedFunction=false
# DBOS lies in an environment of its own
"""DBOS as its documentation shows it: a workflow that calls steps, one after the other."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from dbos import DBOS, DBOSConfig
from load import Run, serve


@asynccontextmanager
async def opened(url: str, _folder: str) -> AsyncGenerator[Run, None]:
    """Launch DBOS on a database."""
    DBOS(
        config=DBOSConfig(
            name="bench", system_database_url=url, log_level="ERROR", application_version="1", run_admin_server=False
        )
    )

    @DBOS.step()
    async def step(number: int) -> int:
        return number

    @DBOS.workflow()
    async def workflow(steps: int) -> int:
        for number in range(steps):
            await step(number)
        return steps

    DBOS.launch()

    async def run(steps: int) -> None:
        if await workflow(steps) != steps:
            raise RuntimeError

    try:
        yield run
    finally:
        DBOS.destroy()


if __name__ == "__main__":
    serve(opened)
