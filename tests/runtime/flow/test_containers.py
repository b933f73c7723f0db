"""Tasks that hold tasks: parallel, map, loop, try and subworkflow (S86, S87)."""

from typing import Any

import pytest

from agent_factory.core.workflow import flow_of
from agent_factory.runtime.flow.context import FlowLimits
from agent_factory.runtime.flow.outcome import Completed
from tests.runtime.flow.parts import Broken, Gate, World, task, tool


class TestParallel:
    async def test_the_output_has_what_each_branch_gave_by_its_name(self) -> None:
        """S87."""
        branches = {
            "one": [
                tool("a", arguments={"value": 1}, next=["b"]),
                tool("b", arguments={"value": "{{ a.output + 1 }}"}),
            ],
            "two": [tool("c", arguments={"value": 3}), tool("d", arguments={"value": 4}, depends_on=[])],
        }
        world = World()
        assert await world.output([task("p", "parallel", {"branches": branches})]) == {
            "one": 2,
            "two": {"c": 3, "d": 4},
        }
        assert sorted(world.called) == ["p/one/a", "p/one/b", "p/two/c", "p/two/d"]

    async def test_a_branch_that_fails_stops_the_others_and_fails_the_task(self) -> None:
        gate = Gate()

        async def fail_later(**_: Any) -> None:
            await gate.entered.wait()
            raise Broken("no")

        world = World({"gate": gate.pass_, "later": fail_later})
        branches = {"slow": [tool("a", "gate")], "bad": [tool("b", "later")]}
        error = await world.error([task("p", "parallel", {"branches": branches})])
        assert (error["code"], error["path"], gate.cancelled) == ("broken", "p/bad/b", 1)


class TestMap:
    async def test_items_are_done_a_few_at_once_and_come_back_in_their_order(self) -> None:
        """S87."""
        gate = Gate(opens_at=4)
        world = World({"gate": gate.pass_})
        config = {
            "items": "{{ range(50) }}",
            "as": "n",
            "concurrency": 4,
            "tasks": [tool("t", "gate", {"value": "{{ n * 10 + index }}"})],
        }

        output = await world.output([task("m", "map", config)])
        assert output == [n * 11 for n in range(50)]
        assert gate.most == 4

    async def test_the_output_of_each_item_is_written_over_its_tasks(self) -> None:
        config = {
            "items": [1, 2],
            "tasks": [tool("t", arguments={"value": "{{ item }}"})],
            "output": {"got": "{{ t.output }}"},
        }
        assert await World().output([task("m", "map", config)]) == [{"got": 1}, {"got": 2}]

    async def test_no_items_are_no_work(self) -> None:
        world = World()
        assert await world.output([task("m", "map", {"items": [], "tasks": [tool("t")]})]) == []
        assert world.called == []

    async def test_what_is_no_list_is_refused(self) -> None:
        error = await World().error([task("m", "map", {"items": "{{ input }}", "tasks": [tool("t")]})], {"a": 1})
        assert (error["code"], error["path"]) == ("task_failed", "m")

    async def test_more_items_than_the_limit_are_refused_before_any_is_done(self) -> None:
        world = World(limits=FlowLimits(map_items=10))
        error = await world.error([task("m", "map", {"items": "{{ range(11) }}", "tasks": [tool("t")]})])
        assert error["code"] == "workflow_limit_exceeded"
        assert "at most 10" in error["detail"]
        assert world.called == []

    async def test_an_item_that_fails_fails_the_map_and_stops_the_rest(self) -> None:
        world = World()
        config = {"items": [1, 2, 3], "concurrency": 1, "tasks": [tool("t", "fail")]}
        error = await world.error([task("m", "map", config)])
        assert error["path"] == "m[0]/t"
        assert world.called == ["m[0]/t"]

    async def test_with_collect_an_item_that_fails_gives_its_error(self) -> None:
        def odd(value: int) -> int:
            if value % 2:
                raise Broken("odd")
            return value

        world = World({"odd": odd})
        config = {"items": [1, 2, 3], "on_item_error": "collect", "tasks": [tool("t", "odd", {"value": "{{ item }}"})]}
        output = await world.output([task("m", "map", config)])
        assert [o if isinstance(o, int) else o["error"]["path"] for o in output] == ["m[0]/t", 2, "m[2]/t"]
        assert await world.output([task("m", "map", config)]) == output

    async def test_maps_nest(self) -> None:
        inner = task(
            "inner",
            "map",
            {"items": "{{ row }}", "as": "cell", "tasks": [tool("t", arguments={"value": "{{ cell + index }}"})]},
        )
        config = {"items": [[1, 2], [3]], "as": "row", "tasks": [inner]}
        assert await World().output([task("outer", "map", config)]) == [[1, 3], [3]]


