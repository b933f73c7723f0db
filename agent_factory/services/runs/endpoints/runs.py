"""HTTP for runs."""

from typing import Annotated
from uuid import UUID

from fastapi import Query, Request, Response

from agent_factory.api.dependencies import ActorDep, PlatformDep, Reader
from agent_factory.api.paging import PagingDep
from agent_factory.api.routing import router
from agent_factory.api.schemas import Id
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
    Wait,
    answer,
    ended,
    frames,
    message_of,
    run_started,
    wants_events,
)
from agent_factory.services.runs.rules import money, run_out
from agent_factory.services.runs.schemas import (
    Act,
    AgentId,
    CostOut,
    Decision,
    RunCreate,
    RunOut,
    RunPage,
    SessionId,
    StepOut,
    StepPage,
)

runs = router("/api/v1/runs", "runs")

RunPath = Annotated[UUID, Id("run", in_path=True)]


@runs.post("", status_code=201, response_model=None, responses=DOCUMENTED)
async def create(
    request: Request, actor: ActorDep, platform: PlatformDep, body: RunCreate, wait: Wait = 60
) -> Response:
    """Ask an agent once, without a conversation."""
    events = wants_events(request, body.stream)
    message = message_of(body.input)
    turn = await service.run_once(platform, actor, body.agent, message, stream=events, version=body.version)
    return await answer(turn, events=events, wait=wait)


@runs.get("")
async def list_(
    *,
    session: Reader,
    actor: ActorDep,
    paging: PagingDep,
    session_id: Annotated[SessionId | None, Query()] = None,
    agent_id: Annotated[AgentId | None, Query()] = None,
    status: RunStatus | None = None,
) -> RunPage:
    """List runs, newest first."""
    found = await service.list_runs(
        session, actor, paging.limit, paging.after, session_id=session_id, agent_id=agent_id, status=status
    )
    data = [RunOut(**run_out(row)) for row in found.data]
    return RunPage(data=data, next_cursor=found.next_cursor, has_more=found.has_more)


@runs.get("/{run_id}")
async def get(session: Reader, actor: ActorDep, run_id: RunPath) -> RunOut:
    """Show a run."""
    return RunOut(**run_out(await service.get_run(session, actor, run_id)))


@runs.get("/{run_id}/steps")
async def steps_list(session: Reader, actor: ActorDep, run_id: RunPath, paging: PagingDep) -> StepPage:
    """List a run's recorded steps, in order."""
    found = await service.list_steps(session, actor, run_id, paging.limit, paging.after)
    data = [
        StepOut(
            **{name: getattr(row, name) for name in StepOut.model_fields if name != "cost_usd"},
            cost_usd=money(row.cost_usd),
        )
        for row in found.data
    ]
    return StepPage(data=data, next_cursor=found.next_cursor, has_more=found.has_more)


@runs.get("/{run_id}/cost")
async def cost(session: Reader, actor: ActorDep, run_id: RunPath) -> CostOut:
    """Show what a run came to, by model."""
    return CostOut(**await service.cost_of(session, actor, run_id))


@runs.get("/{run_id}/events", response_model=None, responses=EVENTS)
async def events(request: Request, actor: ActorDep, platform: PlatformDep, run_id: RunPath) -> Response:
    """Watch a run to its end, or to its question to a person.

    `Last-Event-ID` resumes after an event. Words that were streamed are not
    kept: the completed step or run after them says the same.
    """
    after = read_event_id(last_event_id(request))
    watched = await service.watch_run(platform, actor, run_id, after)
    first = run_started(ids.encode("run", run_id), None) if after is None else None
    return EventStream(frames(watched, first))


@runs.post("/{run_id}:cancel")
async def cancel(actor: ActorDep, platform: PlatformDep, run_id: RunPath, _body: Act | None = None) -> RunOut:
    """Cancel a run; what it has done so far stays in the conversation."""
    await service.cancel(platform, actor, run_id)
    return await _shown(platform, actor, run_id)


@runs.post("/{run_id}:resume", responses={202: {"model": RunOut, "description": "The run goes on."}})
async def resume(
    *, actor: ActorDep, platform: PlatformDep, run_id: RunPath, body: Decision, response: Response, wait: Wait = 0
) -> RunOut:
    """Decide on what a waiting run asks for, and let it go on."""
    live = await service.decide(platform, actor, run_id, approve=body.decision == "approve")
    if await ended(live.wait(), wait) is None:
        response.status_code = 202
        response.headers["Location"] = f"/api/v1/runs/{ids.encode('run', run_id)}"
    return await _shown(platform, actor, run_id)


async def _shown(platform: Platform, actor: Actor, run_id: UUID) -> RunOut:
    async with platform.database.read(actor.organization_id) as session:
        return RunOut(**run_out(await service.get_run(session, actor, run_id)))
