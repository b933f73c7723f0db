"""Turns: begun, decided on, cancelled."""

from collections.abc import Callable
from typing import Literal
from uuid import UUID

import msgspec

from agent_factory.core.message import Message
from agent_factory.runtime.journal import VersionMoved
from agent_factory.runtime.live import LiveRun
from agent_factory.runtime.platform import Platform
from agent_factory.runtime.start import Start
from agent_factory.security import rbac
from agent_factory.security.auth import Actor
from agent_factory.services.agents import service as agents
from agent_factory.services.agents.service import Pinned
from agent_factory.services.runs.errors import SessionHasNoAgent
from agent_factory.services.runs.rules import WORKFLOW
from agent_factory.services.runs.service.reading import get_run

Version = int | Literal["latest"] | None

_TRIES = 3
"""How often a turn pins its agent anew when another version is deployed at the same moment."""


class Turn(msgspec.Struct, frozen=True):
    """A run that has begun, what it runs, and for whom."""

    platform: Platform
    actor: Actor
    run: LiveRun
    pinned: Pinned
    message: Message
    source: str


async def pinned(platform: Platform, actor: Actor, ref: str | UUID, version: Version = None) -> Pinned:
    """Fix what a run will use, as `agents.service.pin` does, at most a second ago.

    The caller needs `agent:run` of it. Give a run of the deployed version to the engine with `deployed`, so that it
    is refused (`VersionMoved`) where that second was too long.
    """
    key = ("pinned", actor.organization_id, ref, version)
    found: Pinned | None = platform.recent.get(key)
    if found is None:
        async with platform.database.read(actor.organization_id) as session:
            found = await agents.pin(session, actor, ref, version)
        if version is None:
            platform.recent.keep(key, found)
    rbac.check(actor, "agent:run", found.agent_id)
    return found


async def send(
    platform: Platform,
    actor: Actor,
    session_id: UUID,
    message: Message,
    *,
    stream: bool = False,
    version: Version = None,
    source: str = "api",
) -> Turn:
    """Begin the next turn of a session; when this returns, the message is committed.

    Raises `SessionNotFound`, `SessionBusy`, `SessionHasNoAgent`, and what
    `agents.service.pin` raises.
    """
    conversation = await platform.engine.conversation(actor.organization_id, session_id)
    if conversation.agent_id is None:
        raise SessionHasNoAgent("The session was made without an agent; make a new one.")
    return await _begin(
        platform, actor, conversation.agent_id, version, message, session_id=session_id, stream=stream, source=source
    )


async def run_once(
    platform: Platform,
    actor: Actor,
    agent: str,
    message: Message,
    *,
    stream: bool = False,
    version: Version = None,
    source: str = "api",
) -> Turn:
    """Begin a turn without a session; when this returns, it is committed.

    Raises what `agents.service.pin` raises.
    """
    return await _begin(platform, actor, agent, version, message, session_id=None, stream=stream, source=source)


async def _begin(
    platform: Platform,
    actor: Actor,
    ref: str | UUID,
    version: Version,
    message: Message,
    *,
    session_id: UUID | None,
    stream: bool,
    source: str,
) -> Turn:
    def make(pin: Pinned) -> Start:
        return Start(
            organization_id=actor.organization_id,
            user_id=actor.user_id,
            key_id=actor.key_id,
            agent=pin.agent,
            agents=pin.agents,
            agent_id=pin.agent_id,
            agent_version=pin.version,
            deployed=version is None,
            session_id=session_id,
            message=message,
            stream=stream,
            source=source,
        )

    return await begin(platform, actor, ref, make, version)


async def begin(
    platform: Platform, actor: Actor, ref: str | UUID, make: Callable[[Pinned], Start], version: Version = None
) -> Turn:
    """Pin an agent and begin what `make` says of it, anew where another version was deployed at that moment."""
    for attempt in range(_TRIES):
        pin = await pinned(platform, actor, ref, version)
        start = make(pin)
        try:
            return Turn(platform, actor, await platform.engine.start(start), pin, start.message, start.source)
        except VersionMoved:
            platform.recent.drop(("pinned", actor.organization_id, ref, version))
            if attempt == _TRIES - 1:
                raise
    raise AssertionError  # the last attempt returns or raises


async def cancel(platform: Platform, actor: Actor, run_id: UUID) -> None:
    """End a run as cancelled; raises `RunNotFound`, or `RunEnded` for one that ended otherwise."""
    async with platform.database.read(actor.organization_id) as session:
        run = await get_run(session, actor, run_id, "run")
    if run.kind == WORKFLOW:
        await platform.queue.cancel(actor.organization_id, run_id)
    else:
        await platform.engine.cancel(actor.organization_id, run_id)


async def decide(platform: Platform, actor: Actor, run_id: UUID, *, approve: bool) -> LiveRun:
    """Answer a waiting run's question; raises `RunNotFound`, or `RunNotWaiting`."""
    return await platform.engine.decide(actor.organization_id, run_id, approve=approve)
