"""The embedded PostgreSQL beside a server that is not asynchronous."""

import asyncio
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from agent_factory.cli.problems import CommandFailed
from agent_factory.database.embedded import Server
from agent_factory.kit.errors import Problem


@contextmanager
def embedded(folder: Path) -> Generator[str, None, None]:
    """Run PostgreSQL with its data in `folder` for the time of the block, and give its URL.

    A thread of its own watches over it and starts it again when it dies. The
    thread lasts as long as this process: the database ends with the thread
    that started it.
    """
    keeper = _Keeper(folder)
    keeper.start()
    try:
        yield keeper.url()
    finally:
        keeper.stop()


class _Keeper(threading.Thread):
    """Starts the server, keeps it up, stops it when told."""

    def __init__(self, folder: Path) -> None:
        super().__init__(name="postgres", daemon=True)
        self._folder = folder
        self._loop = asyncio.new_event_loop()
        self._told = asyncio.Event()
        self._settled = threading.Event()
        self._url = ""
        self._failure: BaseException | None = None

    def run(self) -> None:
        """Be the thread."""
        try:
            self._loop.run_until_complete(self._keep())
        finally:
            self._loop.close()

    async def _keep(self) -> None:
        server = Server(self._folder)
        try:
            self._url = await server.start()
        except Exception as error:  # noqa: BLE001 - raised again in the thread that waits for it
            self._failure = error
            return
        finally:
            self._settled.set()
        await self._told.wait()
        await server.stop()

    def url(self) -> str:
        """Wait until the server is ready; raises what kept it from starting."""
        self._settled.wait()
        if isinstance(self._failure, Problem):
            raise self._failure
        if self._failure is not None:
            raise CommandFailed(f"PostgreSQL does not start: {self._failure}") from self._failure
        return self._url

    def stop(self) -> None:
        """Stop the server and wait for it."""
        if self.is_alive():
            self._loop.call_soon_threadsafe(self._told.set)
        self.join()
