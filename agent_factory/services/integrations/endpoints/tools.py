"""HTTP for tools."""

from typing import Annotated

from fastapi import Path

from agent_factory.api.access import needs
from agent_factory.api.dependencies import ActorDep, PlatformDep
from agent_factory.api.routing import router
from agent_factory.core.tool import ToolFactory
from agent_factory.services.integrations import service
from agent_factory.services.integrations.schemas import (
    Described,
    DescribedTool,
    ToolDescribe,
    ToolInvoke,
    ToolOut,
    ToolPage,
    ToolResult,
)

tools = router("/api/v1/tools", "tools")

Name = Annotated[str, Path(max_length=200, description="The name that agents use.")]


@tools.get("")
@needs("agent:read")
async def list_(actor: ActorDep, platform: PlatformDep) -> ToolPage:  # noqa: ARG001 - callers only
    """List the tools that agents may use, by name."""
    return ToolPage(data=[_shown(t) for t in service.tools(platform.resources)], next_cursor=None, has_more=False)


@tools.get("/{tool_id}")
@needs("agent:read")
async def get(actor: ActorDep, platform: PlatformDep, tool_id: Name) -> ToolOut:  # noqa: ARG001 - callers only
    """Show one tool and the schema of its settings."""
    return _shown(service.tool(platform.resources, tool_id))


@tools.post("/{tool_id}:invoke")
@needs("agent:run")
async def invoke(actor: ActorDep, platform: PlatformDep, tool_id: Name, body: ToolInvoke) -> ToolResult:
    """Call a tool once, outside any run."""
    result = await service.invoke(
        platform.resources, actor, tool_id, arguments=body.arguments, config=body.config, pick=body.name
    )
    return ToolResult.model_validate(result)


@tools.post("/{tool_id}:describe")
@needs("agent:run", audited=False)
async def describe(actor: ActorDep, platform: PlatformDep, tool_id: Name, body: ToolDescribe) -> Described:
    """Show the tools that a use would give an agent, such as those of an MCP server, without calling any."""
    made = await service.described(platform.resources, actor, tool_id, config=body.config, given=body.name)
    redactor, own = platform.resources.redactor, str(actor.organization_id)
    return Described(
        data=[
            DescribedTool(
                name=tool.name,
                description=redactor.text(tool.description, own),
                parameters=redactor.document(tool.parameters, own),
                fingerprint=tool.fingerprint,
            )
            for tool in made
        ]
    )


def _shown(tool: ToolFactory) -> ToolOut:
    return ToolOut(id=tool.name, name=tool.name, description=tool.description, config_schema=tool.config_schema)
