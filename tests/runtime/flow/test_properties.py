"""Random workflows: the interpreter against a plain one, against interruption at every row, and against forks."""

import asyncio
import os
import random
from typing import Any

import msgspec
import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st

from agent_factory.core.journal import Entry, MemoryJournal
from agent_factory.core.workflow import Flow, flow_of
from agent_factory.kit.errors import NotFound, Unavailable
from agent_factory.runtime.flow.context import TaskCall
from agent_factory.runtime.flow.forking import downstream
from agent_factory.runtime.flow.outcome import Completed, Failed, Outcome
from tests.runtime.flow.parts import Broken, World
from tests.runtime.flow.reference import Maker, Reference, act, every, settled

EXAMPLES = int(os.environ.get("AF_FUZZ_EXAMPLES", "300"))  # noqa: TID251 - a test's own switch, no setting of the product
seeds = st.integers(0, 2**32)
inputs = st.integers(0, 5)


class Actors(World):
    """A world whose only tool marks what it is given, and yields to others now and then."""

    def __init__(self, seed: int, salt: dict[str, str] | None = None) -> None:
        super().__init__()
        self.salt = salt or {}
        self.random = random.Random(seed)  # noqa: S311 - test data

    async def leaf(self, call: TaskCall) -> Any:
        self.called.append(call.path)
        for _ in range(self.random.randint(0, 3)):
            await asyncio.sleep(0)
        try:
            return act(call.node.task.id, call.config.model_dump()["arguments"], self.salt)
        except ValueError as error:
            raise Broken(str(error)) from None

    async def result(self, flow: Flow, document: Any) -> tuple[str, Any]:
        end = await self.run(flow, document)
        if isinstance(end, Failed):
            return "failed", None
        assert isinstance(end, Completed)
        return "completed", settled(await self.value(end.output))


class Interrupted(MemoryJournal):
    """A journal that is away from a number of rows on; the last of them is lost or kept."""

    def __init__(self, entries: dict[str, Entry], rows: int, *, keep: bool) -> None:
        super().__init__()
        self.entries = dict(entries)
        self.left = rows
        self.keep = keep

    async def put(self, entry: Entry, *, durable: bool) -> None:
        assert entry.path not in self.entries, f"{entry.path} was recorded twice"
        self.left -= 1
        if self.left >= 0 or (self.left == -1 and self.keep):
            await super().put(entry, durable=durable)
        if self.left < 0:
            raise Unavailable("away")


@settings(max_examples=EXAMPLES, deadline=None)
@given(seeds, inputs)
async def test_the_interpreter_agrees_with_a_plain_recursive_one(seed: int, document: int) -> None:
    definition = Maker(seed).definition()
    note(msgspec.json.format(msgspec.json.encode(definition)).decode())
    reference = Reference()
    expected = reference.run(definition, document)
    world = Actors(seed)
    flow = flow_of(definition)
    assert await world.result(flow, document) == (expected[0], settled(expected[1]))
    assert len(world.called) == len(set(world.called))
    undone = [path.removesuffix("/undo") for path in world.recorded() if path.endswith("/undo")]
    assert all(world.outcome(path).status == "completed" for path in undone)
    end = await world.run(flow, document)
    if isinstance(end, Completed):
        assert set(end.labels) <= set(definition["terminals"])


