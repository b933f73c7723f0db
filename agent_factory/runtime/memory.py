"""Memory policies: which part of a conversation a model sees (S57, S73)."""

import math
from collections.abc import Awaitable, Callable, Sequence
from typing import overload

import msgspec

from agent_factory.core.agent import Memory
from agent_factory.core.message import (
    Media,
    Message,
    Opaque,
    Part,
    Reasoning,
    Summary,
    Text,
    ToolCall,
    ToolResult,
    user,
)
from agent_factory.core.model import ContextExceeded

Summarise = Callable[[Sequence[Message], str], Awaitable[str]]
"""Fold messages into the summary so far (empty at first) and give the new one."""

_PER_MESSAGE = 6
_PER_CALL = 12
_PER_MEDIA = 1_600
"""What the large vendors charge at most for one picture at their usual sizes."""

_DIGITS = b"0123456789"
_MARKS = b"\n!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
_FOREIGN = bytes(range(0x80, 0x100))

_HEADER = "Summary of the earlier conversation:\n"


class View(msgspec.Struct, frozen=True):
    """What goes to the model, and the summary to keep with the session."""

    messages: tuple[Message, ...]
    summary: Summary | None = None


@overload
def count_tokens(item: str) -> int: ...
@overload
def count_tokens(item: Message) -> int: ...
def count_tokens(item: Message | str) -> int:
    """Estimate tokens without a vocabulary, leaning upwards.

    A token every 3 letters (2 where blanks are rare, as in base64), every 2
    digits, every punctuation mark and line, every 4 blanks, and every 2 bytes
    of UTF-8 in other scripts. Common vocabularies need less for prose, about
    as much for code. A picture or file costs at least 1,600.
    """
    if isinstance(item, str):
        return _text_tokens(item)
    return _PER_MESSAGE + sum(_part_tokens(part) for part in item.parts)


def _text_tokens(text: str) -> int:
    data = text.encode("utf-8", "surrogatepass")
    marks, digits, foreign = (len(data) - len(data.translate(None, kind)) for kind in (_MARKS, _DIGITS, _FOREIGN))
    blanks = data.count(b" ")
    letters = len(data) - marks - digits - foreign - blanks
    dense = blanks * 12 < len(data)
    return math.ceil(letters / (2 if dense else 3) + digits / 2 + marks + blanks / 4 + foreign / 2)


