"""Events as tasks: once for each task, whatever restarts."""

from typing import Any

import pytest

from agent_factory.kit.errors import Problem, Unavailable
from tests.runtime.leaves.parts import Crash, DyingJournal, Flows, task

EMIT = task("tell", "emit", {"type": "order.paid", "data": {"n": "{{ input }}"}})


class Door:
    """Publishes once for each key."""

    def __init__(self) -> None:
        self.asked = 0
        self.published: dict[str, tuple[str, Any]] = {}
        self.away: Problem | None = None

    async def emit(self, event_type: str, data: Any, key: str) -> str:
        self.asked += 1
        if self.away is not None:
            raise self.away
        self.published.setdefault(key, (event_type, data))
        return f"evt_{list(self.published).index(key)}"


@pytest.fixture
def door(flows: Flows) -> Door:
    flows.door = made = Door()
    return made


async def test_an_event_is_published_with_its_data_under_the_key_of_the_task(flows: Flows, door: Door) -> None:
    assert await flows.output(EMIT, document=5) == {"id": "evt_0", "type": "order.paid"}
    assert door.published == {f"{flows.run_id}/tell": ("order.paid", {"n": 5})}


async def test_a_recorded_event_is_not_published_again(flows: Flows, door: Door) -> None:
    await flows.output(EMIT, document=5)
    await flows.output(EMIT, document=5)
    assert door.asked == 1


async def test_a_crash_before_the_record_publishes_one_event(flows: Flows, door: Door) -> None:
    flows.journal = DyingJournal("tell")
    with pytest.raises(Crash):
        await flows.run(EMIT)
    assert (await flows.output(EMIT))["id"] == "evt_0"
    assert (door.asked, len(door.published)) == (2, 1)


async def test_a_door_that_is_away_interrupts_the_run_and_fails_no_task(flows: Flows, door: Door) -> None:
    door.away = Unavailable("The database is away.")
    with pytest.raises(Unavailable):
        await flows.run(EMIT)
    assert flows.recorded() == []
    door.away = None
    assert (await flows.output(EMIT))["type"] == "order.paid"


async def test_a_process_without_a_door_says_so(flows: Flows) -> None:
    error = await flows.error(EMIT)
    assert error["code"] == "task_not_possible"
    assert "server" in error["detail"]
