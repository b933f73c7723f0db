"""What runs pin: written once, and large ones beside everything else."""

import asyncio
import threading

import pytest

from agent_factory.runtime.queue.queue import Queue
from agent_factory.runtime.queue.snapshots import Pinned
from agent_factory.security.auth import Actor
from tests.runtime.queue.parts import begin, flow, pure


@pytest.fixture
def writers(monkeypatch: pytest.MonkeyPatch) -> list[threading.Thread]:
    """The threads in which definitions are written."""
    seen: list[threading.Thread] = []
    write = Pinned.write

    def watched(self: Pinned) -> tuple[str, str]:
        seen.append(threading.current_thread())
        return write(self)

    monkeypatch.setattr(Pinned, "write", watched)
    return seen


async def test_a_large_definition_is_written_once_and_in_a_thread_of_its_own(
    queue: Queue, actor: Actor, writers: list[threading.Thread]
) -> None:
    """Nobody else waits for its third of a second, and of many who start it at once only the first."""
    large = flow(*(pure(f"t{i}", i, depends_on=[]) for i in range(1000)))
    await asyncio.gather(*(begin(queue, actor.organization_id, large) for _ in range(5)))
    await begin(queue, actor.organization_id, large)
    assert len(writers) == 1
    assert writers[0] is not threading.main_thread()


async def test_a_small_definition_is_written_once_and_at_once(
    queue: Queue, actor: Actor, writers: list[threading.Thread]
) -> None:
    small = flow(pure("a", 1))
    for _ in range(3):
        await begin(queue, actor.organization_id, small)
    assert writers == [threading.main_thread()]


async def test_equal_tasks_with_other_agents_are_another_definition(queue: Queue) -> None:
    one = flow(pure("a", 1))
    first = await queue.snapshots.written(Pinned(one))
    again = await queue.snapshots.written(Pinned(one, flows={"other": flow(pure("b", 2))}))
    assert first != again
