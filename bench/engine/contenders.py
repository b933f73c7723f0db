"""Starts the contenders, each with a PostgreSQL of its own, and measures what they and their servers use."""

import json
import subprocess
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from agent_factory.database.embedded import Server
from bench.processes import cpu_seconds

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).parent
PEERS = (
    "dbos==3.4.0",
    "langgraph",
    "langgraph-checkpoint-sqlite",
    "langgraph-checkpoint-postgres",
    "psycopg[binary]",
    "uvloop",
)


class Contender(NamedTuple):
    """An engine: what it is called, what runs it, whether it needs PostgreSQL and the peers' environment."""

    name: str
    script: tuple[str, ...]
    postgres: bool = True
    peer: bool = True


CONTENDERS = (
    Contender("raw group commit (the limit)", ("-m", "bench.engine.raw"), peer=False),
    Contender("Agent Factory", ("-m", "bench.engine.ours"), peer=False),
    Contender("DBOS 3.4.0, a step a node", (str(HERE / "stock_dbos.py"),)),
    Contender("LangGraph, SQLite checkpointer", (str(HERE / "langgraph_saver.py"), "sqlite"), postgres=False),
    Contender("LangGraph, PostgreSQL checkpointer", (str(HERE / "langgraph_saver.py"), "postgres")),
)


class Measure(NamedTuple):
    """What a stretch of load came to."""

    steps_per_second: float
    runs_per_second: float
    cpu_per_1000: float
    """CPU seconds of client and servers per 1,000 steps."""


class Running:
    """A contender's process, and its server."""

    def __init__(self, name: str, process: subprocess.Popen[str], server: Server | None) -> None:
        """Hold both."""
        self.name = name
        self._process = process
        self._server = server

    def ask(self, question: dict[str, Any]) -> dict[str, Any]:
        """Send a line and read the answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        for line in self._process.stdout:
            if line.startswith("{"):  # what a library may print beside it does not
                return json.loads(line)
        raise RuntimeError(f"{self.name} ended: {self._process.wait()}")

    def measure(self, steps: int, concurrency: int, seconds: float) -> Measure:
        """Load it for some seconds."""
        pids = [self._process.pid]
        if self._server is not None and self._server.pid is not None:
            pids.append(self._server.pid)
        before = cpu_seconds(pids)
        answer = self.ask({"steps": steps, "concurrency": concurrency, "seconds": seconds})
        used = cpu_seconds(pids) - before
        runs, elapsed = answer["runs"], answer["seconds"]
        return Measure(runs * steps / elapsed, runs / elapsed, used / (runs * steps) * 1000)


@contextmanager
def running(contender: Contender, python: Path, folder: Path) -> Generator[Running, None, None]:
    """Start a contender for the block; its PostgreSQL is ours with fsync on, as the product has it."""
    folder.mkdir()
    server = Server(folder / "postgres") if contender.postgres else None
    url = server.start_sync() if server is not None else ""
    program = str(python) if contender.peer else sys.executable
    try:
        with subprocess.Popen(
            [program, *contender.script], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdin is not None
            made = Running(contender.name, process, server)
            try:
                made.ask({"url": url, "folder": str(folder)})
                yield made
            finally:
                process.stdin.close()
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    process.kill()
    finally:
        if server is not None:
            server.stop_sync()


def peers(folder: Path, packages: Sequence[str] = PEERS) -> Path:
    """Make an environment with the other engines; gives its Python, or raises `CalledProcessError`."""
    uv = str(Path(sys.executable).with_name("uv"))
    python = folder / "bin" / "python"
    for command in (
        [uv, "venv", "--quiet", "--python", sys.executable, str(folder)],
        [uv, "pip", "install", "--quiet", "--python", str(python), *packages],
    ):
        subprocess.run(command, check=True, capture_output=True, text=True)
    return python
