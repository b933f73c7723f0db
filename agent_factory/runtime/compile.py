"""Makes a definition ready to run: model, tools, guardrails and schemas, each checked once."""

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from agent_factory.core.agent import Agent, ToolUse
from agent_factory.core.model import ModelSettings, OutputSchema, ToolSpec
from agent_factory.core.schema import Schema
from agent_factory.core.tool import Tool, ToolContext, ToolFactory
from agent_factory.kit.catalog import Catalog
from agent_factory.kit.errors import FieldError, Invalid, NotFound, Problem
from agent_factory.kit.redaction import Redactor
from agent_factory.runtime.doors import own_doors
from agent_factory.runtime.guardrails import Guards, compile_guardrails
from agent_factory.runtime.models import Models, ResolvedModel

MAX_TOOLS = 256
"""Tools of one agent, after MCP servers and OpenAPI documents have been unfolded."""


class Resources(msgspec.Struct, frozen=True):
    """What agents may reach.

    `doors` is handed to tools as `ToolContext.resources`, narrowed by
    `own_doors`; what `redactor` knows reaches neither a model nor a journal.
    """

    models: Models
    tools: Catalog[ToolFactory]
    doors: Mapping[str, Any] = {}
    redactor: Redactor = msgspec.field(default_factory=Redactor)


class BoundTool(msgspec.Struct, frozen=True):
    """A tool with the permission that the agent gives it."""

    tool: Tool
    permission: str = "allow"


class Compiled(msgspec.Struct, frozen=True):
    """An agent that is ready to run; made once for each version and shared by its turns.

    `agents` are the pinned definitions that its `agent` tools may name, and
    `children` those of them that have been compiled so far.
    """

    agent: Agent
    resources: Resources
    model: ResolvedModel
    tools: dict[str, BoundTool]
    specs: tuple[ToolSpec, ...]
    guards: Guards
    settings: ModelSettings
    output: OutputSchema | None
    output_schema: Schema | None
    agents: Mapping[str, Agent]
    children: dict[str, "Compiled"]
    organization_id: str = ""

    async def child(self, name: str) -> "Compiled":
        """Compile one of the agents that this one may call; an unknown name is `NotFound`."""
        if name not in self.children:
            if name not in self.agents:
                raise NotFound(f"This agent may not call an agent {name!r}; known are: {', '.join(self.agents)}.")
            self.children[name] = await compile_agent(
                self.agents[name], self.resources, self.agents, organization_id=self.organization_id
            )
        return self.children[name]


async def compile_agent(
    agent: Agent,
    resources: Resources,
    agents: Mapping[str, Agent] | None = None,
    functions: Mapping[str, Tool] | None = None,
    *,
    organization_id: str = "",
) -> Compiled:
    """Check a definition against what is there for an organisation and make it ready to run.

    `functions` are a script's own tools, by name. Raises `UnknownModel`, or
    `Invalid` with the pointer of every tool that cannot be made.
    """
    model = await resources.models.find(agent.model)
    context = ToolContext(organization_id=organization_id, resources=await own_doors(resources.doors, organization_id))
    tools = await _bind(agent, resources, context, functions or {})
    return Compiled(
        agent=agent,
        resources=resources,
        model=model,
        tools=tools,
        specs=tuple(_told(bound.tool.spec, resources.redactor, organization_id) for bound in tools.values()),
        guards=compile_guardrails(agent.guardrail_uses),
        settings=agent.settings,
        output=None if agent.output is None else named_output(agent.output),
        output_schema=None if agent.output is None else Schema(agent.output, at="/output"),
        agents=agents or {},
        children={},
        organization_id=organization_id,
    )


def named_output(schema: dict[str, Any]) -> OutputSchema:
    """Name an output schema by its title, as vendors demand a name."""
    title = re.sub(r"[^A-Za-z0-9_-]+", "_", str(schema.get("title", "answer")))[:64]
    return OutputSchema(title or "answer", schema)


async def _bind(
    agent: Agent, resources: Resources, context: ToolContext, functions: Mapping[str, Tool]
) -> dict[str, BoundTool]:
    bound: dict[str, BoundTool] = {}
    faults: list[FieldError] = []
    for index, item in enumerate(agent.tool_uses):
        at = f"/tools/{index}"
        try:
            made, permission = await _make(item, resources, context, functions)
        except Problem as error:
            faults += [FieldError(at + e.pointer, e.detail) for e in error.errors] or [FieldError(at, error.detail)]
            continue
        for tool in made:
            if tool.name in bound:
                faults.append(FieldError(at, f"two tools are named {tool.name!r}; set `name` on one of them"))
            bound[tool.name] = BoundTool(tool, permission)
    if len(bound) > MAX_TOOLS:
        faults.append(FieldError("/tools", f"{len(bound)} tools; at most {MAX_TOOLS} are possible"))
    if faults:
        raise Invalid(f"{len(faults)} fault(s) in the tools of agent {agent.name!r}.", errors=faults)
    return bound


async def _make(
    item: Tool | ToolUse, resources: Resources, context: ToolContext, functions: Mapping[str, Tool]
) -> tuple[list[Tool], str]:
    if isinstance(item, Tool):
        return [item], "allow"
    if item.use in functions:
        return [functions[item.use]], item.permission
    return await resources.tools.get(item.use).build(item.config, item.name, context), item.permission


def _told(spec: ToolSpec, redactor: Redactor, organization_id: str) -> ToolSpec:
    """Give a tool as models are told of it: a server may describe it with the credential that it was asked with."""
    return msgspec.structs.replace(
        spec,
        description=redactor.text(spec.description, organization_id),
        parameters=redactor.document(spec.parameters, organization_id),
    )
