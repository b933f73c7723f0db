"""A turn that somebody asks for."""

from typing import Any
from uuid import UUID

import msgspec

from agent_factory.core.agent import Agent
from agent_factory.core.message import Message
from agent_factory.core.model import ModelSettings, ToolSpec
from agent_factory.enterprise.multitenancy.limits import Spender
from agent_factory.runtime.rows import Input


class Start(msgspec.Struct, frozen=True, kw_only=True):
    """A turn to be made: of a session, or by itself with the `history` that the caller brings.

    `settings`, `output` and `client_tools` are the caller's own for this turn;
    see `TurnContext`. `agents` are the pinned agents that `agent` may call.
    With `deployed`, the version has to be the agent's deployed one when the
    turn begins.
    """

    organization_id: UUID
    agent: Agent
    message: Message
    user_id: UUID | None = None
    key_id: UUID | None = None
    agents: dict[str, Agent] = {}
    agent_id: UUID | None = None
    agent_version: int | None = None
    deployed: bool = False
    session_id: UUID | None = None
    history: tuple[Message, ...] = ()
    stream: bool = True
    source: str = "api"
    settings: ModelSettings | None = None
    output: dict[str, Any] | None = None
    client_tools: tuple[ToolSpec, ...] = ()


def spender(start: Start, run_id: UUID | None = None) -> Spender:
    """Say whose limits a start, or the run that came of it, counts against."""
    return Spender(
        organization_id=start.organization_id,
        run_id=run_id,
        agents=(start.agent.name,),
        agent_id=start.agent_id,
        key_id=start.key_id,
    )


def asked(start: Start) -> Input:
    """Write what is asked as the run keeps it."""
    return Input(
        message=start.message,
        history=start.history,
        settings=None if start.settings is None else start.settings.model_dump(mode="json", exclude_unset=True),
        output=start.output,
        client_tools=start.client_tools,
    )
