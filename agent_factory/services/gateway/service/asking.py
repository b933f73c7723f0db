"""A turn of a deployed agent, as the caller of any protocol asks for it."""

from typing import Any
from uuid import UUID

import msgspec

from agent_factory.core.message import Message
from agent_factory.core.model import ModelSettings, ToolSpec
from agent_factory.runtime.live import LiveRun
from agent_factory.runtime.platform import Platform
from agent_factory.runtime.start import Start
from agent_factory.security.auth import Actor
from agent_factory.services.agents.service import Pinned
from agent_factory.services.gateway.rules import Heard, hear, within
from agent_factory.services.gateway.service.offering import as_model
from agent_factory.services.runs import service as runs


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """A turn that a caller asks for.

    `said` is all that he sent, in order, and none of it is trusted; `before` is
    what we have kept of the conversation. With a `session_id` it is that
    session's next turn. `field` is where he said it.
    """

    agent: str
    said: list[Message]
    stream: bool
    source: str = "openai"
    field: str = "messages"
    before: tuple[Message, ...] = ()
    session_id: UUID | None = None
    settings: ModelSettings | None = None
    output: dict[str, Any] | None = None
    client_tools: tuple[ToolSpec, ...] = ()


async def begin(platform: Platform, actor: Actor, ask: Ask) -> LiveRun:
    """Start a turn of a deployed agent; when this returns, it is committed.

    Raises `ModelNotFound`, `BadRequest` where nothing was said, and whatever
    keeps the engine from starting.
    """

    def start(pinned: Pinned) -> Start:
        heard = _heard(pinned, ask)
        return Start(
            organization_id=actor.organization_id,
            user_id=actor.user_id,
            key_id=actor.key_id,
            agent=pinned.agent,
            agents=pinned.agents,
            agent_id=pinned.agent_id,
            agent_version=pinned.version,
            deployed=True,
            session_id=ask.session_id,
            message=heard.message,
            history=heard.history,
            stream=ask.stream,
            source=ask.source,
            settings=None if ask.settings is None else within(pinned.agent.settings, ask.settings),
            output=ask.output,
            client_tools=ask.client_tools,
        )

    with as_model(ask.agent):
        return (await runs.begin(platform, actor, ask.agent, start)).run


def _heard(pinned: Pinned, ask: Ask) -> Heard:
    # Input guardrails look at the input alone, and a session has its own history: all that came goes in there.
    guarded = any(use.on is None or "input" in use.on for use in pinned.agent.guardrail_uses)
    tools = {tool.name for tool in ask.client_tools}
    whole = guarded or ask.session_id is not None
    heard = hear(ask.said, client_tools=tools, before=ask.before, whole=whole, field=ask.field)
    return Heard((), heard.message) if ask.session_id is not None else heard