class TestLoop:
    async def test_it_goes_on_until_the_condition_holds(self) -> None:
        world = World()
        config = {
            "max_iterations": 100,
            "until": "t.output >= 3",
            "tasks": [tool("t", arguments={"value": "{{ iteration }}"})],
        }
        assert await world.output([task("l", "loop", config)]) == [0, 1, 2, 3]
        assert world.called == [f"l[{n}]/t" for n in range(4)]

    async def test_it_asks_before_the_first_iteration_whether_to_begin(self) -> None:
        config = {"max_iterations": 5, "while": "len(results) < input", "tasks": [tool("t", arguments={"value": "x"})]}
        assert await World().output([task("l", "loop", config)], 2) == ["x", "x"]
        assert await World().output([task("l", "loop", config)], 0) == []

    async def test_it_never_does_more_than_its_iterations(self) -> None:
        config = {"max_iterations": 3, "while": "true", "tasks": [tool("t")]}
        assert await World().output([task("l", "loop", config)]) == [None, None, None]

    async def test_an_iteration_sees_what_the_earlier_ones_gave(self) -> None:
        config = {"max_iterations": 4, "tasks": [tool("t", arguments={"value": "{{ sum(results) + 1 }}"})]}
        assert await World().output([task("l", "loop", config)]) == [1, 2, 4, 8]

    async def test_results_that_hold_themselves_come_to_an_end_with_a_clear_error(self) -> None:
        world = World(limits=FlowLimits(load_bytes=100_000, inline_bytes=1_000))
        config = {"max_iterations": 10_000, "tasks": [tool("t")], "output": "{{ [results, results] }}"}
        error = await world.error([task("l", "loop", config)])
        assert error["code"] == "workflow_limit_exceeded"


