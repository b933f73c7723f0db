"""The audit trail verified in the database itself and its key rotated, as its operator can; and exports checked."""

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import typer
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from agent_factory.cli import options
from agent_factory.cli.configuration import settings
from agent_factory.cli.work import running_database
from agent_factory.database.embedded import Server
from agent_factory.database.session import Database
from agent_factory.kit.errors import Invalid
from agent_factory.kit.ids import encode
from agent_factory.security.audit import Finding, Progress, Trail, offline
from agent_factory.security.encryption import open_vault
from agent_factory.settings import Settings

_TELL_EVERY = 1_000
"""Events between two words about how far it has come."""

Tell = Callable[[int, int], None]


class _PublicKey(msgspec.Struct):
    id: UUID
    public_key: str


class Verified(msgspec.Struct, frozen=True):
    """How far was read, and what was found."""

    progress: Progress
    findings: list[Finding]

    def summary(self) -> str:
        """Say it in a sentence."""
        read = f"{self.progress.events} events in {self.progress.checkpoints} signed checkpoints"
        rest = f"{self.progress.head - self.progress.signed} not signed yet, {self.progress.pending} not sealed yet"
        verdict = f"{len(self.findings)} row(s) were touched" if self.findings else "nobody touched them"
        return "\n".join([f"{read}, {rest}: {verdict}", *_signers(self.progress.signers)])

    def rows(self) -> list[dict[str, Any]]:
        """Give the findings as they are printed."""
        return [
            {**msgspec.to_builtins(each), "event_id": each.event_id and encode("aud", each.event_id)}
            for each in self.findings
        ]

    def report(self) -> dict[str, Any]:
        """Give everything for a program."""
        return {"sound": not self.findings, **msgspec.to_builtins(self.progress), "findings": self.rows()}


class Checked(msgspec.Struct, frozen=True):
    """How far an export was read, and which of its lines are not what was signed."""

    progress: offline.Checked
    findings: list[offline.Fault]

    def summary(self) -> str:
        """Say it in a sentence."""
        read = f"{self.progress.events} events, {self.progress.signed} of them signed"
        places = f"places {self.progress.first} to {self.progress.last} of the organisation's chain"
        verdict = f"{len(self.findings)} line(s) are not what was signed" if self.findings else "nobody touched them"
        return "\n".join([f"{read}, {places}: {verdict}", *_signers(self.progress.signers)])

    def rows(self) -> list[dict[str, Any]]:
        """Give the findings as they are printed."""
        return [msgspec.to_builtins(each) for each in self.findings]

    def report(self) -> dict[str, Any]:
        """Give everything for a program."""
        return {"sound": not self.findings, **msgspec.to_builtins(self.progress), "findings": self.rows()}


def verify_file(file: Path, keys: Path) -> Checked:
    """Check an export by the public keys alone; raises `Invalid` for keys that are none."""
    try:
        listed = msgspec.json.decode(keys.read_bytes(), type=list[_PublicKey])
        known = {each.id: Ed25519PublicKey.from_public_bytes(bytes.fromhex(each.public_key)) for each in listed}
    except (msgspec.DecodeError, ValueError):
        raise Invalid(f"{keys} has no public keys; write them there by: agent-factory audit keys -o json") from None
    progress = offline.Checked()
    with file.open("rb") as lines:
        return Checked(progress, list(offline.check(lines, known, progress)))


async def rotate(ctx: typer.Context, database_url: str | None) -> UUID:
    """Let another key sign the trail of a database; give its id."""
    home = options.of(ctx).state
    configured = settings(database={"url": database_url or running_database(ctx), "data_dir": home.home})
    assert configured.database.url is not None
    database = Database(configured.database.url, configured.database)
    try:
        vault = open_vault(configured.encryption, database.pool, home.home)
        sealer = Trail(database, vault, configured.audit, home.home / "audit").sealer()
        key_id = await sealer.rotate()
        await sealer.finish()
    finally:
        await database.close()
    return key_id


def _signers(signers: Mapping[UUID, tuple[int, int]]) -> list[str]:
    return [f"checkpoints {first} to {last} are signed by {key_id}" for key_id, (first, last) in signers.items()]


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
