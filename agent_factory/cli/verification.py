"""The audit trail verified in the database itself, as its operator can."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import typer

from agent_factory.cli import options
from agent_factory.cli.configuration import settings
from agent_factory.database.embedded import Server
from agent_factory.database.session import Database
from agent_factory.kit.ids import encode
from agent_factory.security.audit import Finding, Progress, Trail
from agent_factory.security.encryption import open_vault
from agent_factory.settings import Settings

_TELL_EVERY = 1_000
"""Events between two words about how far it has come."""

Tell = Callable[[int, int], None]


class Verified(msgspec.Struct, frozen=True):
    """How far was read, and what was found."""

    progress: Progress
    findings: list[Finding]

    def summary(self) -> str:
        """Say it in a sentence."""
        read = f"{self.progress.events} events in {self.progress.checkpoints} signed checkpoints"
        rest = f"{self.progress.head - self.progress.signed} not signed yet, {self.progress.pending} not sealed yet"
        verdict = f"{len(self.findings)} row(s) were touched" if self.findings else "nobody touched them"
        return f"{read}, {rest}: {verdict}"

    def rows(self) -> list[dict[str, Any]]:
        """Give the findings as they are printed."""
        return [
            {**msgspec.to_builtins(each), "event_id": each.event_id and encode("aud", each.event_id)}
            for each in self.findings
        ]

    def report(self) -> dict[str, Any]:
        """Give everything for a program."""
        return {"sound": not self.findings, **msgspec.to_builtins(self.progress), "findings": self.rows()}


async def verify_database(ctx: typer.Context, tell: Tell) -> Verified:
    """Read the chain of all organisations; raises `KeyMissing` without the key file that sealed the trail's keys."""
    progress, findings = Progress(), list[Finding]()
    home = options.of(ctx).state
    configured = settings(database={"data_dir": home.home})
    async with _database(configured, Server(home.postgres)) as database:
        vault = open_vault(configured.encryption, database.pool, configured.database.data_dir)
        trail = Trail(database, vault, configured.audit, configured.database.data_dir / "audit")
        async for finding in trail.verify(progress=progress, step=_every(_TELL_EVERY, tell)):
            findings.append(finding)
    return Verified(progress, findings)


def _every(count: int, tell: Tell) -> Callable[[Progress], None]:
    told = 0

    def step(progress: Progress) -> None:
        nonlocal told
        if progress.events >= told + count:
            told = progress.events
            tell(progress.events, progress.head)

    return step


@asynccontextmanager
async def _database(configured: Settings, embedded: Server) -> AsyncGenerator[Database, None]:
    """Open the database of the settings, or the embedded one, which is started where it does not run."""
    url = configured.database.url
    started = url is None
    database = Database(url or await embedded.start(), configured.database)
    try:
        yield database
    finally:
        await database.close()
        if started:
            await embedded.stop()
