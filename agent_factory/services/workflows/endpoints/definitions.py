"""HTTP for workflows, their versions and their life."""

from typing import Annotated
from uuid import UUID

from fastapi import Body, Path, Query, Response

from agent_factory.api.access import needs
from agent_factory.api.dependencies import ActorDep, PlatformDep, Reader, Writer
from agent_factory.api.etag import IfMatch, etag
from agent_factory.api.paging import PagingDep
from agent_factory.api.routing import router
from agent_factory.api.schemas import Act, Id
from agent_factory.api.yaml import READ_TOO
from agent_factory.core.agent import AgentStatus
from agent_factory.kit import ids
from agent_factory.services.definitions import service as definitions
from agent_factory.services.definitions.schemas import Patch, Validation, VersionChoice, VersionPage
from agent_factory.services.definitions.service import Changed
from agent_factory.services.workflows.schemas import (
    WorkflowDefinition,
    WorkflowOut,
    WorkflowPage,
    WorkflowSummary,
    WorkflowVersionOut,
)
from agent_factory.services.workflows.service import WORKFLOWS

workflows = router("/api/v1/workflows", "workflows")

WorkflowPath = Annotated[UUID, Id("wf", in_path=True)]
Number = Annotated[int, Path(ge=1, le=2_147_483_647)]
DefinitionBody = Annotated[WorkflowDefinition, Body(description="A workflow's definition, as JSON or YAML.")]
PatchBody = Annotated[Patch, Body(description="A merge patch (RFC 7396) for the definition.")]


@workflows.post("", status_code=201, openapi_extra=READ_TOO)
@needs("workflow:create")
async def create(
    session: Writer, actor: ActorDep, platform: PlatformDep, body: DefinitionBody, response: Response
) -> WorkflowOut:
    """Create a workflow as a draft."""
    made = await definitions.create(session, actor, WORKFLOWS, platform, body)
    response.headers["Location"] = _location(made)
    return _shown(made, response)


@workflows.get("")
@needs("workflow:read", inside=True)
async def list_(
    session: Reader,
    actor: ActorDep,
    paging: PagingDep,
    name: Annotated[str | None, Query(max_length=200)] = None,
    status: AgentStatus | None = None,
) -> WorkflowPage:
    """List workflows, newest first; archived ones only by `status=archived`."""
    found = await definitions.list_definitions(session, actor, WORKFLOWS, paging, name=name, status=status)
    return WorkflowPage.model_validate(found)


@workflows.get("/{workflow_id}")
@needs("workflow:read", of="workflow_id")
async def get(session: Reader, actor: ActorDep, workflow_id: WorkflowPath, response: Response) -> WorkflowOut:
    """Show a workflow with its newest definition."""
    return _shown(Changed(*await definitions.get(session, actor, WORKFLOWS, workflow_id)), response)


@workflows.patch("/{workflow_id}")
@needs("workflow:edit", of="workflow_id")
async def update(
    *,
    session: Writer,
    actor: ActorDep,
    platform: PlatformDep,
    workflow_id: WorkflowPath,
    body: PatchBody,
    response: Response,
    if_match: IfMatch = None,
) -> WorkflowOut:
    """Change parts of the definition; the result is a new version."""
    changed = await definitions.patch(session, actor, WORKFLOWS, platform, workflow_id, change=body, if_match=if_match)
    return _shown(changed, response)


@workflows.put("/{workflow_id}", openapi_extra=READ_TOO)
@needs("workflow:edit", of="workflow_id")
async def replace(
    *,
    session: Writer,
    actor: ActorDep,
    platform: PlatformDep,
    workflow_id: WorkflowPath,
    body: DefinitionBody,
    response: Response,
    if_match: IfMatch = None,
) -> WorkflowOut:
    """Give the workflow a new definition; the result is a new version."""
    changed = await definitions.replace(
        session, actor, WORKFLOWS, platform, workflow_id, definition=body, if_match=if_match
    )
    return _shown(changed, response)


@workflows.delete("/{workflow_id}", status_code=204)
@needs("workflow:delete", of="workflow_id")
async def delete(
    session: Writer, actor: ActorDep, platform: PlatformDep, workflow_id: WorkflowPath, if_match: IfMatch = None
) -> None:
    """Archive a workflow; its runs stay readable."""
    await definitions.archive(session, actor, WORKFLOWS, platform, workflow_id, if_match=if_match)


@workflows.get("/{workflow_id}/versions")
@needs("workflow:read", of="workflow_id")
async def versions_list(session: Reader, actor: ActorDep, workflow_id: WorkflowPath, paging: PagingDep) -> VersionPage:
    """List a workflow's versions, newest first."""
    found = await definitions.list_versions(session, actor, WORKFLOWS, workflow_id, paging)
    return VersionPage.model_validate(found)


