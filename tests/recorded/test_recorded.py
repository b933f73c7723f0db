"""Replays real vendors' traffic through our wires and our loop (S56, S115)."""

import os
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent_factory.core.model import Done, ModelResponse
from agent_factory.providers.wire.chat_completions import ChatCompletions
from agent_factory.providers.wire.dialects import dialect_of
from agent_factory.providers.wire.messages import AnthropicMessages
from agent_factory.providers.wire.provider import Wire
from agent_factory.providers.wire.responses import Responses
from agent_factory.security.egress import Egress
from tests.recorded.conversations import (
    PROVIDER,
    Anthropic,
    Chat,
    Conversation,
    NativeError,
    OpenAIResponses,
    load,
    same_json,
)
from tests.recorded.replay import DifferenceError, Recorder, Replay, recorder

Protocols = type[Chat | Anthropic | OpenAIResponses]

FOLDER = os.environ.get("AF_RECORDED_TRAFFIC", "")  # noqa: TID251 - a test's own setting, not the product's
GOAL = 0.98
PROTOCOLS: dict[str, Protocols] = {"chat_completions": Chat, "messages": Anthropic, "responses": OpenAIResponses}
ORDER = "our tool results hold their words before what they show; this one has words after an image"
WHOLE = "we send the vendor's thought back whole; the recorded client leaves its encrypted form out"
EXPLAINED = {
    "models/cassettes/test_multimodal_tool_returns/test_mixed_content_ordering[anthropic]": ORDER,
    "models/cassettes/test_multimodal_tool_returns/test_mixed_content_ordering[openai_responses]": ORDER,
    "models/cassettes/test_deepseek_responses/test_deepseek_responses_replay_own_reasoning_history": WHOLE,
}
"""Every conversation whose replay is not exact, with the reason."""

pytestmark = pytest.mark.skipif(
    not FOLDER, reason="AF_RECORDED_TRAFFIC names no folder of recorded traffic; there is nothing to replay"
)


class Tally(msgspec.Struct):
    """How the replay of one protocol went."""

    exact: int = 0
    inexact: dict[str, str] = {}
    apart: Counter[str] = Counter()

    @property
    def eligible(self) -> int:
        return self.exact + len(self.inexact)

    def lines(self, name: str) -> list[str]:
        head = f"{name}: {self.exact} exact of {self.eligible} eligible, {self.apart.total()} apart"
        apart = [f"  apart {count}: {reason}" for reason, count in self.apart.most_common()]
        odd = [f"  inexact: {name}: {EXPLAINED.get(name, what[:1000])}" for name, what in self.inexact.items()]
        return [head, *apart, *odd]


def _wire(name: str, host: str) -> Wire:
    if name == "messages":
        return AnthropicMessages(PROVIDER)
    if name == "responses":
        return Responses(PROVIDER)
    return ChatCompletions(dialect_of(PROVIDER, f"https://{host}"))


def _native(protocol: Protocols, conversation: Conversation) -> str | None:
    """Tell why a conversation cannot be replayed by anybody but its vendor's own client, if so."""
    for interaction in conversation.interactions:
        if interaction["request"] is None:
            return "its request was not recorded"
        reason = protocol.native(interaction["request"])
        if reason is not None:
            return reason
        try:
            protocol.read(interaction["request"])
        except NativeError as error:
            return str(error)
    return None


async def _replay(name: str, conversation: Conversation, server: Recorder, egress: Egress, tally: Tally) -> None:
    protocol = PROTOCOLS[name]
    reason = _native(protocol, conversation)
    if reason is not None:
        tally.apart[reason] += 1
        return
    wire = _wire(name, conversation.interactions[0]["host"])
    try:
        await Replay(protocol(), conversation, server, egress).run(wire)
    except DifferenceError as error:
        tally.inexact[conversation.name] = str(error)
    else:
        tally.exact += 1


@pytest.mark.timeout(300)
async def test_recorded_conversations_replay_exactly(egress: Egress, capsys: pytest.CaptureFixture[str]) -> None:
    tallies: dict[str, Tally] = {}
    async with recorder() as server:
        for name in PROTOCOLS:
            tally = tallies[name] = Tally(inexact={}, apart=Counter())
            for conversation in load(Path(FOLDER), name):
                await _replay(name, conversation, server, egress, tally)
    exact, eligible = (sum(getattr(t, f) for t in tallies.values()) for f in ("exact", "eligible"))
    with capsys.disabled():
        lines = [line for name, tally in tallies.items() for line in tally.lines(name)]
        lines.append(f"in all: {exact} exact of {eligible} eligible, {exact / eligible:.1%}")
        print("", *lines, sep="\n")  # noqa: T201 - the counts are what this test is for
    assert {n for t in tallies.values() for n in t.inexact} <= EXPLAINED.keys()
    assert exact >= GOAL * eligible


def _read(wire: Wire, interaction: dict[str, Any], size: int) -> ModelResponse:
    body = interaction["response"].encode()
    if "event-stream" not in interaction["content_type"]:
        return wire.decode(body)
    decoder = wire.decoder()
    events = [e for start in range(0, len(body), size) for e in decoder.feed(body[start : start + size])]
    last = (events if decoder.done else [*events, *decoder.finish()])[-1]
    assert isinstance(last, Done)
    return last.response


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", PROTOCOLS)
def test_every_recorded_answer_is_read_also_those_that_only_their_vendor_can_continue(name: str) -> None:
    read = 0
    for conversation in load(Path(FOLDER), name):
        for interaction in conversation.interactions:
            expected = PROTOCOLS[name].answer(interaction)
            if expected is None:
                continue
            wire = _wire(name, interaction["host"])
            for size in (13, 4096, 1_000_000):
                response = _read(wire, interaction, size)
                made = [(c.name, same_json(c.arguments)) for c in response.message.tool_calls]
                assert (response.message.text, made) == (expected[0], [(n, a or {}) for n, a in expected[1]])
            read += 1
    assert read > 50
