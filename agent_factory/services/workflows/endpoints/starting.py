"""HTTP for runs of workflows: begun, and begun once more."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import Query, Request, Response

from agent_factory.api.access import needs
from agent_factory.api.dependencies import ActorDep, PlatformDep
from agent_factory.api.problems import MethodNotAllowed, respond
from agent_factory.api.routing import router
from agent_factory.api.schemas import Id
from agent_factory.api.yaml import READ_TOO
from agent_factory.kit import ids
from agent_factory.runtime.platform import Platform
from agent_factory.security.auth import Actor
from agent_factory.security.rbac import MEMBER
from agent_factory.services.runs import service as runs
from agent_factory.services.runs.schemas import RunOut
from agent_factory.services.workflows import service
from agent_factory.services.workflows.schemas import Execute, ForkIn, RunStart
from agent_factory.services.workflows.service import Started

starts = router("/api/v1/workflows", "workflows")
forks = router("/api/v1/runs", "runs")

WorkflowPath = Annotated[UUID, Id("wf", in_path=True)]
RunPath = Annotated[UUID, Id("run", in_path=True)]
Wait = Annotated[
    float,
    Query(ge=0, le=300, allow_inf_nan=False, description="Seconds to wait for the end, or for a question to people."),
]
_ANSWERS: dict[int | str, dict[str, Any]] = {
    201: {"model": RunOut, "description": "The run has ended."},
    202: {"model": RunOut, "description": "The run is queued, at work or waiting; see `Location`."},
}


@starts.post("/execute", status_code=202, responses=_ANSWERS, openapi_extra=READ_TOO)
@needs("workflow:run", inside=True, audited=False)
async def execute(
    *, actor: ActorDep, platform: PlatformDep, body: Execute, response: Response, wait: Wait = 0
) -> RunOut:
    """Run a workflow that is named in the body, or a definition that is kept nowhere."""
    if body.workflow is not None:
        started = await service.start_definition(
            platform, actor, body.workflow, document=body.input, priority=body.priority
        )
    else:
        started = await _started(platform, actor, body.workflow_id or body.name or "", body)
    return await _answer(platform, actor, started, response, wait)


@starts.api_route("/execute", methods=["GET", "PUT", "PATCH", "DELETE"], include_in_schema=False)
@needs(MEMBER, audited=False)
async def execute_only(request: Request, actor: ActorDep) -> Response:  # noqa: ARG001 - callers only
    """Say that the word is no workflow's id."""
    return respond(MethodNotAllowed("Workflows are executed by POST."), request.scope, {"Allow": "POST"})


@starts.post("/{workflow_id}/runs", status_code=202, responses=_ANSWERS)
@needs("workflow:run", of="workflow_id", audited=False)
async def runs_create(
    *,
    actor: ActorDep,
    platform: PlatformDep,
    workflow_id: WorkflowPath,
    response: Response,
    body: RunStart | None = None,
    wait: Wait = 0,
) -> RunOut:
    """Run a workflow; it goes on when the caller leaves."""
    started = await _started(platform, actor, workflow_id, body or RunStart())
    return await _answer(platform, actor, started, response, wait)


@forks.post("/{run_id}:fork", status_code=202, responses=_ANSWERS)
@needs("workflow:run", inside=True, audited=False)
async def fork(
    *, actor: ActorDep, platform: PlatformDep, run_id: RunPath, body: ForkIn, response: Response, wait: Wait = 0
) -> RunOut:
    """Run a workflow's run again from a task on, with another input, prompt, model or definition.

    What was done before the task is taken as it was, and not done again.
    """
    return await _answer(platform, actor, await service.fork(platform, actor, run_id, body), response, wait)


async def _started(platform: Platform, actor: Actor, ref: str | UUID, body: RunStart) -> Started:
    return await service.start(
        platform,
        actor.organization_id,
        ref,
        document=body.input,
        version=body.version,
        user_id=actor.user_id,
        asker=actor,
        priority=body.priority,
    )


async def _answer(platform: Platform, actor: Actor, started: Started, response: Response, wait: float) -> RunOut:
    response.headers["Location"] = f"/api/v1/runs/{ids.encode('run', started.run_id)}"
    run, ended = await runs.settled(platform, actor, started.run_id, wait)
    if ended and wait:
        response.status_code = 201
    return run