@workflows.post("/{workflow_id}/versions", status_code=201, openapi_extra=READ_TOO)
@needs("workflow:edit", of="workflow_id")
async def versions_create(
    *,
    session: Writer,
    actor: ActorDep,
    platform: PlatformDep,
    workflow_id: WorkflowPath,
    body: DefinitionBody,
    response: Response,
    if_match: IfMatch = None,
) -> WorkflowVersionOut:
    """Make a definition the workflow's newest version; one without a difference is the version that is there."""
    made = await definitions.replace(
        session, actor, WORKFLOWS, platform, workflow_id, definition=body, if_match=if_match
    )
    response.headers["ETag"] = etag(made.head.revision)
    response.headers["Location"] = f"{_location(made)}/versions/{made.version.number}"
    return WorkflowVersionOut.model_validate(made.version)


@workflows.get("/{workflow_id}/versions/{number}")
@needs("workflow:read", of="workflow_id")
async def versions_get(
    session: Reader, actor: ActorDep, workflow_id: WorkflowPath, number: Number
) -> WorkflowVersionOut:
    """Show one version."""
    return WorkflowVersionOut.model_validate(
        await definitions.get_version(session, actor, WORKFLOWS, workflow_id, number)
    )


@workflows.post(":validate", name="validate", openapi_extra=READ_TOO)
@needs("workflow:create", audited=False)
async def validate(session: Reader, actor: ActorDep, platform: PlatformDep, body: DefinitionBody) -> Validation:
    """Check a definition without keeping it; its faults come as a 422 with their pointers."""
    await WORKFLOWS.checked(session, actor, platform.resources, body, None)
    return Validation(valid=True)


@workflows.post("/{workflow_id}:validate", name="validate_newest")
@needs("workflow:read", of="workflow_id", audited=False)
async def validate_newest(
    session: Reader, actor: ActorDep, platform: PlatformDep, workflow_id: WorkflowPath, _body: Act | None = None
) -> Validation:
    """Check whether the newest version can be run here and now."""
    _, version = await definitions.get(session, actor, WORKFLOWS, workflow_id)
    await WORKFLOWS.checked(session, actor, platform.resources, version.definition, workflow_id)
    return Validation(valid=True)


@workflows.post("/{workflow_id}:activate")
@needs("workflow:edit", of="workflow_id")
async def activate(
    *,
    session: Writer,
    actor: ActorDep,
    workflow_id: WorkflowPath,
    response: Response,
    _body: Act | None = None,
    if_match: IfMatch = None,
) -> WorkflowOut:
    """Call a draft finished."""
    return _shown(await definitions.activate(session, actor, WORKFLOWS, workflow_id, if_match=if_match), response)


@workflows.post("/{workflow_id}:deploy")
@needs("workflow:publish", of="workflow_id")
async def deploy(
    *,
    session: Writer,
    actor: ActorDep,
    platform: PlatformDep,
    workflow_id: WorkflowPath,
    response: Response,
    body: VersionChoice | None = None,
    if_match: IfMatch = None,
) -> WorkflowOut:
    """Put a version into service, by default the newest; runs in flight keep theirs."""
    wanted = body.version if body else None
    changed = await definitions.deploy(
        session, actor, WORKFLOWS, platform, workflow_id, version=wanted, if_match=if_match
    )
    return _shown(changed, response)


@workflows.post("/{workflow_id}:pause")
@needs("workflow:publish", of="workflow_id")
async def pause(
    *,
    session: Writer,
    actor: ActorDep,
    workflow_id: WorkflowPath,
    response: Response,
    _body: Act | None = None,
    if_match: IfMatch = None,
) -> WorkflowOut:
    """Take a workflow out of service until it is deployed again; runs in flight go on."""
    return _shown(await definitions.pause(session, actor, WORKFLOWS, workflow_id, if_match=if_match), response)


@workflows.post("/{workflow_id}:rollback")
@needs("workflow:publish", of="workflow_id")
async def rollback(
    *,
    session: Writer,
    actor: ActorDep,
    platform: PlatformDep,
    workflow_id: WorkflowPath,
    response: Response,
    body: VersionChoice | None = None,
    if_match: IfMatch = None,
) -> WorkflowOut:
    """Put an earlier version back into service, by default the one before the deployed one."""
    wanted = body.version if body else None
    changed = await definitions.rollback(
        session, actor, WORKFLOWS, platform, workflow_id, version=wanted, if_match=if_match
    )
    return _shown(changed, response)


@workflows.post("/{workflow_id}:archive")
@needs("workflow:delete", of="workflow_id")
async def archive(
    *,
    session: Writer,
    actor: ActorDep,
    platform: PlatformDep,
    workflow_id: WorkflowPath,
    response: Response,
    _body: Act | None = None,
    if_match: IfMatch = None,
) -> WorkflowOut:
    """Put a workflow away for good."""
    return _shown(
        await definitions.archive(session, actor, WORKFLOWS, platform, workflow_id, if_match=if_match), response
    )


def _shown(changed: Changed, response: Response) -> WorkflowOut:
    response.headers["ETag"] = etag(changed.head.revision)
    summary = WorkflowSummary.model_validate(changed.head)
    return WorkflowOut(
        **{n: getattr(summary, n) for n in WorkflowSummary.model_fields}, definition=changed.version.definition
    )


def _location(changed: Changed) -> str:
    return f"/api/v1/workflows/{ids.encode('wf', changed.head.id)}"
