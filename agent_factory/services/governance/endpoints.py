"""HTTP for the audit trail."""

from collections.abc import AsyncGenerator, AsyncIterable
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Query
from fastapi.responses import StreamingResponse

from agent_factory.api.access import needs
from agent_factory.api.dependencies import ActorDep, PlatformDep, Reader
from agent_factory.api.paging import PagingDep
from agent_factory.api.routing import router
from agent_factory.api.schemas import Id, Instant
from agent_factory.kit import ids
from agent_factory.kit.clock import now
from agent_factory.kit.errors import FieldError, Invalid, NotFound
from agent_factory.security.audit import Outcome
from agent_factory.services.governance import service
from agent_factory.services.governance.schemas import (
    AuditKeyOut,
    AuditKeyPage,
    CheckpointOut,
    CheckpointPage,
    EventOut,
    EventPage,
    FindingOut,
    ProofOut,
    ProvedOut,
    SealOut,
    Verification,
)

events = router("/api/v1/audit-events", "audit-events")
checkpoints = router("/api/v1/audit-checkpoints", "audit-checkpoints")
keys = router("/api/v1/audit-keys", "audit-keys")
trail = router("/api/v1/audit", "audit")

EventPath = Annotated[UUID, Id("aud", in_path=True)]
_LINES: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/x-ndjson": {"schema": {"type": "string"}}}, "description": "One event a line."}
}


def _wanted(
    *,
    action: Annotated[str | None, Query(max_length=100, description="Exactly this action.")] = None,
    actor: Annotated[str | None, Query(max_length=31, description="A person or a key, by id.")] = None,
    resource: Annotated[str | None, Query(max_length=200, description="What it was done to, by id.")] = None,
    outcome: Annotated[Outcome | None, Query()] = None,
    since: Annotated[Instant | None, Query(description="From this moment on.")] = None,
    until: Annotated[Instant | None, Query(description="Before this moment.")] = None,
) -> service.Filter:
    return service.Filter(action, _actor(actor), resource, outcome, since, until)


FilterDep = Annotated[service.Filter, Depends(_wanted)]


@events.get("")
@needs("org:audit")
async def list_(session: Reader, actor: ActorDep, paging: PagingDep, wanted: FilterDep) -> EventPage:
    """List what happened in the organisation, newest first."""
    found = await service.list_events(session, actor, wanted, paging.limit, paging.after)
    return EventPage(data=[_shown(seen) for seen in found.data], next_cursor=found.next_cursor, has_more=found.has_more)


@events.get("/{event_id}")
@needs("org:audit")
async def get(session: Reader, actor: ActorDep, event_id: EventPath) -> EventOut:
    """Show one event, with its place in the chain."""
    return _shown(await service.get(session, actor, event_id))


@events.get(":export", response_class=StreamingResponse, responses=_LINES)
@needs("org:audit")
async def export(
    platform: PlatformDep,
    actor: ActorDep,
    wanted: FilterDep,
    *,
    proofs: Annotated[bool, Query(description="With what proves each event by the public keys alone.")] = False,
) -> StreamingResponse:
    """Give every event as JSON lines, oldest first."""
    found = service.export(platform, actor, wanted, proved=proofs)
    return StreamingResponse(_lines(found, proofs), media_type="application/x-ndjson")


@keys.get("", name="list_")
@needs("org:audit")
async def list_keys(platform: PlatformDep) -> AuditKeyPage:
    """List the public keys that checkpoints are signed with, oldest first."""
    data = [AuditKeyOut.model_validate(each) for each in await service.keys(platform)]
    return AuditKeyPage(data=data, next_cursor=None, has_more=False)


@checkpoints.get("", name="list_")
@needs("org:audit")
async def list_checkpoints(platform: PlatformDep, paging: PagingDep) -> CheckpointPage:
    """List the signatures over the chain of all events, newest first."""
    found, known = await service.checkpoints(platform, paging.limit, paging.after)
    data = [
        CheckpointOut(
            **{
                name: getattr(each, name)
                for name in CheckpointOut.model_fields
                if hasattr(each, name) and name != "statement"
            },
            public_key=known.get(each.key_id),
            statement=each.statement().decode(),
        )
        for each in found.data
    ]
    return CheckpointPage(data=data, next_cursor=found.next_cursor, has_more=found.has_more)


@trail.get(":verify")
@needs("org:audit")
async def verify(platform: PlatformDep, actor: ActorDep) -> Verification:
    """Read the organisation's whole chain, and name every row of it that was touched."""
    done = await service.verify(platform, actor)
    return Verification(
        sound=not done.findings,
        events=done.progress.events,
        pending=done.progress.pending,
        signed=done.progress.signed,
        checkpoints=done.progress.checkpoints,
        findings=[FindingOut.model_validate(finding) for finding in done.findings],
        more=done.more,
        verified_at=now(),
    )


def _actor(text: str | None) -> UUID | None:
    if text is None:
        return None
    prefix = "key" if text.startswith("key_") else "usr"
    try:
        return ids.decode(prefix, text)
    except NotFound:
        raise Invalid(
            "There can be no such actor.", errors=[FieldError("/query/actor", "is neither a person's id nor a key's")]
        ) from None


def _shown(seen: service.Seen) -> EventOut:
    return EventOut(**_members(seen))


def _members(seen: service.Seen) -> dict[str, Any]:
    event, seal = seen
    shown = {name: getattr(event, name) for name in EventOut.model_fields if name != "seal"}
    return {**shown, "seal": None if seal is None else SealOut.model_validate(seal)}


async def _lines(
    found: AsyncIterable[tuple[service.Seen, service.Proof | None]], proved: bool
) -> AsyncGenerator[bytes, None]:
    async for seen, proof in found:
        line = _shown(seen)
        if proved:
            shown = None if proof is None else ProofOut.model_validate(proof)
            line = ProvedOut(**_members(seen), proof=shown)
        yield line.model_dump_json().encode() + b"\n"