def _part_tokens(part: Part) -> int:
    match part:
        case Text(text=text):
            return _text_tokens(text)
        case ToolCall():
            opaque = len(part.opaque) // 2 if part.opaque is not None else 0
            return _PER_CALL + _text_tokens(part.name) + _text_tokens(part.arguments) + opaque
        case ToolResult():
            media = sum(_part_tokens(item) for item in part.media)
            return _PER_CALL + _text_tokens(part.name) + _text_tokens(part.content) + media
        case Reasoning():
            return _text_tokens(part.text) + (len(part.opaque) // 2 if part.opaque is not None else 0)
        case Media():
            document = part.data is not None and not part.media_type.startswith("image/")
            return max(_PER_MEDIA, len(part.data or "") // 4) if document else _PER_MEDIA
        case Opaque():
            return len(part.opaque) // 2


async def view(
    policy: Memory,
    messages: Sequence[Message],
    *,
    window: int | None,
    reserve: int,
    summary: Summary | None = None,
    summarise: Summarise | None = None,
) -> View:
    """Choose what the model sees of a conversation.

    `window` is the model's context in tokens where known; `reserve` of them
    are kept free for instructions, tools and the answer. System messages at
    the front stay; where something is left out, the rest starts at a user
    message; a tool call is never parted from its results, and the last user
    message is always there. `summary` is what an earlier call returned for
    this conversation; `summarise` is called only by the policy `summary`,
    which without it drops what does not fit, as `window` does.

    Raises `ContextExceeded` when what has to be sent does not fit, and
    whatever `summarise` raises.
    """
    limit = _limit(policy, window, reserve)
    head, units = _units(messages)
    limit -= sum(map(count_tokens, head))
    if policy.type == "summary":
        return await _summarised(head, units, limit, summary, summarise)
    total = sum(unit.tokens for unit in units)
    if total > limit and policy.type == "full":
        raise ContextExceeded(
            f"The conversation takes about {total} tokens and {max(0, int(limit))} are free; "
            "use the memory policy 'window' or 'summary', or a model with a larger window."
        )
    kept = units if total <= limit else _newest(units, limit)
    return View((*head, *_flat(kept)), summary)


class _Unit(msgspec.Struct, frozen=True):
    """Messages that stand or fall together: one alone, or tool calls with their results."""

    messages: tuple[Message, ...]
    tokens: int
    end: int
    """Index after its last message in the whole conversation."""

    @property
    def from_user(self) -> bool:
        """Whether a user spoke."""
        return self.messages[0].role == "user"


def _limit(policy: Memory, window: int | None, reserve: int) -> float:
    free = math.inf if window is None else window - reserve
    return free if policy.max_tokens is None else min(free, policy.max_tokens)


def _units(messages: Sequence[Message]) -> tuple[list[Message], list[_Unit]]:
    """Split into the system messages at the front and units; results whose call is gone are left out."""
    first = next((i for i, m in enumerate(messages) if m.role != "system"), len(messages))
    head = list(messages[:first])
    while first < len(messages) and messages[first].role == "tool":
        first += 1
    units: list[_Unit] = []
    start = first
    while start < len(messages):
        end = start + 1
        while end < len(messages) and messages[end].role == "tool":
            end += 1
        group = tuple(messages[start:end])
        units.append(_Unit(group, sum(map(count_tokens, group)), end))
        start = end
    return head, units


def _flat(units: Sequence[_Unit]) -> list[Message]:
    return [message for unit in units for message in unit.messages]


def _newest(units: Sequence[_Unit], limit: float) -> list[_Unit]:
    """Keep the newest units that fit, from a user message on.

    When the last user's turn alone is too long, its user message stays and the
    oldest steps of the turn go.
    """
    kept = _fitting(units, limit)
    while kept and not kept[0].from_user:
        kept.pop(0)
    if kept or not units:
        return kept
    asked = _last_user(units)
    rest = _fitting(units[asked + 1 :], limit - units[asked].tokens)
    if units[asked].tokens > limit or (not rest and asked + 1 < len(units)):
        raise _too_large(max(units[asked:], key=lambda unit: unit.tokens), limit)
    return [units[asked], *rest]


def _fitting(units: Sequence[_Unit], limit: float) -> list[_Unit]:
    used = 0
    start = len(units)
    while start and used + units[start - 1].tokens <= limit:
        start -= 1
        used += units[start].tokens
    return list(units[start:])


def _last_user(units: Sequence[_Unit]) -> int:
    """Find the message that the turn answers; a conversation without a user begins with it."""
    return next((i for i in range(len(units) - 1, -1, -1) if units[i].from_user), 0)


def _too_large(unit: _Unit, limit: float) -> ContextExceeded:
    return ContextExceeded(
        f"One {unit.messages[-1].role} message takes about {unit.tokens} tokens and {max(0, int(limit))} are free; "
        "shorten it or use a model with a larger window."
    )


async def _summarised(
    head: list[Message],
    units: list[_Unit],
    limit: float,
    summary: Summary | None,
    summarise: Summarise | None,
) -> View:
    if summary is not None and (not units or summary.upto > units[-1].end):
        summary = None
    shown = _with_summary(units, summary)
    if sum(map(count_tokens, shown)) <= limit:
        return View((*head, *shown), summary)
    if summarise is None:
        return View((*head, *_flat(_newest(units, limit))), summary)
    upto = summary.upto if summary else 0
    # Half of what is free goes to the newest messages and a quarter to the
    # summary, so that the next turns find room before there is more to fold.
    asked = units[_last_user(units)]
    kept = _fitting([u for u in units if u.end > upto], limit / 2 - asked.tokens)
    if not kept:
        kept = [units[-1]]
    folded = [u for u in units if upto < u.end < kept[0].end]
    if not folded:
        raise _too_large(max(units[_last_user(units) :], key=lambda unit: unit.tokens), limit)
    text = await _fold(folded, summary.text if summary else "", limit, summarise)
    summary = Summary(text, folded[-1].end)
    shown = _with_summary(units, summary)
    if sum(map(count_tokens, shown)) > limit:
        raise _too_large(max([asked, *kept], key=lambda unit: unit.tokens), limit)
    return View((*head, *shown), summary)


def _with_summary(units: Sequence[_Unit], summary: Summary | None) -> list[Message]:
    """Give the summary, the last user message if it is older, and all that is newer."""
    if summary is None:
        return _flat(units)
    newer = [u for u in units if u.end > summary.upto]
    asked = [] if any(u.from_user for u in newer) else [units[_last_user(units)]]
    return [user(_HEADER + summary.text), *_flat(asked), *_flat(newer)]


async def _fold(units: Sequence[_Unit], text: str, limit: float, summarise: Summarise) -> str:
    """Fold units into a summary of at most a quarter of the limit, in slices that the model can read."""
    most = max(1, int(limit / 4))
    part: list[Message] = []
    used = 0
    for unit in units:
        if part and used + unit.tokens > limit / 2:
            text = _cut(await summarise(part, text), most)
            part, used = [], 0
        part.extend(unit.messages if unit.tokens <= limit / 2 else _clipped(unit, int(limit / 2)))
        used += unit.tokens
    return _cut(await summarise(part, text), most)


def _cut(text: str, tokens: int) -> str:
    """Shorten a text from its end until its message would fit."""
    room = max(0, tokens - count_tokens(_HEADER) - _PER_MESSAGE)
    while (size := count_tokens(text)) > room:
        text = text[: len(text) * room // size]
    return text


def _clipped(unit: _Unit, tokens: int) -> list[Message]:
    """Rewrite a unit that is too long to be read as plain words, cut to fit."""
    out: list[Message] = []
    share = tokens // len(unit.messages)
    for message in unit.messages:
        words = [
            part.text
            if isinstance(part, Text)
            else f"[{part.name}: {part.content}]"
            if isinstance(part, ToolResult)
            else f"[called {part.name} with {part.arguments}]"
            if isinstance(part, ToolCall)
            else ""
            for part in message.parts
        ]
        role = "user" if message.role == "tool" else message.role
        out.append(Message(role, (Text(_cut("\n".join(words), share)),)))
    return out
