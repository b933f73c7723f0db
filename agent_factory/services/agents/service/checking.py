"""Whether a definition can be run here; every fault has its JSON pointer (S63)."""

from typing import Any
from uuid import UUID

from agent_factory.core.agent import Agent, ToolUse, parse_agent
from agent_factory.core.model import UnknownModel
from agent_factory.core.schema import Schema
from agent_factory.core.tool import ToolFactory, ToolUnavailable
from agent_factory.database.session import ReadSession
from agent_factory.kit.errors import FieldError, Invalid, Problem
from agent_factory.runtime.compile import Resources
from agent_factory.runtime.guardrails import compile_guardrails
from agent_factory.security.auth import Actor
from agent_factory.services.agents.rules import called_agents
from agent_factory.services.agents.service.kind import AGENT
from agent_factory.services.definitions import service as definitions

_PUBLISHED = Schema(Agent.model_json_schema())
"""What the document promises of a definition: `"3"` is no number, though a script may say so."""


async def checked(
    session: ReadSession,
    actor: Actor,
    resources: Resources,
    definition: dict[str, Any],
    _own_id: UUID | None = None,  # an agent is told from others by its name
) -> Agent:
    """Read a definition; unknown tools, models, agents, and bad settings of each are told together, as `Invalid`."""
    agent = parse_agent(definition)
    if loose := _PUBLISHED.faults(definition):
        raise Invalid(f"{len(loose)} fault(s) in the definition.", errors=loose)
    faults = [*_model(agent, resources), *await _tools(agent, resources), *_guardrails(agent)]
    faults += await _agents(session, actor, agent)
    if faults:
        raise Invalid(f"{len(faults)} fault(s) in the definition.", errors=faults)
    return agent


def _model(agent: Agent, resources: Resources) -> list[FieldError]:
    try:
        resources.models.resolve(agent.model)
    except UnknownModel as problem:
        return [FieldError("/model", problem.detail)]
    return []


async def _tools(agent: Agent, resources: Resources) -> list[FieldError]:
    faults: list[FieldError] = []
    names: set[str] = set()
    for index, use in enumerate(agent.tools):
        if not isinstance(use, ToolUse):
            continue
        at = f"/tools/{index}"
        try:
            built = await tool_names(resources.tools.get(use.use), use.config, use.name)
        except Problem as problem:
            faults += [FieldError(at + e.pointer, e.detail) for e in problem.errors] or [FieldError(at, problem.detail)]
            continue
        faults += [FieldError(at, f"two tools are named {n!r}; set `name` on one of them") for n in built if n in names]
        names.update(built)
    return faults


async def tool_names(factory: ToolFactory, config: dict[str, Any], name: str | None = None) -> list[str]:
    """Name the tools that settings make; raises what is wrong with them, with pointers below `/config`.

    Where a server elsewhere decides on its tools, only the settings can be checked here, and no name is known.
    """
    try:
        return [tool.name for tool in await factory.build(config, name)]
    except ToolUnavailable:
        faults = [FieldError(f"/config{e.pointer}", e.detail) for e in Schema(factory.config_schema).faults(config)]
        if faults:
            raise Invalid("The tool's settings do not match their schema.", errors=faults) from None
        return []


def _guardrails(agent: Agent) -> list[FieldError]:
    try:
        compile_guardrails(agent.guardrail_uses, None)
    except Invalid as problem:
        return problem.errors or [FieldError("/guardrails", problem.detail)]
    return []


async def _agents(session: ReadSession, actor: Actor, agent: Agent) -> list[FieldError]:
    faults: list[FieldError] = []
    for index, name in called_agents(agent):
        at = f"/tools/{index}/config/agent"
        if name == agent.name:
            faults.append(FieldError(at, "an agent cannot call itself"))
        elif await definitions.by_name(session, actor, AGENT, name) is None:
            faults.append(FieldError(at, f"there is no agent {name!r}; create it first"))
    return faults
