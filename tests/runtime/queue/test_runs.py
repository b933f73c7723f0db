"""Runs from their start to their end (S83, S96)."""

from agent_factory.database.session import Database
from agent_factory.runtime.queue.queue import Queue
from agent_factory.security.auth import Actor
from tests.runtime.queue.conftest import Work
from tests.runtime.queue.parts import Effects, act, begin, ended, flow, pure


async def test_a_run_is_queued_worked_on_and_completed(
    queue: Queue, work: Work, actor: Actor, effects: Effects, own_database: Database
) -> None:
    what = flow(
        pure("greet", "Hello {{ input.name }}", next=["send"]), act("send"), output={"said": "{{ greet.output }}"}
    )
    started = await begin(queue, actor.organization_id, what, {"name": "Ada"})
    pending = await queue.run(actor.organization_id, started.id)
    assert (pending.status, pending.started_at) == ("pending", None)
    await work()
    run = await ended(queue, actor.organization_id, started.id)
    assert (run.status, run.result()) == ("completed", {"said": "Hello Ada"})
    assert run.started_at is not None
    assert run.completed_at is not None
    assert run.completed_at >= run.started_at
    assert effects.done == {"send": 1}
