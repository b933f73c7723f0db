"""HTTP for runs."""

from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from fastapi import Path, Query, Request, Response

from agent_factory.api.access import needs
from agent_factory.api.dependencies import ActorDep, PlatformDep, Reader
from agent_factory.api.direct import direct
from agent_factory.api.paging import PagingDep
from agent_factory.api.routing import router
from agent_factory.api.schemas import Act, Id
from agent_factory.api.sse import EventStream, last_event_id
from agent_factory.database.models import RunStatus
from agent_factory.kit import ids
from agent_factory.runtime.hub import read_event_id
from agent_factory.runtime.platform import Platform
from agent_factory.security.auth import Actor
from agent_factory.services.runs import service
from agent_factory.services.runs.endpoints.answering import (
    DOCUMENTED,
    EVENTS,
    JSON,
    Wait,
    answer,
    ended,
    frames,
    message_of,
    run_started,
    wants_events,
)
from agent_factory.services.runs.schemas import (
    AgentId,
    CostOut,
    DiffOut,
    ReplayOut,
    Resume,
    RunCreate,
    RunId,
    RunOut,
    RunPage,
    SessionId,
    StepOut,
    StepPage,
    WorkflowId,
)

runs = router("/api/v1/runs", "runs")

RunPath = Annotated[UUID, Id("run", in_path=True)]
GOES_ON: dict[int | str, dict[str, Any]] = {202: {"model": RunOut, "description": "The run goes on."}}


@runs.post("", status_code=201, response_model=None, responses=DOCUMENTED)
@needs("agent:run", inside=True, audited=False)
@direct
async def create(
    request: Request, actor: ActorDep, platform: PlatformDep, body: RunCreate, wait: Wait = 60
) -> Response:
    """Ask an agent once, without a conversation."""
    events = wants_events(request, body.stream)
    message = message_of(body.input)
    turn = await service.run_once(platform, actor, body.agent, message, stream=events, version=body.version)
    return await answer(turn, events=events, wait=wait)


@runs.get("")
@needs("agent:read", other="workflow:read", inside=True)
async def list_(
    *,
    session: Reader,
    actor: ActorDep,
    paging: PagingDep,
    kind: Annotated[Literal["agent", "workflow"] | None, Query()] = None,
    session_id: Annotated[SessionId | None, Query()] = None,
    agent_id: Annotated[AgentId | None, Query()] = None,
    workflow_id: Annotated[WorkflowId | None, Query()] = None,
    forked_from: Annotated[RunId | None, Query()] = None,
    label: Annotated[str | None, Query(max_length=200)] = None,
    status: RunStatus | None = None,
) -> RunPage:
    """List runs of agents and workflows, newest first."""
    wanted = service.Wanted(
        kind=kind,
        session_id=session_id,
        agent_id=agent_id,
        workflow_id=workflow_id,
        forked_from=forked_from,
        label=label,
        status=status,
    )
    found = await service.list_runs(session, actor, paging.limit, paging.after, wanted)
    data = await service.show_all(session, actor, found.data)
    return RunPage(data=data, next_cursor=found.next_cursor, has_more=found.has_more)


@runs.get("/{run_id}")
@needs("agent:read", other="workflow:read", inside=True)
async def get(session: Reader, actor: ActorDep, run_id: RunPath) -> RunOut:
    """Show a run."""
    return await service.show(session, actor, await service.get_run(session, actor, run_id))


@runs.get("/{run_id}/output", response_model=None, responses={200: {"description": "The output, any JSON value."}})
@needs("agent:read", other="workflow:read", inside=True)
async def output(actor: ActorDep, platform: PlatformDep, run_id: RunPath) -> Response:
    """Read a completed run's whole output, however large; of an agent without an output schema, its words."""
    return Response(msgspec.json.encode(await service.read_output(platform, actor, run_id)), media_type=JSON)


@runs.get("/{run_id}/steps")
@needs("agent:read", other="workflow:read", inside=True)
async def steps_list(session: Reader, actor: ActorDep, run_id: RunPath, paging: PagingDep) -> StepPage:
    """List a run's recorded steps, in order; in a workflow's, large values are shown by their beginning."""
    return StepPage.model_validate(await service.list_steps(session, actor, run_id, paging.limit, paging.after))


