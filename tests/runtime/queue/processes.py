"""Worker processes, to be killed, stopped and asked to end."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from tests.doubles.fixtures import ROOT
from tests.keyfile import KEY_FILE


class WorkerProcess:
    """A running `python -m agent_factory.worker`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    def send(self, what: signal.Signals) -> None:
        self._process.send_signal(what)

    async def kill(self) -> None:
        """End it without a warning."""
        with suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGKILL)
        await self._process.wait()

    async def ended(self) -> int:
        return await self._process.wait()


class Workers:
    """Starts workers on one database; `settings` are those of the queue."""

    def __init__(self, url: str, folder: Path, hosts: str, **settings: object) -> None:
        quick = {"lease": 1.0, "beat": 0.1, "poll": 0.1, "grace": 0.0, **settings}
        self._environment = {
            "AF_DATABASE__URL": url,
            "AF_DATABASE__DATA_DIR": str(folder),
            "AF_TOOLS__PRIVATE_HOSTS": f'["{hosts}"]',
            "AF_ENCRYPTION__KEY_FILE": str(KEY_FILE),
            "AF_LOGGING__LEVEL": "error",
            **{f"AF_QUEUE__{name.upper()}": str(value) for name, value in quick.items()},
        }
        self._started: list[WorkerProcess] = []

    async def start(self, **more: str) -> WorkerProcess:
        environment = {**os.environ, **self._environment, **more}  # noqa: TID251 - handed on whole
        command = [sys.executable, "-m", "agent_factory.worker"]
        made = WorkerProcess(await asyncio.create_subprocess_exec(*command, cwd=ROOT, env=environment))
        self._started.append(made)
        return made

    async def close(self) -> None:
        for process in self._started:
            await process.kill()


@asynccontextmanager
async def workers_on(url: str, folder: Path, hosts: str, **settings: object) -> AsyncGenerator[Workers, None]:
    """Start workers that end with the block."""
    made = Workers(url, folder, hosts, **settings)
    try:
        yield made
    finally:
        await made.close()
