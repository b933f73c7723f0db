"""What a model sees of a conversation (S57, S73)."""

import re
from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent_factory.core.agent import Memory
from agent_factory.core.message import (
    Media,
    Message,
    Reasoning,
    Summary,
    Text,
    ToolCall,
    ToolResult,
    assistant,
    user,
)
from agent_factory.core.model import ContextExceeded
from agent_factory.runtime.memory import View, count_tokens, view

FULL, WINDOW, SUMMARY = Memory(type="full"), Memory(type="window"), Memory(type="summary")

words = st.text("abc é", max_size=120)


@st.composite
def steps(draw: st.DrawFn) -> list[Message]:
    """One step of a model: words, or calls with their results in one message or in one each."""
    if draw(st.booleans()):
        return [assistant(draw(words))]
    ids = [f"c{number}" for number in draw(st.lists(st.integers(0, 99), min_size=1, max_size=3, unique=True))]
    call = Message("assistant", tuple(ToolCall(i, "look", "{}") for i in ids))
    results = [ToolResult(i, "look", draw(words)) for i in ids]
    if draw(st.booleans()):
        return [call, Message("tool", tuple(results))]
    return [call, *(Message("tool", (r,)) for r in results)]


@st.composite
def conversations(draw: st.DrawFn) -> list[Message]:
    out = [Message("system", (Text(draw(words)),))] if draw(st.booleans()) else []
    if draw(st.booleans()):
        out.append(assistant("Hello, how can I help?"))
    for _ in range(draw(st.integers(1, 6))):
        out.append(user(draw(words)))
        for _ in range(draw(st.integers(0, 4))):
            out += draw(steps())
    return out


policies = st.builds(
    Memory, type=st.sampled_from(["full", "window", "summary"]), max_tokens=st.none() | st.integers(100, 900)
)


async def fold(messages: Sequence[Message], earlier: str) -> str:
    return f"{earlier}+{len(messages)}"


def total(messages: Sequence[Message]) -> int:
    return sum(count_tokens(m) for m in messages)


def after_system(messages: Sequence[Message]) -> list[Message]:
    return [m for m in messages if m.role != "system"]


def assert_sendable(seen: View, messages: list[Message]) -> None:
    shown = after_system(seen.messages)
    assert shown[0].role == "user" or shown == after_system(messages)
    open_calls: set[str] = set()
    for message in shown:
        if message.role == "tool":
            answered = {p.call_id for p in message.parts if isinstance(p, ToolResult)}
            assert answered <= open_calls
            open_calls -= answered
        else:
            assert not open_calls, "a call has lost its result"
            open_calls = {call.id for call in message.tool_calls}
    last_user = next(m for m in reversed(messages) if m.role == "user")
    assert last_user in shown


@settings(max_examples=400, deadline=None)
@given(policies, conversations(), st.none() | st.integers(150, 1_500))
async def test_every_view_fits_starts_at_a_user_and_splits_no_call_from_its_result(
    policy: Memory, messages: list[Message], window: int | None
) -> None:
    limit = min(policy.max_tokens or 10**9, (window or 10**9) - 50)
    try:
        seen = await view(policy, messages, window=window, reserve=50, summarise=fold)
    except ContextExceeded:
        assert total(messages) > limit
        return
    assert total(seen.messages) <= limit
    assert_sendable(seen, messages)


@settings(max_examples=200, deadline=None)
@given(conversations(), st.integers(150, 1_500))
async def test_a_window_is_the_newest_part_and_grows_as_far_as_it_can(messages: list[Message], window: int) -> None:
    try:
        seen = await view(WINDOW, messages, window=window, reserve=0)
    except ContextExceeded:
        return
    shown = after_system(seen.messages)
    rest = shown if shown == messages[len(messages) - len(shown) :] else shown[1:]
    assert rest == messages[len(messages) - len(rest) :]
    assert [m for m in messages[:1] if m.role == "system"] == [m for m in seen.messages if m.role == "system"]