@runs.get("/{run_id}/steps/{path:path}", response_model=None, responses={200: {"model": StepOut}})
@needs("agent:read", other="workflow:read", inside=True)
async def steps_get(
    actor: ActorDep, platform: PlatformDep, run_id: RunPath, path: Annotated[str, Path(min_length=1, max_length=4000)]
) -> Response:
    """Show one step by its path, as `each[3]/fetch`, with its values whole."""
    return Response(msgspec.json.encode(await service.read_step(platform, actor, run_id, path)), media_type=JSON)


@runs.get("/{run_id}/cost")
@needs("agent:read", other="workflow:read", inside=True)
async def cost(session: Reader, actor: ActorDep, run_id: RunPath) -> CostOut:
    """Show what a run came to, by model and, of a workflow, by task."""
    return CostOut(**await service.cost_of(session, actor, run_id))


@runs.get("/{run_id}/diff")
@needs("agent:read", other="workflow:read", inside=True)
async def diff(
    *,
    session: Reader,
    actor: ActorDep,
    run_id: RunPath,
    paging: PagingDep,
    with_: Annotated[RunId, Query(alias="with", description="The other run.")],
    changed: Annotated[bool, Query(description="Only tasks that differ.")] = False,
) -> DiffOut:
    """Compare two runs of workflows, task by task."""
    return await service.diff(session, actor, (run_id, with_), paging.limit, paging.after, changed=changed)


@runs.get("/{run_id}/events", response_model=None, responses=EVENTS)
@needs("agent:read", other="workflow:read", inside=True)
async def events(request: Request, actor: ActorDep, platform: PlatformDep, run_id: RunPath) -> Response:
    """Watch a run to its end; an agent's also to its question to a person.

    `Last-Event-ID` resumes after an event. Words that were streamed are not
    kept: the completed step or run after them says the same.
    """
    after = read_event_id(last_event_id(request))
    watched = await service.watch_run(platform, actor, run_id, after)
    first = run_started(ids.encode("run", run_id), None) if after is None else None
    return EventStream(frames(watched, first))


@runs.post("/{run_id}:cancel")
@needs("agent:run", other="workflow:run", inside=True, audited=False)
async def cancel(actor: ActorDep, platform: PlatformDep, run_id: RunPath, _body: Act | None = None) -> RunOut:
    """Cancel a run; what it has done so far stays."""
    await service.cancel(platform, actor, run_id)
    return await _shown(platform, actor, run_id)


@runs.post("/{run_id}:resume", responses=GOES_ON)
@needs("agent:run", other="workflow:run", inside=True, audited=False)
async def resume(
    *,
    actor: ActorDep,
    platform: PlatformDep,
    run_id: RunPath,
    response: Response,
    body: Resume | None = None,
    wait: Wait = 0,
) -> RunOut:
    """Let a run go on: an agent's with a decision on what it asks, a workflow's after a failure or a cancellation.

    A failed workflow goes on from the task that failed; nothing else is done again.
    """
    live = await service.resume(platform, actor, run_id, body or Resume())
    if live is None:
        return await _goes_on(platform, actor, run_id, response, wait)
    if await ended(live.wait(), wait) is None:
        response.status_code = 202
        response.headers["Location"] = f"/api/v1/runs/{ids.encode('run', run_id)}"
    return await _shown(platform, actor, run_id)


@runs.post("/{run_id}:retry", responses=GOES_ON)
@needs("workflow:run", inside=True, audited=False)
async def retry(
    *,
    actor: ActorDep,
    platform: PlatformDep,
    run_id: RunPath,
    response: Response,
    _body: Act | None = None,
    wait: Wait = 0,
) -> RunOut:
    """Let a failed workflow run go on from the task that failed."""
    await service.retry(platform, actor, run_id)
    return await _goes_on(platform, actor, run_id, response, wait)


@runs.post("/{run_id}:replay")
@needs("workflow:run", inside=True, audited=False)
async def replay(actor: ActorDep, platform: PlatformDep, run_id: RunPath, _body: Act | None = None) -> ReplayOut:
    """Work a workflow's run out again from what it recorded; no model, tool or server is called."""
    return await service.replay(platform, actor, run_id)


async def _goes_on(platform: Platform, actor: Actor, run_id: UUID, response: Response, wait: float) -> RunOut:
    run, done = await service.settled(platform, actor, run_id, wait)
    if not done:
        response.status_code = 202
        response.headers["Location"] = f"/api/v1/runs/{ids.encode('run', run_id)}"
    return run


async def _shown(platform: Platform, actor: Actor, run_id: UUID) -> RunOut:
    async with platform.database.read(actor.organization_id) as session:
        return await service.show(session, actor, await service.found_run(session, actor, run_id))