class TestTry:
    async def test_without_a_failure_it_gives_what_its_tasks_gave(self) -> None:
        """S86."""
        world = World()
        config = {"tasks": [tool("a", arguments={"value": 1})], "catch": [tool("c")], "finally": [tool("f")]}
        assert await world.output([task("t", "try", config)]) == 1
        assert world.called == ["t/a", "t/finally/f"]

    async def test_catch_sees_the_error_and_the_tasks_that_had_ended(self) -> None:
        """S86."""
        world = World()
        config = {
            "tasks": [tool("a", arguments={"value": 1}, next=["b"]), tool("b", "fail", {"why": "tired"})],
            "catch": [
                tool("c", arguments={"value": "{{ [error.code, error.detail, error.path, a.output, b.status] }}"})
            ],
            "finally": [tool("f", arguments={"value": "{{ error.code }}"})],
            "output": "{{ c.output }}",
        }
        output = await world.output([task("t", "try", config)])
        assert output == ["broken", "tired", "t/b", 1, "failed"]
        assert world.outcome("t/finally/f").output == "broken"
        assert world.called == ["t/a", "t/b", "t/catch/c", "t/finally/f"]

    async def test_finally_runs_when_nothing_catches_and_the_failure_goes_on(self) -> None:
        world = World()
        error = await world.error([task("t", "try", {"tasks": [tool("a", "fail")], "finally": [tool("f")]})])
        assert error["path"] == "t/a"
        assert world.called == ["t/a", "t/finally/f"]

    async def test_finally_runs_when_catch_fails(self) -> None:
        world = World()
        config = {"tasks": [tool("a", "fail")], "catch": [tool("c", "fail")], "finally": [tool("f")]}
        error = await world.error([task("t", "try", config)])
        assert error["path"] == "t/catch/c"
        assert world.called == ["t/a", "t/catch/c", "t/finally/f"]

    async def test_finally_runs_when_an_end_is_reached(self) -> None:
        world = World()
        config = {"tasks": [task("e", "end", {"output": 5})], "catch": [tool("c")], "finally": [tool("f")]}
        assert await world.output([task("t", "try", config)]) == 5
        assert world.called == ["t/finally/f"]

    async def test_completed_tasks_are_undone_last_first_before_catch(self) -> None:
        """S86."""
        world = World()
        undo = {"type": "tool", "config": {"tool": "echo", "arguments": {"value": "{{ [result, args.n] }}"}}}
        config = {
            "tasks": [
                tool("a", arguments={"value": "A"}, input={"n": 1}, compensate=undo, next=["b"]),
                tool("b", arguments={"value": "B"}, input={"n": "{{ 1 + 1 }}"}, compensate=undo, next=["c"]),
                tool("c", "fail", compensate=undo),
            ],
            "catch": [tool("caught")],
        }
        await world.output([task("t", "try", config)])
        assert world.called == ["t/a", "t/b", "t/c", "t/b/undo", "t/a/undo", "t/catch/caught"]
        assert world.outcome("t/b/undo").output == ["B", 2]
        assert world.outcome("t/a/undo").output == ["A", 1]
        assert world.keys[3] == "run_1/t/b/undo"

    async def test_tasks_inside_containers_are_undone_too(self) -> None:
        world = World()
        undo = {"type": "tool", "config": {"tool": "echo", "arguments": {"value": "{{ item }}"}}}
        config = {
            "tasks": [
                task(
                    "m", "map", {"items": [1, 2], "concurrency": 1, "tasks": [tool("a", compensate=undo)]}, next=["z"]
                ),
                tool("z", "fail"),
            ],
        }
        await world.error([task("t", "try", config)])
        assert world.called == ["t/m[0]/a", "t/m[1]/a", "t/z", "t/m[1]/a/undo", "t/m[0]/a/undo"]

    async def test_an_inner_try_that_ended_well_is_undone_by_the_outer_one(self) -> None:
        world = World()
        undo = {"type": "tool", "config": {"tool": "echo"}}
        inner = task("inner", "try", {"tasks": [tool("a", compensate=undo)]}, next=["z"])
        await world.error([task("outer", "try", {"tasks": [inner, tool("z", "fail")]})])
        assert world.called == ["outer/inner/a", "outer/z", "outer/inner/a/undo"]

    async def test_an_inner_try_that_failed_is_undone_once(self) -> None:
        world = World()
        undo = {"type": "tool", "config": {"tool": "echo"}}
        inner = {"tasks": [tool("a", compensate=undo, next=["b"]), tool("b", "fail")], "catch": [tool("c")]}
        outer = {"tasks": [task("inner", "try", inner, next=["z"]), tool("z", "fail")]}
        await world.error([task("outer", "try", outer)])
        assert world.called.count("outer/inner/a/undo") == 1

    async def test_what_cannot_be_undone_is_told_and_the_others_are_undone_all_the_same(self) -> None:
        world = World()
        good = {"type": "tool", "config": {"tool": "echo"}}
        bad = {"type": "tool", "config": {"tool": "fail"}}
        config = {
            "tasks": [
                tool("a", compensate=good, next=["b"]),
                tool("b", compensate=bad, next=["c"]),
                tool("c", "fail"),
            ],
            "catch": [tool("caught")],
            "finally": [tool("f")],
        }
        error = await world.error([task("t", "try", config)])
        assert (error["code"], error["path"]) == ("compensation_failed", "t")
        assert "t/b" in error["detail"]
        assert world.called[-3:] == ["t/b/undo", "t/a/undo", "t/finally/f"]

    async def test_on_error_continue_passes_over_a_failure(self) -> None:
        tasks = [
            tool("a", "fail", on_error="continue", next=["b"]),
            tool("b", arguments={"value": "{{ [a.status, a.output] }}"}),
        ]
        assert await World().output(tasks) == ["failed", None]

    async def test_on_error_goto_leads_to_another_task_and_leaves_the_usual_way_dead(self) -> None:
        tasks = [
            tool("a", "{use}", on_error={"goto": "rescue"}, next=["usual"]),
            tool("usual"),
            tool("rescue", arguments={"value": "{{ a.error.code }}"}),
        ]
        for use, called in (("echo", ["a", "usual"]), ("fail", ["a", "rescue"])):
            tasks[0]["config"]["tool"] = use
            world = World()
            await world.run(tasks)
            assert world.called == called


