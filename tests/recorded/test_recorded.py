"""Replays real vendors' traffic through our wires and our loop (S56, S115)."""

import os
from collections import Counter
from pathlib import Path

import pytest

from agent_factory.providers.wire.chat_completions import ChatCompletions
from agent_factory.providers.wire.dialects import dialect_of
from agent_factory.providers.wire.messages import AnthropicMessages
from agent_factory.providers.wire.provider import Wire
from agent_factory.security.egress import Egress
from tests.recorded.conversations import PROVIDER, Anthropic, Chat, Conversation, NativeError, load
from tests.recorded.replay import DifferenceError, Protocolled, Recorder, Replay, recorder

FOLDER = os.environ.get("AF_RECORDED_TRAFFIC", "")  # noqa: TID251 - a test's own setting, not the product's
GOAL = 0.98

pytestmark = pytest.mark.skipif(
    not FOLDER, reason="AF_RECORDED_TRAFFIC names no folder of recorded traffic; there is nothing to replay"
)


def _wire(name: str, conversation: Conversation) -> Wire:
    if name == "messages":
        return AnthropicMessages(PROVIDER)
    return ChatCompletions(dialect_of(PROVIDER, f"https://{conversation.interactions[0]['host']}"))


def _native(protocol: type[Chat | Anthropic], conversation: Conversation) -> str | None:
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


async def _difference(
    protocol: Protocolled, conversation: Conversation, wire: Wire, server: Recorder, egress: Egress
) -> str | None:
    try:
        await Replay(protocol, conversation, server, egress).run(wire)
    except DifferenceError as error:
        return str(error)
    return None


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("name", "protocol"), [("chat_completions", Chat), ("messages", Anthropic)])
async def test_recorded_conversations_replay_exactly(
    name: str, protocol: type[Chat | Anthropic], egress: Egress, capsys: pytest.CaptureFixture[str]
) -> None:
    natives: Counter[str] = Counter()
    inexact: dict[str, str] = {}
    exact = 0
    async with recorder() as server:
        for conversation in load(Path(FOLDER), name):
            reason = _native(protocol, conversation)
            if reason is not None:
                natives[reason] += 1
                continue
            difference = await _difference(protocol(), conversation, _wire(name, conversation), server, egress)
            if difference is None:
                exact += 1
            else:
                inexact[conversation.name] = difference
    eligible = exact + len(inexact)
    with capsys.disabled():
        lines = [f"\n{name}: {exact} exact of {eligible} eligible; apart, as only their vendor can: {natives.total()}"]
        lines += [f"  apart {count}: {reason}" for reason, count in natives.most_common()]
        lines += [f"  inexact {where}: {what}" for where, what in inexact.items()]
        print("\n".join(lines))  # noqa: T201 - the counts are what this test is for
    assert exact >= GOAL * eligible
