"""What the endpoints that begin turns answer: the whole turn, where it is, or its events."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Annotated, Any
from uuid import UUID

import msgspec
from fastapi import Query, Request, Response

from agent_factory.api.sse import EVENT_SCHEMA, EventStream, frame
from agent_factory.core.event import ApprovalNeeded, TurnEvent
from agent_factory.core.message import Media, Message, Part, Text
from agent_factory.kit import ids
from agent_factory.runtime.hub import START, EventId
from agent_factory.runtime.scope import TurnEnd
from agent_factory.services.runs.rules import Begun, answer_of, event_name, live_run_out, public
from agent_factory.services.runs.schemas import Content, MediaIn, TextIn, TurnOut
from agent_factory.services.runs.service import Turn, found_run, show

JSON = "application/json"

Wait = Annotated[
    float, Query(ge=0, le=300, allow_inf_nan=False, description="Seconds to wait for the end; then 202 and Location.")
]

DOCUMENTED: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "With `stream` or `Accept: text/event-stream`, the turn's events.",
        "content": {"text/event-stream": {"schema": EVENT_SCHEMA}},
    },
    201: {"model": TurnOut, "description": "The turn has ended."},
    202: {"model": TurnOut, "description": "The turn goes on, or waits for a decision; see `Location`."},
}
EVENTS: dict[int | str, dict[str, Any]] = {
    200: {"description": "Server-sent events.", "content": {"text/event-stream": {"schema": EVENT_SCHEMA}}}
}


def message_of(content: Content) -> Message:
    """Make the user's message of what was sent."""
    if isinstance(content, str):
        return Message("user", (Text(content),))
    return Message("user", tuple(_part(item) for item in content))


def _part(item: TextIn | MediaIn) -> Part:
    if isinstance(item, TextIn):
        return Text(item.text)
    return Media(item.media_type, item.url, item.data, item.name)


def wants_events(request: Request, stream: bool) -> bool:
    """Tell whether a caller asked for events: in the body, or by `Accept`."""
    return stream or "text/event-stream" in request.headers.get("accept", "")


async def answer(turn: Turn, *, events: bool, wait: float) -> Response:
    """Answer with a turn's events, or with the turn: 201 once it has ended, 202 before."""
    begun = _begun(turn)
    headers = {"Location": f"/api/v1/runs/{begun.id}"}
    if events:
        return EventStream(frames(turn.run.events(), run_started(begun.id, begun.session_id)), headers=headers)
    end = await ended(turn.run.wait(), wait)
    if turn.run.lost is not None:
        raise turn.run.lost
    elsewhere = end is not None and turn.run.settled is None
    run = await _kept(turn) if elsewhere else live_run_out(begun, end, turn.run.settled)
    done = end is not None and not isinstance(end, ApprovalNeeded)
    return Response(msgspec.json.encode({"run": run, "message": answer_of(end)}), 201 if done else 202, headers, JSON)


async def _kept(turn: Turn) -> dict[str, Any]:
    """Read a run that another process has ended."""
    async with turn.platform.database.read(turn.actor.organization_id) as session:
        run = await show(session, turn.actor, await found_run(session, turn.actor, turn.run.id))
    return run.model_dump(mode="json")


async def ended(waiting: Any, wait: float) -> TurnEnd | None:  # noqa: ANN401 - a coroutine
    """Wait for an end for some seconds; None where there is none yet."""
    try:
        async with asyncio.timeout(wait):
            return await waiting
    except TimeoutError:
        return None


def _begun(turn: Turn) -> Begun:
    return Begun(
        id=ids.encode("run", turn.run.id),
        source=turn.source,
        agent_id=ids.encode("agt", turn.pinned.agent_id),
        agent_version=turn.pinned.version,
        session_id=public("ses", turn.run.session_id),
        message=turn.message,
        at=turn.run.started_at,
    )


def run_started(run: str, session: str | None, prefix: str = "") -> bytes:
    """Write the first event of every run."""
    data = {"type": "run.started", "run_id": run, "session_id": session}
    return frame(msgspec.json.encode(data), event="run.started", id=f"{prefix}{START}")


def written(at: EventId, event: TurnEvent, prefix: str = "") -> bytes:
    """Write an event."""
    return frame(msgspec.json.encode(event), event=event_name(event), id=f"{prefix}{at}")


async def frames(
    events: AsyncGenerator[tuple[EventId, TurnEvent], None], first: bytes | None
) -> AsyncGenerator[bytes, None]:
    """Write a run's events, after a first frame."""
    if first is not None:
        yield first
    try:
        async for at, event in events:
            yield written(at, event)
    finally:
        await events.aclose()


async def session_frames(
    events: AsyncGenerator[tuple[UUID, EventId | None, TurnEvent | None], None], session: str
) -> AsyncGenerator[bytes, None]:
    """Write a session's events; their ids name the run, too."""
    try:
        async for run_id, at, event in events:
            run = ids.encode("run", run_id)
            if at is None or event is None:
                yield run_started(run, session, f"{run}/")
            else:
                yield written(at, event, f"{run}/")
    finally:
        await events.aclose()