class TestSubworkflow:
    def flows(self, world: World, **definitions: list[dict[str, Any]]) -> None:
        world.flows = {
            name.replace("_v", "@"): flow_of({"name": name, "tasks": tasks}) for name, tasks in definitions.items()
        }

    async def test_it_runs_with_its_own_input_and_gives_its_output(self) -> None:
        world = World()
        self.flows(world, child=[tool("a", arguments={"value": "{{ [input.x, run.name] }}"})])
        tasks = [task("s", "subworkflow", {"workflow": "child", "input": {"x": "{{ input + 1 }}"}})]
        assert await world.output(tasks, 1) == [2, "child"]
        assert world.called == ["s/a"]

    async def test_a_version_that_was_pinned_is_the_one_that_runs(self) -> None:
        world = World()
        self.flows(
            world, child_v2=[tool("a", arguments={"value": "two"})], child=[tool("a", arguments={"value": "new"})]
        )
        assert await world.output([task("s", "subworkflow", {"workflow": "child", "version": 2})]) == "two"
        error = await World().error([task("s", "subworkflow", {"workflow": "child", "version": 3})])
        assert "child@3" in error["detail"]

    @pytest.mark.parametrize("through", ["parent", "child"])
    async def test_a_workflow_never_runs_inside_itself(self, through: str) -> None:
        world = World()
        self.flows(world, child=[task("again", "subworkflow", {"workflow": through})])
        definition = {"name": "parent", "tasks": [task("s", "subworkflow", {"workflow": "child"})]}
        world.flows["parent"] = flow_of(definition)
        error = await world.error(definition)
        assert error["code"] == "workflow_recursion"
        assert f"parent → child → {through}" in error["detail"]

    async def test_workflows_run_only_so_deep_in_each_other(self) -> None:
        world = World(limits=FlowLimits(depth=3))
        chain = {f"w{n}": [task(f"s{n}", "subworkflow", {"workflow": f"w{n + 1}"})] for n in range(9)}
        self.flows(world, **chain, w9=[tool("a")])
        error = await world.error([task("s", "subworkflow", {"workflow": "w0"})])
        assert (error["code"], error["path"]) == ("workflow_limit_exceeded", "s/s0/s1/s2")

    async def test_an_end_inside_ends_only_the_inner_one(self) -> None:
        world = World()
        self.flows(world, child=[task("e", "end", {"output": 1}), tool("never", depends_on=["e"])])
        tasks = [
            task("s", "subworkflow", {"workflow": "child"}, next=["after"]),
            tool("after", arguments={"value": "{{ s.output }}"}),
        ]
        assert await world.output(tasks) == 1
        assert world.called == ["after"]

    async def test_its_failure_is_the_failure_of_the_task_and_can_be_caught(self) -> None:
        world = World()
        self.flows(world, child=[tool("a", "fail")])
        sub = task("s", "subworkflow", {"workflow": "child"})
        config = {"tasks": [sub], "catch": [tool("c", arguments={"value": "{{ error.path }}"})]}
        assert await world.output([task("t", "try", config)]) == "t/s/a"

    async def test_a_failing_end_inside_fails_the_task(self) -> None:
        world = World()
        self.flows(world, child=[task("e", "end", {"status": "failed", "error": "bad"})])
        error = await world.error([task("s", "subworkflow", {"workflow": "child"})])
        assert (error["path"], error["detail"]) == ("s/e", "bad")


async def test_containers_nest_in_each_other_up_to_the_limit_of_nesting() -> None:
    inner: list[dict[str, Any]] = [tool("t", arguments={"value": 1})]
    for n in range(20):
        inner = [task(f"p{n}", "parallel", {"branches": {"b": inner}})]
    output = await World().output(inner)
    for _ in range(20):
        output = output["b"]
    assert output == 1


async def test_a_replay_of_containers_gives_the_same_and_calls_nothing() -> None:
    world = World()
    undo = {"type": "tool", "config": {"tool": "echo"}}
    config = {
        "tasks": [
            task("m", "map", {"items": [1, 2], "tasks": [tool("a", compensate=undo)]}, next=["l"]),
            task("l", "loop", {"max_iterations": 2, "tasks": [tool("b")]}, next=["z"]),
            tool("z", "fail"),
        ],
        "catch": [tool("c", arguments={"value": 9})],
    }
    first = await world.run([task("t", "try", config)])
    assert isinstance(first, Completed)
    world.called.clear()
    assert await world.run([task("t", "try", config)]) == first
    assert world.called == []
