"""Messages, usage and the journal of a run without a database."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_factory.core.journal import Entry, MemoryJournal
from agent_factory.core.message import Media, Message, Reasoning, Text, ToolCall, ToolResult, assistant, user
from agent_factory.core.model import (
    ContextExceeded,
    ModelError,
    ModelRateLimited,
    ModelRejected,
    ModelTimeout,
    ModelUnavailable,
    Usage,
)

parts = st.one_of(
    st.builds(Text, st.text()),
    st.builds(Media, st.just("image/png"), url=st.text()),
    st.builds(Reasoning, st.text()),
    st.builds(ToolCall, st.text(), st.text(), st.text()),
    st.builds(ToolResult, st.text(), st.text(), st.text(), st.booleans()),
)
messages = st.builds(Message, st.sampled_from(["user", "assistant", "tool"]), st.lists(parts).map(tuple))


@given(messages)
def test_a_message_comes_back_from_json_as_it_was(message: Message) -> None:
    assert msgspec.json.decode(msgspec.json.encode(message), type=Message) == message


def test_a_message_gives_its_words_and_its_calls() -> None:
    call = ToolCall("c", "look", "{}")
    message = Message("assistant", (Reasoning("hm"), Text("a"), call, Text("b")))
    assert message.text == "ab"
    assert message.tool_calls == [call]
    assert user("x").role == "user"
    assert assistant("x").text == "x"


def test_a_message_cannot_be_rewritten() -> None:
    with pytest.raises(AttributeError):
        user("x").role = "assistant"  # type: ignore[misc] # what is tested


counts = st.integers(0, 10**9)
usages = st.builds(Usage, counts, counts, counts, counts, counts)


@given(usages, usages, usages)
def test_usage_adds_up_in_any_order(a: Usage, b: Usage, c: Usage) -> None:
    assert (a + b) + c == a + (b + c)
    assert a + b == b + a
    assert a + Usage() == a
    assert (a + b).total_tokens == a.total_tokens + b.total_tokens


@pytest.mark.parametrize("error", [ModelUnavailable, ModelRateLimited, ModelTimeout])
def test_what_may_pass_by_itself_is_tried_again(error: type[ModelError]) -> None:
    assert error.retryable


@pytest.mark.parametrize("error", [ModelRejected, ContextExceeded])
def test_what_the_request_is_to_blame_for_is_not(error: type[ModelError]) -> None:
    assert not error.retryable


async def test_a_journal_in_memory_gives_back_what_it_was_given() -> None:
    journal = MemoryJournal()
    entry = Entry("model/0", "model", "demo", msgspec.Raw(b"null"), msgspec.Raw(b"1"))
    assert journal.get("model/0") is None
    await journal.put(entry, durable=True)
    assert journal.get("model/0") is entry
