"""What is left of a run once it is over: its place in the conversation, or nothing at all."""

from contextlib import suppress
from uuid import UUID

from agent_factory.core.message import Message
from agent_factory.database.session import Session
from agent_factory.runtime.history import read_conversation
from agent_factory.runtime.platform import Platform
from agent_factory.security.auth import Actor
from agent_factory.services.runs import queries
from agent_factory.services.runs.errors import RunEnded
from agent_factory.services.runs.service.sessions import delete_session


async def said_with(
    platform: Platform, actor: Actor, session_id: UUID, run_id: UUID
) -> tuple[tuple[Message, ...], bool]:
    """Give a session up to and with what a run said, and whether nothing came after; raises `SessionNotFound`."""
    async with platform.database.read(actor.organization_id) as session:
        last, newest = await queries.last_messages(session, actor, session_id, run_id)
    pool = platform.database.pool
    conversation = await read_conversation(pool, actor.organization_id, session_id, last + 1)
    return conversation.messages, last == newest and conversation.revision % 2 == 0


async def forget_run(platform: Platform, session: Session, actor: Actor, run_id: UUID) -> None:
    """Erase what a run was asked, did and said; the last one of a session takes that along.

    A run that is still at work is cancelled first.
    """
    with suppress(RunEnded):
        await platform.engine.cancel(actor.organization_id, run_id)
    row = await queries.run_row(session, actor, run_id)
    await queries.forget_run(session, actor, run_id)
    if row is not None and row.session_id is not None and not await queries.remembered(session, actor, row.session_id):
        await delete_session(platform, session, actor, row.session_id)
