"""What comes for a run while other parts of it are at work: it goes on at once, and does nothing twice (S97)."""

from typing import Any

import pytest

from agent_factory.kit.ids import uuid7
from agent_factory.runtime.queue.fires import Fires
from agent_factory.runtime.queue.queue import Queue
from agent_factory.runtime.queue.waits import Decision
from agent_factory.security.auth import Actor
from tests.runtime.queue.conftest import Work
from tests.runtime.queue.parts import Effects, act, becomes, begin, drained, ended, flow, pure, until

YES = Decision(approved=True, by="usr_1")
OPEN = "select count(*) < {} from run_waits where resolved_at is null"

ASKING: list[dict[str, Any]] = [
    act("before", next=["ask"]),
    {"id": "ask", "type": "approval", "config": {"title": "Send it?"}, "next": ["send"]},
    act("send"),
]
SLOW = act("slow", depends_on=[])


def holder(kind: str, **config: Any) -> list[dict[str, Any]]:
    """Make a container with the question and the slow task in it, or with the slow one beside it."""
    return [{"id": "box", "type": kind, "config": config}]


SHAPES: dict[str, tuple[list[dict[str, Any]], str]] = {
    "a level": ([*ASKING, SLOW], "ask/approval"),
    "a branch of a parallel": (
        holder("parallel", branches={"one": ASKING, "two": [act("slow")]}),
        "box/one/ask/approval",
    ),
    "an item of a map": (
        holder(
            "map",
            items=[1, 2],
            tasks=[
                {
                    "id": "which",
                    "type": "conditional",
                    "config": {"conditions": [{"if": "index == 0", "then": "before"}], "default": "slow"},
                },
                *ASKING,
                act("slow"),
            ],
        ),
        "box[0]/ask/approval",
    ),
    "a loop beside": ([*holder("loop", max_iterations=1, tasks=ASKING), SLOW], "box[0]/ask/approval"),
    "a try beside": ([*holder("try", tasks=ASKING), SLOW], "box/ask/approval"),
    "a map in a parallel beside": (
        [
            *holder(
                "parallel", branches={"one": [{"id": "m", "type": "map", "config": {"items": [1], "tasks": ASKING}}]}
            ),
            SLOW,
        ],
        "box/one/m[0]/ask/approval",
    ),
}


@pytest.mark.parametrize("shape", SHAPES)
async def test_a_part_that_waits_goes_on_at_once_while_another_is_at_work(
    queue: Queue, work: Work, actor: Actor, effects: Effects, shape: str
) -> None:
    tasks, path = SHAPES[shape]
    held = effects.hold("slow")
    started = await begin(queue, actor.organization_id, flow(*tasks))
    await work()
    await effects.entered["slow"].wait()
    await drained(queue.pool, OPEN.format(1))
    await queue.decide(actor.organization_id, started.id, path, YES)
    await becomes(lambda: effects.done["send"] == 1)
    held.set()
    assert (await ended(queue, actor.organization_id, started.id)).status == "completed"
    assert effects.done == {"before": 1, "send": 1, "slow": 1}
    assert await queue.pool.fetchval("select epoch from runs") == 1, "all in one activation"
    assert await queue.pool.fetchval("select count(*) from run_waits") == 0


async def test_every_question_of_a_map_is_asked_and_each_answer_is_taken_at_once(
    queue: Queue, work: Work, actor: Actor, effects: Effects
) -> None:
    """Items that wait take no place from those that do not."""
    held = effects.hold("slow")
    tasks = [{"id": "ask", "type": "approval", "config": {"title": "?"}, "next": ["send"]}, act("send")]
    each = {"id": "each", "type": "map", "config": {"items": list(range(6)), "concurrency": 2, "tasks": tasks}}
    started = await begin(queue, actor.organization_id, flow(each, SLOW))
    await work()
    await effects.entered["slow"].wait()
    await drained(queue.pool, OPEN.format(6))
    for number, index in enumerate((4, 1, 5)):
        await queue.decide(actor.organization_id, started.id, f"each[{index}]/ask/approval", YES)
        await becomes(lambda wanted=number + 1: effects.done["send"] == wanted)
    held.set()
    await until(queue, actor.organization_id, started.id, "waiting")
    for index in (0, 2, 3):
        await queue.decide(actor.organization_id, started.id, f"each[{index}]/ask/approval", YES)
    run = await ended(queue, actor.organization_id, started.id)
    assert (run.status, effects.done) == ("completed", {"send": 6, "slow": 1})


