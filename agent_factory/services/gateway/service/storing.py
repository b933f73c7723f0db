"""Responses that are kept: continued, fetched, cancelled, forgotten.

A response is a run, and its conversation a session for as long as each one
continues the last. One that begins elsewhere (an earlier response, a history
of the caller's) is a run by itself that carries what was said before.
"""

from contextlib import suppress
from uuid import UUID

import msgspec

from agent_factory.core.event import ApprovalNeeded
from agent_factory.core.message import Message
from agent_factory.kit import ids
from agent_factory.kit.errors import NotFound
from agent_factory.runtime.live import LiveRun
from agent_factory.runtime.platform import Platform
from agent_factory.runtime.rows import Input, RunState, end_event, read_run
from agent_factory.runtime.scope import TurnEnd
from agent_factory.security.auth import Actor
from agent_factory.security.rbac import Denied, check
from agent_factory.services.agents import service as agents
from agent_factory.services.definitions import service as definitions
from agent_factory.services.gateway.errors import (
    ConversationNotFound,
    PreviousNotFound,
    ResponseNotFound,
    ResultsMissing,
)
from agent_factory.services.gateway.rules import hear, model_id, open_calls, plain
from agent_factory.services.gateway.service.asking import Ask, begin
from agent_factory.services.gateway.service.offering import as_model
from agent_factory.services.runs import service as runs
from agent_factory.services.runs.errors import RunEnded, SessionBusy, SessionNotFound
from agent_factory.services.runs.schemas import SessionCreate

_RUN = "agent:run"
SOURCE = "responses"
"""The source of runs that are kept as responses; others cannot be fetched as one."""


class Stored(msgspec.Struct, frozen=True):
    """A kept response."""

    run: RunState
    asked: Input
    end: TurnEnd | None
    model: str
    metadata: dict[str, str]


async def stored(platform: Platform, actor: Actor, response_id: str, permission: str = "agent:read") -> Stored:
    """Fetch a response of an agent to which the caller has a permission; raises `ResponseNotFound` or `Denied`."""
    run = await _find(platform, actor, response_id, permission)
    metadata: dict[str, str] = {}
    async with platform.database.read(actor.organization_id) as session:
        agent, _ = await definitions.get(session, actor, agents.AGENTS, _agent(run))
        if run.session_id is not None:
            with suppress(SessionNotFound, Denied):
                metadata = (await runs.get_session(session, actor, run.session_id)).data
    end = await end_event(platform.database.pool, run)
    return Stored(run, run.asked(), end, model_id(agent.name), metadata)


async def begin_response(
    platform: Platform,
    actor: Actor,
    ask: Ask,
    *,
    store: bool,
    previous: str | None,
    conversation: str | None,
    metadata: dict[str, str],
) -> LiveRun:
    """Start a turn that can be fetched and continued if `store` says so.

    Raises `PreviousNotFound` and `ConversationNotFound` beside what `begin` raises.
    """
    if store:
        ask = msgspec.structs.replace(ask, source=SOURCE)
    if conversation is not None:
        return await _converse(platform, actor, ask, conversation)
    if previous is not None:
        return await _continue(platform, actor, ask, previous, store=store)
    if not store or not plain(ask.said):
        return await begin(platform, actor, ask)
    hear(ask.said, field=ask.field)  # before anything is written, see that there is an input
    with as_model(ask.agent):
        async with platform.database.write(actor.organization_id) as session:
            made = await runs.create_session(session, actor, SessionCreate(agent=ask.agent, metadata=metadata))
    return await begin(platform, actor, msgspec.structs.replace(ask, session_id=made.id))


async def cancel(platform: Platform, actor: Actor, response_id: str) -> None:
    """End a response that is not finished; one that is stays as it is. Raises `ResponseNotFound`."""
    run = await _find(platform, actor, response_id, _RUN)
    with suppress(RunEnded):
        await runs.cancel(platform, actor, run.id)


async def forget(platform: Platform, actor: Actor, response_id: str) -> None:
    """Delete what a response says and was asked, and its conversation with the last one; raises `ResponseNotFound`."""
    run = await _find(platform, actor, response_id, _RUN)
    async with platform.database.write(actor.organization_id) as session:
        await runs.forget_run(platform, session, actor, run.id)


async def _find(platform: Platform, actor: Actor, response_id: str, permission: str) -> RunState:
    try:
        run = await read_run(platform.database.pool, actor.organization_id, ids.decode("resp", response_id))
    except NotFound:
        run = None
    if run is None or run.source != SOURCE or not run.input:
        raise ResponseNotFound(f"There is no stored response {response_id[:100]!r} in your organisation.")
    check(actor, permission, run.agent_id)
    return run


def _agent(run: RunState) -> UUID:
    assert run.agent_id is not None, "a response is a run of a deployed agent"
    return run.agent_id


async def _converse(platform: Platform, actor: Actor, ask: Ask, conversation: str) -> LiveRun:
    try:
        session_id = ids.decode("ses", conversation)
        known = await platform.engine.conversation(actor.organization_id, session_id)
    except NotFound:
        raise ConversationNotFound(
            f"There is no conversation {conversation[:100]!r} in your organisation.", "conversation", "not found"
        ) from None
    if open_calls(known.messages):
        raise ResultsMissing("Send the results of your tools with `previous_response_id`.", "conversation")
    return await begin(platform, actor, msgspec.structs.replace(ask, session_id=session_id))


async def _continue(platform: Platform, actor: Actor, ask: Ask, previous: str, *, store: bool) -> LiveRun:
    try:
        run = await _find(platform, actor, previous, _RUN)
    except ResponseNotFound as problem:
        raise PreviousNotFound(problem.detail, "previous_response_id", "not found") from None
    before, newest = await _before(platform, actor, run)
    if store and newest and not open_calls(before):
        with suppress(SessionBusy, SessionNotFound):
            return await begin(platform, actor, msgspec.structs.replace(ask, session_id=run.session_id))
    return await begin(platform, actor, msgspec.structs.replace(ask, before=before))


async def _before(platform: Platform, actor: Actor, run: RunState) -> tuple[tuple[Message, ...], bool]:
    """Give what was said up to and with a response, and whether its session can be gone on with."""
    if run.session_id is not None:
        return await runs.said_with(platform, actor, run.session_id, run.id)
    end = await end_event(platform.database.pool, run)
    said = () if end is None or isinstance(end, ApprovalNeeded) else end.messages
    asked = run.asked()
    return (*asked.history, asked.message, *said), False
