"""What `up` was asked for, and how this process turns into the small one that does it."""

import os
import sys
from enum import StrEnum
from typing import NoReturn

import msgspec


class ServerKind(StrEnum):
    """The HTTP servers."""

    GRANIAN = "granian"
    UVICORN = "uvicorn"


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """The options of one `up`."""

    home: str
    host: str
    port: int
    workers: int
    header_timeout: float
    database_url: str | None
    server: ServerKind
    debug: bool

    def become(self) -> NoReturn:
        """Replace this process by the supervisor.

        What parses commands would stay in memory for as long as the server
        runs, and is several times larger than the supervisor. The plan goes
        through a pipe, because a database URL has no place in a command line.
        """
        inheritable = True
        reading, writing = os.pipe()
        os.write(writing, msgspec.json.encode(self))
        os.close(writing)
        os.set_inheritable(reading, inheritable)
        sys.stdout.flush()
        command = [sys.executable, "-P", "-m", "agent_factory.cli.supervisor", str(reading)]
        os.execv(sys.executable, command)  # noqa: S606 - ourselves

    @classmethod
    def received(cls) -> "Plan":
        """Read the plan that the process was given when it became the supervisor."""
        with os.fdopen(int(sys.argv[1]), "rb") as pipe:
            return msgspec.json.decode(pipe.read(), type=cls)
