"""What watchers of a run are told of its questions, whenever they come (S97)."""

import pytest

from agent_factory.core.event import ApprovalNeeded, RunWaiting, TaskFinished, TurnCompleted, TurnEvent
from agent_factory.runtime.hub import EventId
from agent_factory.runtime.queue.feed import Feed
from agent_factory.runtime.queue.queue import Queue
from agent_factory.runtime.queue.waits import Decision
from agent_factory.runtime.queue.watching import Told
from agent_factory.security.auth import Actor
from tests.runtime.queue.conftest import Work
from tests.runtime.queue.parts import Effects, act, begin, drained, flow, pure, until

ASK = {"id": "ask", "type": "approval", "config": {"title": "Send it?", "details": {"amount": 5}}}
ASKED = ApprovalNeeded(path="ask/approval", reason="Send it?", name="ask")
OPEN = "select count(*) = 0 from run_waits where resolved_at is null"

here_and_elsewhere = pytest.mark.parametrize(
    "here", [True, False], ids=["in the worker's process", "from another process"]
)


def kinds(told: list[tuple[EventId, TurnEvent]]) -> list[type[TurnEvent]]:
    return [type(event) for _, event in told]


@here_and_elsewhere
async def test_a_question_that_is_asked_while_somebody_watches_is_told_once(
    queue: Queue, work: Work, actor: Actor, *, here: bool
) -> None:
    started = await begin(queue, actor.organization_id, flow(ASK))
    watched = await queue.watch(actor.organization_id, started.id)
    await work(queue=queue if here else None)
    told: list[tuple[EventId, TurnEvent]] = []
    async for pair in watched:
        told.append(pair)
        if isinstance(pair[1], RunWaiting):
            await queue.decide(actor.organization_id, started.id, ASKED.path, Decision(approved=True))
    assert [event for _, event in told if isinstance(event, ApprovalNeeded)] == [ASKED]
    assert kinds(told)[-2:] == [TaskFinished, TurnCompleted]
    assert [at for at, _ in told] == sorted({at for at, _ in told})


@here_and_elsewhere
async def test_who_comes_while_a_run_waits_is_told_what_it_asks(
    queue: Queue, work: Work, actor: Actor, *, here: bool
) -> None:
    started = await begin(queue, actor.organization_id, flow(act("first", next=["ask"]), ASK))
    await work(queue=queue if here else None)
    await until(queue, actor.organization_id, started.id, "waiting")
    seen: EventId | None = None
    for first in (TaskFinished, ApprovalNeeded):  # the second time with what he saw last the time before
        watched = await queue.watch(actor.organization_id, started.id, seen)
        told = [pair async for pair in _to_the_wait(watched)]
        assert kinds(told)[0] is first
        assert told[-2][1] == ASKED
        seen = told[0][0]


@here_and_elsewhere
async def test_who_comes_while_other_branches_run_is_told_what_was_asked_before(
    queue: Queue, work: Work, actor: Actor, effects: Effects, *, here: bool
) -> None:
    """Steps that were recorded since lie between the question and the watcher."""
    held = effects.hold("slow")
    branch = [pure("a", 1, next=["b"], depends_on=[]), act("b", next=["slow"]), act("slow")]
    started = await begin(queue, actor.organization_id, flow(ASK, *branch))
    await work(queue=queue if here else None)
    await effects.entered["slow"].wait()
    await drained(queue.pool, OPEN)
    recorded = EventId(await queue.pool.fetchval("select max(ord) + 1 from run_steps"), 0)
    for seen in (None, recorded):
        watched = await queue.watch(actor.organization_id, started.id, seen)
        async for _, event in watched:
            if isinstance(event, ApprovalNeeded):
                assert event == ASKED
                break
        await watched.aclose()
    held.set()


async def _to_the_wait(watched: Told) -> Told:
    async for pair in watched:
        yield pair
        if isinstance(pair[1], RunWaiting):
            await watched.aclose()
            return


async def test_a_feed_gives_what_is_told_after_a_call_although_the_caller_knows_later_steps() -> None:
    """The rows may be ahead of what was told here."""
    feed = Feed(EventId(1, 0))
    feed.fact(2, TaskFinished("a", "a", "http", "completed"))
    events = feed.events(EventId(4, 0))
    feed.delta(ASKED)
    feed.close()
    assert [event async for _, event in events] == [ASKED]