@settings(max_examples=200, deadline=None)
@given(conversations(), st.integers(300, 1_200))
async def test_a_running_summary_loses_nothing_over_a_growing_conversation(
    messages: list[Message], window: int
) -> None:
    folded: list[Message] = []

    async def keep(part: Sequence[Message], _earlier: str) -> str:
        folded.extend(part)
        return "so far"

    head = [m for m in messages if m.role == "system"]
    asked = next(i for i, m in enumerate(messages) if m.role == "user")
    summary: Summary | None = None
    for end in range(asked + 1, len(messages) + 1):
        if end < len(messages) and messages[end].role == "tool":
            continue
        try:
            seen = await view(SUMMARY, messages[:end], window=window, reserve=0, summary=summary, summarise=keep)
        except ContextExceeded:
            return
        assert summary is None or (seen.summary is not None and seen.summary.upto >= summary.upto)
        summary = seen.summary
        upto = summary.upto if summary else len(head)
        assert folded == messages[len(head) : upto]
        newer = messages[upto:end]
        assert list(seen.messages[len(seen.messages) - len(newer) :]) == newer
        assert list(seen.messages[: len(head)]) == head
        assert total(seen.messages) <= window


async def test_everything_is_sent_where_there_is_room() -> None:
    messages = [user("a"), assistant("b"), user("c")]
    for policy in (FULL, WINDOW, SUMMARY):
        assert await view(policy, messages, window=None, reserve=0) == View(tuple(messages))


async def test_full_says_clearly_that_it_does_not_fit() -> None:
    messages = [m for i in range(50) for m in (user(f"question {i}"), assistant(f"answer {i}"))]
    with pytest.raises(ContextExceeded, match="memory policy 'window'"):
        await view(FULL, messages, window=300, reserve=100)


@pytest.mark.parametrize("policy", [WINDOW, SUMMARY])
async def test_one_message_that_is_too_long_alone_says_so(policy: Memory) -> None:
    with pytest.raises(ContextExceeded, match="One user message takes about"):
        await view(policy, [user("x" * 10_000)], window=500, reserve=100, summarise=fold)


async def test_a_greeting_by_the_agent_stays_until_something_has_to_go() -> None:
    messages = [assistant("Welcome!"), user("hi"), assistant("yes? " * 100), user("bye")]
    assert (await view(FULL, messages, window=None, reserve=0)).messages == tuple(messages)
    assert (await view(WINDOW, messages, window=150, reserve=0)).messages == (user("bye"),)


async def test_a_conversation_without_a_user_keeps_its_first_message_and_the_newest() -> None:
    calls = [assistant(f"{i} " + "words " * 20) for i in range(9)]
    seen = await view(WINDOW, calls, window=300, reserve=0)
    assert seen.messages[0] == calls[0]
    assert seen.messages[-1] == calls[-1]


async def test_a_long_turn_keeps_its_question_and_loses_its_oldest_steps() -> None:
    calls = [
        m
        for i in range(30)
        for m in (
            Message("assistant", (ToolCall(f"c{i}", "look", "{}"),)),
            Message("tool", (ToolResult(f"c{i}", "look", "something long " * 5),)),
        )
    ]
    seen = await view(WINDOW, [user("find it"), *calls], window=600, reserve=0)
    assert seen.messages[0] == user("find it")
    assert seen.messages[-1] == calls[-1]
    assert 5 <= len(seen.messages) < 20


async def test_a_summary_is_shown_to_the_model_and_kept_for_the_next_turn() -> None:
    messages = [m for i in range(40) for m in (user(f"question {i}"), assistant(f"answer {i} " * 5))]
    seen = await view(SUMMARY, [*messages, user("and?")], window=700, reserve=100, summarise=fold)
    assert seen.summary is not None
    assert seen.messages[0] == user(f"Summary of the earlier conversation:\n{seen.summary.text}")
    assert seen.messages[-1] == user("and?")

    async def never(_messages: Sequence[Message], _earlier: str) -> str:
        raise AssertionError

    again = await view(
        SUMMARY, [*messages, user("and?")], window=700, reserve=100, summary=seen.summary, summarise=never
    )
    assert again == seen