async def test_what_comes_for_one_part_leaves_the_others_as_they_are(
    queue: Queue, work: Work, actor: Actor, effects: Effects
) -> None:
    """Each level holds a question and has a task at work; one of the questions is answered."""
    slow = [effects.hold(name) for name in ("slow", "slower")]
    other = {"id": "other", "type": "approval", "config": {"title": "And?"}, "next": ["then"]}
    branch = [other, act("then"), act("slower", depends_on=[])]
    box = holder("parallel", branches={"one": branch})
    started = await begin(queue, actor.organization_id, flow(*ASKING, SLOW, {**box[0], "depends_on": []}))
    await work()
    for name in ("slow", "slower"):
        await effects.entered[name].wait()
    await drained(queue.pool, OPEN.format(2))
    await queue.decide(actor.organization_id, started.id, "ask/approval", YES)
    await becomes(lambda: effects.done["send"] == 1)
    await queue.decide(actor.organization_id, started.id, "box/one/other/approval", YES)
    await becomes(lambda: effects.done["then"] == 1)
    for held in slow:
        held.set()
    assert (await ended(queue, actor.organization_id, started.id)).status == "completed"
    assert effects.done == {"before": 1, "send": 1, "slow": 1, "slower": 1, "then": 1}


async def test_what_went_on_in_the_middle_is_undone_once(
    queue: Queue, work: Work, actor: Actor, effects: Effects
) -> None:
    """The tasks before the question are walked twice, and noted for their compensation once."""
    effects.hold("slow")
    effects.failing.add("send")
    undoing = act("before", next=["ask"], compensate={"type": "http", "config": {"url": "/back"}})
    inner = holder("parallel", branches={"one": [undoing, *ASKING[1:]], "two": [act("slow")]})
    started = await begin(queue, actor.organization_id, flow({"id": "t", "type": "try", "config": {"tasks": inner}}))
    await work()
    await effects.entered["slow"].wait()
    await drained(queue.pool, OPEN.format(1))
    await queue.decide(actor.organization_id, started.id, "t/box/one/ask/approval", YES)
    assert (await ended(queue, actor.organization_id, started.id)).status == "failed"
    assert effects.done == {"before": 1, "send": 1, "slow": 1, "back": 1}


async def test_a_timer_that_is_due_while_another_part_is_at_work_is_not_kept_waiting(
    queue: Queue, work: Work, actor: Actor, effects: Effects
) -> None:
    held = effects.hold("slow")
    pause = {"id": "pause", "type": "wait", "config": {"seconds": 1.2}, "next": ["send"]}
    started = await begin(queue, actor.organization_id, flow(pause, act("send"), SLOW))
    await work()
    await becomes(lambda: effects.done["send"] == 1)
    held.set()
    assert (await ended(queue, actor.organization_id, started.id)).status == "completed"


async def test_what_comes_while_the_listening_connection_is_away_is_found_by_looking(
    queue: Queue, work: Work, actor: Actor, effects: Effects
) -> None:
    held = effects.hold("slow")
    started = await begin(queue, actor.organization_id, flow(*ASKING, SLOW))
    worker = await work()
    await effects.entered["slow"].wait()
    await drained(queue.pool, OPEN.format(1))
    await worker._database.unlisten("af_fires", worker._came)
    try:
        await queue.decide(actor.organization_id, started.id, "ask/approval", YES)
        await becomes(lambda: effects.done["send"] == 1)
    finally:
        await worker._database.listen("af_fires", worker._came)
    held.set()
    assert (await ended(queue, actor.organization_id, started.id)).status == "completed"


async def test_an_answer_that_comes_as_a_run_lies_down_wakes_it_again(
    queue: Queue, work: Work, actor: Actor, effects: Effects, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is noted after the interpreter has decided to wait and before that is committed."""
    close = Fires.close

    async def late(self: Fires, waits: Any) -> int:
        if not effects.done["send"]:
            await queue.decide(actor.organization_id, started.id, "ask/approval", YES)
            await self.look()
        return await close(self, waits)

    monkeypatch.setattr(Fires, "close", late)
    own = uuid7()
    started = await begin(queue, actor.organization_id, flow(*ASKING, pure("x", 1, depends_on=[])), id=own)
    await work()
    assert (await ended(queue, actor.organization_id, own)).status == "completed"
    assert effects.done == {"before": 1, "send": 1}
