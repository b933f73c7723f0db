"""HTTP for agents, their versions and their life."""

from typing import Annotated
from uuid import UUID

from fastapi import Body, Path, Query, Response

from agent_factory.api.access import needs
from agent_factory.api.dependencies import ActorDep, PlatformDep, Reader, Writer
from agent_factory.api.etag import IfMatch, etag
from agent_factory.api.paging import PagingDep
from agent_factory.api.routing import router
from agent_factory.api.schemas import Act, Definition, Id
from agent_factory.core.agent import AgentStatus
from agent_factory.kit import ids
from agent_factory.services.agents import service
from agent_factory.services.agents.schemas import (
    AgentOut,
    AgentPage,
    AgentSummary,
    TemplateOut,
    TemplatePage,
    TemplateSummary,
    VersionOut,
)
from agent_factory.services.agents.service import AGENTS
from agent_factory.services.definitions import service as definitions
from agent_factory.services.definitions.schemas import Patch, Validation, VersionChoice, VersionPage
from agent_factory.services.definitions.service import Changed

agents = router("/api/v1/agents", "agents")
templates = router("/api/v1/agent-templates", "agent-templates")

AgentPath = Annotated[UUID, Id("agt", in_path=True)]
Number = Annotated[int, Path(ge=1, le=2_147_483_647)]
DefinitionBody = Annotated[Definition, Body(description="An agent's definition.")]
PatchBody = Annotated[Patch, Body(description="A merge patch (RFC 7396) for the definition.")]


@agents.post("", status_code=201)
@needs("agent:create")
async def create(
    session: Writer, actor: ActorDep, platform: PlatformDep, body: DefinitionBody, response: Response
) -> AgentOut:
    """Create an agent as a draft."""
    made = await definitions.create(session, actor, AGENTS, platform, body)
    response.headers["Location"] = _location(made)
    return _shown(made, response)


@agents.get("")
@needs("agent:read", inside=True)
async def list_(
    session: Reader,
    actor: ActorDep,
    paging: PagingDep,
    name: Annotated[str | None, Query(max_length=64)] = None,
    status: AgentStatus | None = None,
) -> AgentPage:
    """List agents, newest first; archived ones only by `status=archived`."""
    found = await definitions.list_definitions(session, actor, AGENTS, paging, name=name, status=status)
    return AgentPage.model_validate(found)


@agents.get("/{agent_id}")
@needs("agent:read", of="agent_id")
async def get(session: Reader, actor: ActorDep, agent_id: AgentPath, response: Response) -> AgentOut:
    """Show an agent with its newest definition."""
    return _shown(Changed(*await definitions.get(session, actor, AGENTS, agent_id)), response)


@agents.patch("/{agent_id}")
@needs("agent:edit", of="agent_id")
async def update(
    *,
    session: Writer,
    actor: ActorDep,
    platform: PlatformDep,
    agent_id: AgentPath,
    body: PatchBody,
    response: Response,
    if_match: IfMatch = None,
) -> AgentOut:
    """Change parts of the definition; the result is a new version."""
    changed = await definitions.patch(session, actor, AGENTS, platform, agent_id, change=body, if_match=if_match)
    return _shown(changed, response)


@agents.put("/{agent_id}")
@needs("agent:edit", of="agent_id")
async def replace(
    *,
    session: Writer,
    actor: ActorDep,
    platform: PlatformDep,
    agent_id: AgentPath,
    body: DefinitionBody,
    response: Response,
    if_match: IfMatch = None,
) -> AgentOut:
    """Give the agent a new definition; the result is a new version."""
    changed = await definitions.replace(session, actor, AGENTS, platform, agent_id, definition=body, if_match=if_match)
    return _shown(changed, response)


@agents.delete("/{agent_id}", status_code=204)
@needs("agent:delete", of="agent_id")
async def delete(
    session: Writer, actor: ActorDep, platform: PlatformDep, agent_id: AgentPath, if_match: IfMatch = None
) -> None:
    """Archive an agent; its runs and sessions stay readable."""
    await definitions.archive(session, actor, AGENTS, platform, agent_id, if_match=if_match)


@agents.get("/{agent_id}/versions")
@needs("agent:read", of="agent_id")
async def versions_list(session: Reader, actor: ActorDep, agent_id: AgentPath, paging: PagingDep) -> VersionPage:
    """List an agent's versions, newest first."""
    found = await definitions.list_versions(session, actor, AGENTS, agent_id, paging)
    return VersionPage.model_validate(found)


@agents.post("/{agent_id}/versions", status_code=201)
@needs("agent:edit", of="agent_id")
async def versions_create(
    *,
    session: Writer,
    actor: ActorDep,
    platform: PlatformDep,
    agent_id: AgentPath,
    body: DefinitionBody,
    response: Response,
    if_match: IfMatch = None,
) -> VersionOut:
    """Make a definition the agent's newest version; one without a difference is the version that is there."""
    made = await definitions.replace(session, actor, AGENTS, platform, agent_id, definition=body, if_match=if_match)
    response.headers["ETag"] = etag(made.head.revision)
    response.headers["Location"] = f"{_location(made)}/versions/{made.version.number}"
    return VersionOut.model_validate(made.version)