async def test_a_summary_goes_on_from_the_earlier_one_in_readable_slices() -> None:
    told: list[tuple[int, str]] = []

    async def keep(part: Sequence[Message], earlier: str) -> str:
        told.append((total(part), earlier))
        return f"summary {len(told)}"

    messages = [m for i in range(60) for m in (user(f"question {i}"), assistant(f"answer {i} " * 5))]
    seen = await view(SUMMARY, messages, window=700, reserve=100, summary=Summary("the start", 20), summarise=keep)
    assert told[0][1] == "the start"
    assert [earlier for _, earlier in told[1:]] == [f"summary {i + 1}" for i in range(len(told) - 1)]
    assert all(tokens <= 300 for tokens, _ in told)
    assert seen.summary is not None
    assert seen.summary.text == f"summary {len(told)}"


async def test_a_giant_old_message_is_cut_for_the_summary_only() -> None:
    told: list[Message] = []

    async def keep(part: Sequence[Message], _earlier: str) -> str:
        told.extend(part)
        return "s"

    messages = [user("x " * 50_000), assistant("fine"), user("next")]
    seen = await view(SUMMARY, messages, window=800, reserve=0, summarise=keep)
    assert total(told) <= 800
    assert seen.messages[-1] == user("next")


async def test_an_endless_summary_is_cut() -> None:
    async def endless(_part: Sequence[Message], _earlier: str) -> str:
        return "more and more " * 10_000

    messages = [m for i in range(40) for m in (user(f"question {i}"), assistant(f"answer {i} " * 5))]
    seen = await view(SUMMARY, messages, window=700, reserve=0, summarise=endless)
    assert total(seen.messages) <= 700


async def test_without_a_summariser_the_oldest_messages_are_dropped() -> None:
    messages = [m for i in range(40) for m in (user(f"question {i}"), assistant(f"answer {i} " * 5))]
    seen = await view(SUMMARY, messages, window=700, reserve=0)
    assert seen == await view(WINDOW, messages, window=700, reserve=0)


async def test_a_summary_of_another_conversation_is_not_used() -> None:
    seen = await view(SUMMARY, [user("hi")], window=700, reserve=0, summary=Summary("old", 9), summarise=fold)
    assert seen == View((user("hi"),), None)


class TestEstimate:
    @pytest.mark.parametrize(
        "text",
        [
            "The quick brown fox jumps over the lazy dog. And then, it rests!",
            "Zw\u00f6lf Boxk\u00e4mpfer jagen Viktor quer \u00fcber den Sylter Deich.",
            "def add(a: int, b: int) -> int:\n    return a + b\n",
            '{"name": "support", "tools": ["lookup", "calculator"], "limits": {"steps": 25}}',
            "- one\n- two\n\n| a | b |\n|---|---|\n| 1 | 2 |",
            "\u0421\u044a\u0435\u0448\u044c \u0436\u0435 \u0435\u0449\u0451 \u0431\u0443\u043b\u043e\u043a",
        ],
    )
    def test_no_word_or_mark_is_free_and_none_costs_the_world(self, text: str) -> None:
        pieces = len(re.findall(r"\w+|[^\w\s]", text))
        assert pieces <= count_tokens(text) <= 4 * pieces

    def test_dense_text_costs_more_than_prose(self) -> None:
        assert count_tokens("aGVsbG8g" * 100) >= 400
        assert count_tokens("3" * 300) >= 100
        assert count_tokens("\u3044\u308d\u306f" * 100) >= 300
        assert count_tokens("hello old friend " * 100) <= 700

    def test_parts_other_than_words_count_too(self) -> None:
        assert count_tokens(Message("user", (Media("image/png", url="https://x.example/a.png"),))) >= 1_000
        document = Media("application/pdf", data="A" * 100_000)
        assert count_tokens(Message("user", (document,))) >= 20_000
        thought = Reasoning("hm", "anthropic", msgspec.Raw(b'"' + b"x" * 4_000 + b'"'))
        assert count_tokens(Message("assistant", (thought,))) >= 1_000
        result = ToolResult("c", "look", "a " * 300, media=(Media("image/png", data="A"),))
        assert count_tokens(Message("tool", (result,))) >= 1_200

    @given(st.text(max_size=300), st.text(max_size=300))
    def test_a_longer_text_is_never_cheaper_by_much(self, a: str, b: str) -> None:
        assert count_tokens(a + b) <= count_tokens(a) + count_tokens(b) + (len(a) + len(b)) / 2 + 2
        assert count_tokens(a) >= 0

    def test_lone_surrogates_are_counted(self) -> None:
        assert count_tokens("\ud800") >= 1
