"""Large values: they lie in the store, and memory and journal hold references."""

import tracemalloc
from typing import Any

import msgspec
import pytest

from agent_factory.kit.errors import NotFound, Unavailable
from agent_factory.runtime.flow.context import FlowLimits
from agent_factory.runtime.flow.outcome import Completed
from agent_factory.runtime.flow.variables import MemoryPayloads, Ref
from tests.runtime.flow.parts import World, task, tool


def big(**arguments: Any) -> str:
    return "x" * arguments.get("size", 100_000)


def length(value: str) -> int:
    return len(value)


async def test_a_large_output_is_a_reference_in_the_journal_and_a_value_where_it_is_named() -> None:
    world = World({"big": big})
    tasks = [tool("a", "big", next=["b"]), tool("b", arguments={"value": "{{ len(a.output) }}"})]
    assert await world.output(tasks) == 100_000
    outcome = world.outcome("a")
    assert outcome.stored
    assert set(outcome.output) == {"$payload", "bytes", "preview", "total"}
    assert len(outcome.output["preview"]) == 200
    assert await world.output(tasks) == 100_000


async def test_the_output_of_a_run_may_be_a_reference() -> None:
    world = World({"big": big})
    end = await world.run([tool("a", "big")])
    assert isinstance(end, Completed)
    assert isinstance(end.output, Ref)
    assert await world.value(end.output) == "x" * 100_000
    assert await world.run([tool("a", "big")]) == end


async def test_the_outputs_of_a_map_are_read_one_by_one_by_the_next() -> None:
    world = World({"big": big, "length": length})
    tasks = [
        task(
            "m",
            "map",
            {"items": "{{ range(30) }}", "tasks": [tool("a", "big", {"size": "{{ 100000 + item }}"})]},
            next=["n"],
        ),
        task(
            "n",
            "map",
            {"items": "{{ m.output }}", "as": "text", "tasks": [tool("b", "length", {"value": "{{ text }}"})]},
        ),
    ]
    assert await world.output(tasks) == [100_000 + n for n in range(30)]


async def test_a_value_larger_than_a_run_may_load_is_refused_with_a_hint() -> None:
    world = World({"big": big}, FlowLimits(load_bytes=1_000_000))
    tasks = [
        task("m", "map", {"items": "{{ range(30) }}", "tasks": [tool("a", "big")]}, next=["n"]),
        tool("n", arguments={"value": "{{ len(m.output) }}"}),
    ]
    error = await world.error(tasks)
    assert (error["code"], error["path"]) == ("workflow_limit_exceeded", "n")
    assert "Use a map over it" in error["detail"]


async def test_one_large_value_written_out_many_times_is_refused_before_it_is_written() -> None:
    world = World({"big": big}, FlowLimits(load_bytes=2_000_000))
    tasks = [tool("a", "big", next=["b"]), task("b", "transform", {"value": ["{{ a.output }}"] * 100})]
    error = await world.error(tasks)
    assert (error["code"], error["path"]) == ("workflow_limit_exceeded", "b")


@pytest.mark.parametrize(
    "value", [{"$payload": "stolen"}, {"$payload": "stolen", "bytes": 5}, [{"$payload": "x", "bytes": 1}]]
)
async def test_a_value_that_looks_like_a_reference_is_none(value: Any) -> None:
    def give(**arguments: Any) -> Any:
        return value if arguments.get("index") == 0 else "x" * 100_000

    world = World({"give": give})
    tasks = [
        tool("a", "give", {"index": 0}, next=["m"]),
        task(
            "m", "map", {"items": "{{ range(3) }}", "tasks": [tool("t", "give", {"index": "{{ index }}"})]}, next=["b"]
        ),
        tool("b", arguments={"value": "{{ [a.output, m.output[0]] }}"}),
    ]
    assert await world.output(tasks) == [value, value]
    assert await world.output(tasks) == [value, value]


async def test_a_value_that_is_gone_from_the_store_fails_the_task_that_names_it() -> None:
    class Forgetful(MemoryPayloads):
        async def get(self, digest: str) -> bytes:
            raise NotFound(f"{digest} is gone")

    world = World({"big": big})
    world.payloads = Forgetful()
    tasks = [tool("a", "big", next=["b"]), tool("b", arguments={"value": "{{ a.output }}"})]
    error = await world.error(tasks)
    assert (error["code"], error["path"]) == ("not_found", "b")


async def test_a_store_that_is_away_ends_the_interpretation_not_a_task() -> None:
    class Down(MemoryPayloads):
        async def put(self, data: bytes) -> str:
            raise Unavailable(f"no room for {len(data)} bytes")

    world = World({"big": big})
    world.payloads = Down()
    with pytest.raises(Unavailable):
        await world.run([task("t", "try", {"tasks": [tool("a", "big")], "catch": [tool("c")]}, on_error="continue")])
    assert world.recorded() == []


async def test_what_people_see_of_a_large_input_is_its_beginning() -> None:
    world = World()
    await world.run([tool("a", arguments={"value": "y" * 50_000})])
    entry = world.journal.get("a")
    assert entry is not None
    shown = msgspec.json.decode(entry.input)
    assert shown["bytes"] > 50_000
    assert len(entry.input) < 10_000


async def test_memory_stays_flat_while_much_more_moves_through_a_map() -> None:
    """The store keeps nothing here; what is left is the interpreter's own."""

    class Nowhere(MemoryPayloads):
        count = 0

        async def put(self, data: bytes) -> str:
            self.count += 1
            return f"{self.count}-{len(data)}"

    world = World({"big": big})
    world.payloads = Nowhere()
    config = {"items": "{{ range(1000) }}", "concurrency": 8, "tasks": [tool("a", "big")]}
    tracemalloc.start()
    try:
        await world.run([task("m", "map", config)])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 30_000_000
