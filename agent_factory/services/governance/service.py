"""The audit trail of an organisation: looked into, taken along, and verified (S196-S198)."""

from collections.abc import AsyncGenerator
from uuid import UUID

import msgspec

from agent_factory.database.audit import newest_signatures, signers
from agent_factory.database.session import ReadSession
from agent_factory.kit.pages import Page, page
from agent_factory.runtime.platform import Platform
from agent_factory.security.audit import Finding, Progress
from agent_factory.security.audit.checkpoints import Checkpoint
from agent_factory.security.audit.proving import Proof, Prover
from agent_factory.security.auth import Actor
from agent_factory.services.governance import queries
from agent_factory.services.governance.errors import AuditEventNotFound
from agent_factory.services.governance.queries import Filter, Seen

__all__ = [
    "Filter",
    "Proof",
    "Seen",
    "SigningKey",
    "Verified",
    "checkpoints",
    "export",
    "get",
    "keys",
    "list_events",
    "verify",
]

_PAGE = 500
_MOST_FINDINGS = 1_000


class Verified(msgspec.Struct, frozen=True):
    """How far was read, and what was found; with `more`, there is more than is told."""

    progress: Progress
    findings: list[Finding]
    more: bool


class SigningKey(msgspec.Struct, frozen=True):
    """A public key, and the first and the last checkpoint that it signed."""

    id: UUID
    public_key: bytes
    first_checkpoint: int | None
    last_checkpoint: int | None
    signs_now: bool


async def list_events(session: ReadSession, actor: Actor, wanted: Filter, limit: int, after: UUID | None) -> Page[Seen]:
    """List the organisation's events, newest first."""
    rows = await queries.events(session, actor, wanted, limit + 1, after)
    return page(rows, limit, rows[limit - 1][0].id if len(rows) > limit else None)


async def get(session: ReadSession, actor: Actor, event_id: UUID) -> Seen:
    """Find an event; raises `AuditEventNotFound`."""
    found = await queries.event(session, actor, event_id)
    if found is None:
        raise AuditEventNotFound("There is no such event in your organisation.")
    return found


async def export(
    platform: Platform, actor: Actor, wanted: Filter, *, proved: bool
) -> AsyncGenerator[tuple[Seen, Proof | None], None]:
    """Give every event in the order in which they came, however many there are, with its proof if `proved`."""
    after: UUID | None = None
    prover = Prover(platform.database.pool)
    while True:
        async with platform.database.read(actor.organization_id) as session:
            rows = await queries.events_onward(session, actor, wanted, _PAGE, after)
        for row in rows:
            seal = row[1]
            yield row, await prover.proof(seal.sequence) if proved and seal is not None else None
        if len(rows) < _PAGE:
            return
        after = rows[-1][0].id


async def verify(platform: Platform, actor: Actor) -> Verified:
    """Read the organisation's whole chain, and name every row of it that was touched."""
    progress = Progress()
    findings: list[Finding] = []
    async for finding in platform.trail.verify(actor.organization_id, progress):
        if len(findings) == _MOST_FINDINGS:
            return Verified(progress, findings, more=True)
        findings.append(finding)
    return Verified(progress, findings, more=False)


async def keys(platform: Platform) -> list[SigningKey]:
    """List the keys that sign checkpoints, oldest first: those that our vault sealed."""
    trusted = await platform.trail.keys.trusted()
    used = await signers(platform.database.pool)
    newest = list(trusted)[-1] if trusted else None
    return [
        SigningKey(key_id, key.public_bytes_raw(), *used.get(key_id, (None, None)), key_id == newest)
        for key_id, key in trusted.items()
    ]


async def checkpoints(
    platform: Platform, limit: int, before: UUID | None
) -> tuple[Page[Checkpoint], dict[UUID, bytes]]:
    """List checkpoints, newest first, and the public keys that count."""
    rows = await newest_signatures(platform.database.pool, before.int if before else None, limit + 1)
    found = [Checkpoint.of(row) for row in rows]
    keys = await platform.trail.keys.trusted()
    last = UUID(int=found[limit - 1].number) if len(found) > limit else None
    return page(found, limit, last), {key_id: key.public_bytes_raw() for key_id, key in keys.items()}
