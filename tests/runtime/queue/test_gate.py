"""Task places are shared by organisations, whoever has more to do."""

import asyncio
from uuid import UUID

from agent_factory.kit.ids import uuid7
from agent_factory.runtime.queue.gate import Gate
from tests.runtime.queue.parts import becomes


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


class Hall:
    """A gate, and who is inside."""

    def __init__(self, places: int) -> None:
        self.gate = Gate(places)
        self.inside: list[str] = []
        self.order: list[str] = []
        self._out: dict[str, asyncio.Event] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}

    def come(self, name: str, organization: UUID, priority: int = 0) -> None:
        self._out[name] = asyncio.Event()
        self.tasks[name] = asyncio.create_task(self._stay(name, organization, priority))

    async def _stay(self, name: str, organization: UUID, priority: int) -> None:
        async with self.gate.place(organization, priority):
            self.inside.append(name)
            self.order.append(name)
            try:
                await self._out[name].wait()
            finally:
                self.inside.remove(name)

    async def go(self, name: str) -> None:
        self._out[name].set()
        await self.tasks[name]
        await settle()


async def test_whoever_comes_late_waits_for_one_task_of_the_crowd() -> None:
    crowd, other = uuid7(), uuid7()
    hall = Hall(2)
    for index in range(50):
        hall.come(f"a{index}", crowd)
    await settle()
    hall.come("b0", other)
    hall.come("b1", other)
    await settle()
    assert hall.inside == ["a0", "a1"]
    await hall.go("a0")
    assert hall.inside == ["a1", "a2"]  # it had been called before the other came
    await hall.go("a1")
    assert hall.inside == ["a2", "b0"]
    await hall.go("a2")
    assert hall.inside == ["b0", "a3"]
    await hall.go("b0")
    assert hall.inside == ["a3", "b1"]


async def test_places_are_never_overbooked_nor_lost_whoever_is_cancelled() -> None:
    hall = Hall(3)
    organizations = [uuid7() for _ in range(4)]
    for index in range(40):
        hall.come(f"t{index}", organizations[index % 4])
    await settle()
    for index in range(0, 40, 3):
        hall.tasks[f"t{index}"].cancel()
        await settle()
        assert len(hall.inside) == 3
    for index in range(40):
        await asyncio.gather(hall.go(f"t{index}"), return_exceptions=True)
    assert hall.inside == []
    hall.come("last", organizations[0])
    await settle()
    assert hall.inside == ["last"]
    await hall.go("last")


async def test_a_place_given_to_somebody_who_leaves_at_that_moment_goes_to_the_next() -> None:
    own = uuid7()
    hall = Hall(1)
    for name in ("a", "b", "c"):
        hall.come(name, own)
    await settle()
    hall._out["a"].set()
    await becomes(lambda: "a" not in hall.inside)
    hall.tasks["b"].cancel()
    await settle()
    assert hall.inside == ["c"]
    await hall.go("c")


async def test_inside_an_organisation_what_matters_more_goes_first() -> None:
    own = uuid7()
    hall = Hall(1)
    hall.come("first", own)
    await settle()
    for name, priority in (("low", -1), ("usual", 0), ("high", 5), ("usual too", 0)):
        hall.come(name, own, priority)
    await settle()
    for name in ("first", "high", "usual", "usual too", "low"):
        assert hall.inside == [name]
        await hall.go(name)