@settings(max_examples=max(10, EXAMPLES // 5), deadline=None)
@given(seeds, inputs, st.booleans())
async def test_an_interrupted_run_goes_on_from_any_row_to_the_same_end(seed: int, document: int, keep: bool) -> None:
    """No recorded task is called again, and none is recorded twice."""
    definition = Maker(seed, size=4, depth=2).definition()
    note(msgspec.json.format(msgspec.json.encode(definition)).decode())
    flow = flow_of(definition)
    whole = Actors(seed)
    expected = await whole.result(flow, document)
    for rows in range(min(len(whole.recorded()), 40)):
        world = Actors(seed)
        world.journal = first = Interrupted({}, rows, keep=keep)
        try:
            # A failure may end the run before the row of a task beside it is lost.
            assert await world.result(flow, document) == expected
            assert expected[0] == "failed"
        except Unavailable:
            pass
        world.called.clear()
        world.journal = Interrupted(first.entries, 10**9, keep=True)
        assert await world.result(flow, document) == expected
        assert not set(world.called) & first.entries.keys()


@settings(max_examples=max(10, EXAMPLES // 10), deadline=None)
@given(seeds, inputs)
async def test_a_run_that_is_interrupted_again_and_again_gets_to_the_same_end(seed: int, document: int) -> None:
    definition = Maker(seed, size=4, depth=2).definition()
    flow = flow_of(definition)
    whole = Actors(seed)
    expected = await whole.result(flow, document)
    world = Actors(seed)
    entries: dict[str, Entry] = {}
    for _ in range(len(whole.recorded()) * 3 + 10):
        world.journal = journal = Interrupted(entries, 1, keep=False)
        try:
            found = await world.result(flow, document)
        except Unavailable:
            entries = journal.entries
            continue
        assert found == expected
        return
    pytest.fail("the run never ended")


@settings(max_examples=EXAMPLES, deadline=None)
@given(seeds, inputs, st.randoms(use_true_random=False))
async def test_a_fork_gives_what_a_fresh_run_gives_and_does_nothing_that_is_not_downstream(
    seed: int, document: int, choice: random.Random
) -> None:
    definition = Maker(seed).definition()
    note(msgspec.json.format(msgspec.json.encode(definition)).decode())
    flow = flow_of(definition)
    chosen = choice.choice(every(definition["tasks"]))["id"]
    note(chosen)
    original = Actors(seed)
    await original.run(flow, document)
    affected = downstream(flow, chosen)
    assert isinstance(original.journal, MemoryJournal)
    kept = {path: entry for path, entry in original.journal.entries.items() if not affected(path)}
    salt = {chosen: "edited"}
    fork = Actors(seed, salt)
    fork.journal = journal = MemoryJournal()
    journal.entries = dict(kept)
    forked = await fork.result(flow, document)
    fresh = Actors(seed, salt)
    assert forked == await fresh.result(flow, document)
    assert not set(fork.called) & kept.keys()
    if forked[0] == "completed":
        assert isinstance(fresh.journal, MemoryJournal)
        assert outputs(journal.entries) == outputs(fresh.journal.entries)


def outputs(entries: dict[str, Entry]) -> dict[str, Any]:
    """Give what every row says, but for rows of tasks that a failure beside them may have stopped in time or not."""
    found = {path: msgspec.json.decode(entry.output, type=Outcome) for path, entry in entries.items()}
    if any(o.status == "failed" for o in found.values()):
        return {}
    return {path: settled(o.output) for path, o in found.items()}


def test_a_fork_from_a_task_that_is_not_there_is_refused() -> None:
    flow = flow_of(Maker(1).definition())
    with pytest.raises(NotFound, match="nothere"):
        downstream(flow, "nothere")


@pytest.mark.parametrize(
    ("chosen", "kept", "dropped"),
    [
        ("a", ["z"], ["a", "a#1", "a#1/pause", "m", "m[0]", "m[0]/x", "t", "t/p/one/q", "t/q/undo"]),
        ("x", ["a", "z"], ["m", "m[0]", "m[1]/x", "m[1]/y", "m#1", "m#2[0]/x", "t/l[0]/r"]),
        ("y", ["a", "m[0]/x", "m[7]/x/model/0"], ["m", "m[0]", "m[0]/y", "m#2[0]/x", "m#1/timeout"]),
        (
            "r",
            ["m", "t/p", "t/p/one/q", "t/l[0]/q2"],
            ["t", "t/l", "t/l[0]/r", "t/l[1]/q2", "t/catch/c", "t/q/undo", "t/finally/f"],
        ),
        ("q", ["t/p/two/s"], ["t/p", "t/p/one/q", "t/l[0]/q2", "t/p/two/s/undo"]),
        ("c", ["t/p/one/q", "t/q/undo", "t/l[1]/r"], ["t", "t/catch/c", "t/finally/f"]),
        ("f", ["t/p/one/q", "t/q/undo", "t/catch/c"], ["t", "t/finally/f"]),
    ],
)
def test_what_a_fork_keeps(chosen: str, kept: list[str], dropped: list[str]) -> None:
    def tool(task_id: str, **fields: Any) -> dict[str, Any]:
        return {"id": task_id, "type": "tool", "config": {"tool": "act"}, **fields}

    branches = {"one": [tool("q")], "two": [tool("s", compensate={"type": "tool", "config": {"tool": "act"}})]}
    tried = [
        {"id": "p", "type": "parallel", "config": {"branches": branches}, "next": ["l"]},
        {"id": "l", "type": "loop", "config": {"max_iterations": 3, "tasks": [tool("q2", next=["r"]), tool("r")]}},
    ]
    tasks = [
        tool("a", next=["m"]),
        {
            "id": "m",
            "type": "map",
            "config": {"items": [1], "tasks": [tool("x", next=["y"]), tool("y")]},
            "next": ["t"],
        },
        {"id": "t", "type": "try", "config": {"tasks": tried, "catch": [tool("c")], "finally": [tool("f")]}},
        tool("z", depends_on=[]),
    ]
    affected = downstream(flow_of({"name": "x", "tasks": tasks}), chosen)
    assert [path for path in kept if affected(path)] == []
    assert [path for path in dropped if not affected(path)] == []
