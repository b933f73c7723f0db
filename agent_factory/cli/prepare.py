"""Brings a database to its head and founds the first organisation, in a process of its own.

The process that supervises the server stays small, because what a migration
imports is gone with this one.
"""

import asyncio
import logging
import subprocess
import sys
from contextlib import redirect_stdout

import msgspec
import structlog

from agent_factory.cli.problems import Told
from agent_factory.kit.errors import Problem


class Prepared(msgspec.Struct, frozen=True):
    """What was done: the first owner's key where there was no organisation yet, or what went wrong."""

    key: str | None = None
    problem: dict[str, object] | None = None


def in_child(url: str) -> str | None:
    """Prepare the database at `url`; give the first owner's key if this made one."""
    command = [sys.executable, "-P", "-m", "agent_factory.cli.prepare"]
    child = subprocess.run(command, input=url.encode(), stdout=subprocess.PIPE, check=False)  # noqa: S603 - ourselves
    try:
        done = msgspec.json.decode(child.stdout, type=Prepared)
    except msgspec.DecodeError:
        raise Problem("The database could not be prepared; what is written above says why.") from None
    if done.problem is not None:
        raise Told(done.problem)
    return done.key


async def prepare(url: str) -> str | None:
    """Migrate, then found the first organisation where there is none."""
    from agent_factory.database.migrations import migrate
    from agent_factory.database.session import Database
    from agent_factory.services.organizations.service import bootstrap

    await migrate(url)
    database = Database(url)
    try:
        founded = await bootstrap(database)
    finally:
        await database.close()
    return founded.secret if founded else None


def _main() -> None:
    # stdout carries the answer alone
    with redirect_stdout(sys.stderr):
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
        try:
            done = Prepared(key=asyncio.run(prepare(sys.stdin.read())))
        except Problem as problem:
            done = Prepared(problem=problem.as_dict())
    sys.stdout.buffer.write(msgspec.json.encode(done))


if __name__ == "__main__":
    _main()
