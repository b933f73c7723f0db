"""The events of runs and sessions, for those who watch."""

import asyncio
from collections.abc import AsyncGenerator
from uuid import UUID

import msgspec

from agent_factory.core.event import TurnEvent
from agent_factory.runtime.hub import EventId
from agent_factory.runtime.live import follow
from agent_factory.runtime.platform import Platform
from agent_factory.runtime.rows import read_run
from agent_factory.security.auth import Actor
from agent_factory.services.runs import queries
from agent_factory.services.runs.rules import WORKFLOW
from agent_factory.services.runs.service.reading import get_run, sees_all
from agent_factory.services.runs.service.sessions import get_session

_PAUSE = 0.25
"""Seconds between looks for a session's next run."""


async def watch_run(
    platform: Platform, actor: Actor, run_id: UUID, after: EventId | None = None
) -> AsyncGenerator[tuple[EventId, TurnEvent], None]:
    """Give a run's events after one, wherever it runs; raises `RunNotFound` before the first."""
    live = platform.engine.live(run_id)
    if live is not None and live.organization_id == actor.organization_id and sees_all(actor):
        return live.events(after)
    async with platform.database.read(actor.organization_id) as session:
        run = await get_run(session, actor, run_id)
    if live is not None:
        return live.events(after)
    if run.kind == WORKFLOW:
        return await platform.queue.watch(actor.organization_id, run_id, after)
    await read_run(platform.database.pool, actor.organization_id, run_id)
    return follow(platform.database.pool, actor.organization_id, run_id, after)


async def watch_session(
    platform: Platform, actor: Actor, session_id: UUID, run_id: UUID | None, after: EventId | None = None
) -> AsyncGenerator[tuple[UUID, EventId | None, TurnEvent | None], None]:
    """Give the events of a session's runs, one run after the other, until the watcher leaves.

    It begins after an event of the run `run_id`, else with the run at work, else
    with the next to come. A run's first item has neither id nor event. Raises
    `SessionNotFound` before the first.
    """
    async with platform.database.read(actor.organization_id) as session:
        await get_session(session, actor, session_id)
        current = run_id or await queries.run_at_work(session, actor, session_id)
        newest = current or await queries.newest_run(session, actor, session_id)
    return _one_after_another(_Place(platform, actor, session_id), current, newest, after)


class _Place(msgspec.Struct, frozen=True):
    platform: Platform
    actor: Actor
    session_id: UUID


async def _one_after_another(
    place: _Place, current: UUID | None, newest: UUID | None, after: EventId | None
) -> AsyncGenerator[tuple[UUID, EventId | None, TurnEvent | None], None]:
    while True:
        if current is not None:
            if after is None:
                yield current, None, None
            async for at, event in await watch_run(place.platform, place.actor, current, after):
                yield current, at, event
            newest, after = current, None
        current = await _next(place, newest)
        if current is None:
            return


async def _next(place: _Place, newest: UUID | None) -> UUID | None:
    """Wait for a session's next run; None once the session is gone."""
    while True:
        async with place.platform.database.read(place.actor.organization_id) as session:
            found = await queries.next_run(session, place.actor, place.session_id, newest)
            if found is not None:
                return found
            if await queries.session_row(session, place.actor, place.session_id) is None:
                return None
        await asyncio.sleep(_PAUSE)
