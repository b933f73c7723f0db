"""Conversations that this process has seen lately; the database's revision says whether they are still true."""

from collections import OrderedDict
from uuid import UUID

import msgspec

from agent_factory.core.message import Message, Summary, Text, ToolCall, ToolResult
from agent_factory.database.pool import Pool
from agent_factory.kit.errors import NotFound
from agent_factory.runtime.statements import CONVERSATION

_decode_messages = msgspec.json.Decoder(tuple[Message, ...]).decode
_decode_summary = msgspec.json.Decoder(Summary).decode
_EVERYTHING = 2**31 - 1
_OVERHEAD = 400
"""Bytes that a message costs beside its words."""


class SessionNotFound(NotFound):
    """No such session, or not the caller's."""

    code = "session_not_found"
    title = "Session not found"


class Conversation(msgspec.Struct, frozen=True):
    """What was said in a session up to a revision; an odd revision means that a turn is under way."""

    id: UUID
    organization_id: UUID
    agent_id: UUID | None
    revision: int
    messages: tuple[Message, ...]
    summary: Summary | None = None
    size: int = 0

    def then(self, messages: tuple[Message, ...], summary: Summary | None) -> "Conversation":
        """Give the conversation after one more turn."""
        return msgspec.structs.replace(
            self,
            revision=self.revision + 2,
            messages=self.messages + messages,
            summary=summary or self.summary,
            size=self.size + _size(messages),
        )


class Conversations:
    """A cache of conversations, bounded by bytes; what was used longest ago goes first."""

    def __init__(self, pool: Pool, limit: int) -> None:
        """Start empty; `limit` is in bytes, estimated."""
        self._pool = pool
        self._limit = limit
        self._size = 0
        self._kept: OrderedDict[UUID, Conversation] = OrderedDict()

    async def read(self, organization_id: UUID, session_id: UUID, *, fresh: bool = False) -> Conversation:
        """Give a session as last known, or with `fresh` as it is; one of others is `SessionNotFound`."""
        known = self._kept.get(session_id)
        if known is not None and not fresh and known.organization_id == organization_id:
            self._kept.move_to_end(session_id)
            return known
        read = await read_conversation(self._pool, organization_id, session_id)
        if read.revision % 2 == 0:
            self.keep(read)
        return read

    def keep(self, conversation: Conversation) -> None:
        """Remember a conversation as it now is."""
        self.drop(conversation.id)
        if conversation.size > self._limit:
            return
        self._kept[conversation.id] = conversation
        self._size += conversation.size
        while self._size > self._limit:
            _, oldest = self._kept.popitem(last=False)
            self._size -= oldest.size

    def drop(self, session_id: UUID) -> None:
        """Forget a conversation, for somebody else may have changed it."""
        known = self._kept.pop(session_id, None)
        if known is not None:
            self._size -= known.size


async def read_conversation(
    pool: Pool, organization_id: UUID, session_id: UUID, before: int = _EVERYTHING
) -> Conversation:
    """Read a session with its messages whose number is below `before`."""
    rows = await pool.fetch(CONVERSATION, session_id, organization_id, before, again=True)
    if not rows:
        raise SessionNotFound("There is no such session, or it is not yours.")
    row = rows[0]
    messages = _decode_messages(row["messages"]) if row["messages"] else ()
    return Conversation(
        id=session_id,
        organization_id=organization_id,
        agent_id=row["agent_id"],
        revision=row["revision"],
        messages=messages,
        summary=_decode_summary(row["summary"]) if row["summary"] else None,
        size=_OVERHEAD + _size(messages),
    )


def _size(messages: tuple[Message, ...]) -> int:
    return sum(_OVERHEAD + sum(_part_size(part) for part in message.parts) for message in messages)


def _part_size(part: object) -> int:
    match part:
        case Text(text):
            return len(text)
        case ToolResult(content=content):
            return len(content)
        case ToolCall(arguments=arguments):
            return len(arguments)
        case _:
            return len(msgspec.json.encode(part))