@agents.get("/{agent_id}/versions/{number}")
@needs("agent:read", of="agent_id")
async def versions_get(session: Reader, actor: ActorDep, agent_id: AgentPath, number: Number) -> VersionOut:
    """Show one version."""
    return VersionOut.model_validate(await definitions.get_version(session, actor, AGENTS, agent_id, number))


@agents.post(":validate", name="validate")
@needs("agent:create", audited=False)
async def validate(session: Reader, actor: ActorDep, platform: PlatformDep, body: DefinitionBody) -> Validation:
    """Check a definition without keeping it; its faults come as a 422 with their pointers."""
    await AGENTS.checked(session, actor, platform.resources, body, None)
    return Validation(valid=True)


@agents.post("/{agent_id}:validate", name="validate_newest")
@needs("agent:read", of="agent_id", audited=False)
async def validate_newest(
    session: Reader, actor: ActorDep, platform: PlatformDep, agent_id: AgentPath, _body: Act | None = None
) -> Validation:
    """Check whether the newest version can be run here and now."""
    _, version = await definitions.get(session, actor, AGENTS, agent_id)
    await AGENTS.checked(session, actor, platform.resources, version.definition, agent_id)
    return Validation(valid=True)


@agents.post("/{agent_id}:activate")
@needs("agent:edit", of="agent_id")
async def activate(
    *,
    session: Writer,
    actor: ActorDep,
    agent_id: AgentPath,
    response: Response,
    _body: Act | None = None,
    if_match: IfMatch = None,
) -> AgentOut:
    """Call a draft finished."""
    return _shown(await definitions.activate(session, actor, AGENTS, agent_id, if_match=if_match), response)


@agents.post("/{agent_id}:deploy")
@needs("agent:publish", of="agent_id")
async def deploy(
    *,
    session: Writer,
    actor: ActorDep,
    platform: PlatformDep,
    agent_id: AgentPath,
    response: Response,
    body: VersionChoice | None = None,
    if_match: IfMatch = None,
) -> AgentOut:
    """Put a version into service, by default the newest; runs in flight keep theirs."""
    wanted = body.version if body else None
    changed = await definitions.deploy(session, actor, AGENTS, platform, agent_id, version=wanted, if_match=if_match)
    return _shown(changed, response)


@agents.post("/{agent_id}:pause")
@needs("agent:publish", of="agent_id")
async def pause(
    *,
    session: Writer,
    actor: ActorDep,
    agent_id: AgentPath,
    response: Response,
    _body: Act | None = None,
    if_match: IfMatch = None,
) -> AgentOut:
    """Take an agent out of service until it is deployed again."""
    return _shown(await definitions.pause(session, actor, AGENTS, agent_id, if_match=if_match), response)


@agents.post("/{agent_id}:rollback")
@needs("agent:publish", of="agent_id")
async def rollback(
    *,
    session: Writer,
    actor: ActorDep,
    platform: PlatformDep,
    agent_id: AgentPath,
    response: Response,
    body: VersionChoice | None = None,
    if_match: IfMatch = None,
) -> AgentOut:
    """Put an earlier version back into service, by default the one before the deployed one."""
    wanted = body.version if body else None
    changed = await definitions.rollback(session, actor, AGENTS, platform, agent_id, version=wanted, if_match=if_match)
    return _shown(changed, response)


@agents.post("/{agent_id}:archive")
@needs("agent:delete", of="agent_id")
async def archive(
    *,
    session: Writer,
    actor: ActorDep,
    platform: PlatformDep,
    agent_id: AgentPath,
    response: Response,
    _body: Act | None = None,
    if_match: IfMatch = None,
) -> AgentOut:
    """Put an agent away for good."""
    return _shown(await definitions.archive(session, actor, AGENTS, platform, agent_id, if_match=if_match), response)


@templates.get("", name="list_")
@needs("agent:read")
async def list_templates(actor: ActorDep) -> TemplatePage:  # noqa: ARG001 - callers only
    """List ready-made agents, by name."""
    found = [TemplateSummary.model_validate(t) for t in service.list_templates()]
    return TemplatePage(data=found, next_cursor=None, has_more=False)


@templates.get("/{name}", name="get")
@needs("agent:read")
async def get_template(actor: ActorDep, name: Annotated[str, Path(max_length=100)]) -> TemplateOut:  # noqa: ARG001 - callers only
    """Show a ready-made agent; its definition can be posted to /agents as it is."""
    return TemplateOut.model_validate(service.get_template(name))


def _shown(changed: Changed, response: Response) -> AgentOut:
    response.headers["ETag"] = etag(changed.head.revision)
    summary = AgentSummary.model_validate(changed.head)
    return AgentOut(
        **{n: getattr(summary, n) for n in AgentSummary.model_fields}, definition=changed.version.definition
    )


def _location(changed: Changed) -> str:
    return f"/api/v1/agents/{ids.encode('agt', changed.head.id)}"
