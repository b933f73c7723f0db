"""Ways through a graph: order, joins, branches, dead paths, ends and names (S83, S84, S85, S89, S97, S102-S104)."""

import json
from typing import Any

import pytest

from agent_factory.core.event import TaskFinished, TaskStarted
from agent_factory.core.task import AiInference
from agent_factory.core.workflow import flow_of
from agent_factory.runtime.flow.context import FlowContext, FlowLimits, TaskCall
from agent_factory.runtime.flow.interpreter import interpret
from agent_factory.runtime.flow.outcome import Completed, Failed
from tests.runtime.flow.parts import Gate, World, task, tool

SAMPLE = json.loads("""
{"id": "workflow_123", "name": "Customer Support Agent", "version": "1.0",
 "trigger": {"type": "webhook", "config": {"path": "/webhook/customer-support", "method": "POST"}},
 "tasks": [
   {"id": "classify_intent", "type": "ai_inference",
    "config": {"model": "gpt-4", "prompt": "Classify the customer intent: {{input.message}}", "max_tokens": 100},
    "next": ["route_to_handler"]},
   {"id": "route_to_handler", "type": "conditional",
    "config": {
      "conditions": [
        {"if": "{{ classify_intent.output.intent == 'billing' }}", "then": "billing_handler"},
        {"if": "{{ classify_intent.output.intent == 'technical' }}", "then": "technical_handler"}],
      "default": "general_handler"}}],
 "terminals": ["billing_handler", "technical_handler", "general_handler"]}
""")


@pytest.mark.parametrize(
    ("intent", "label"),
    [("billing", "billing_handler"), ("technical", "technical_handler"), ("thanks", "general_handler")],
)
async def test_the_sample_of_the_specification_runs_to_the_label_of_its_branch(intent: str, label: str) -> None:
    """S84, S99-S104, merge 8."""
    prompts: list[str] = []

    async def infer(call: TaskCall) -> Any:
        assert isinstance(call.config, AiInference)
        prompts.append(call.config.prompt)
        return {"intent": intent}

    world = World()
    context = FlowContext(journal=world.journal, leaves={"ai_inference": infer})
    end = await interpret(flow_of(SAMPLE), {"message": "Where is my invoice?"}, context)
    assert end == Completed(output=label, labels=(label,))
    assert prompts == ["Classify the customer intent: Where is my invoice?"]


async def test_tasks_follow_each_other_by_next_and_by_depends_on() -> None:
    """S89, S104."""
    world = World()
    tasks = [
        tool("a", arguments={"value": 1}, next=["b"]),
        tool("b", arguments={"value": "{{ a.output + 1 }}"}),
        tool("c", arguments={"value": "{{ b.output + 1 }}"}, depends_on=["b"]),
    ]
    assert await world.output(tasks) == 3
    assert world.called == ["a", "b", "c"]


async def test_a_join_runs_once_after_all_that_lead_to_it() -> None:
    """S89."""
    world = World()
    tasks = [
        tool("a", next=["b", "c"]),
        tool("b", next=["d"]),
        tool("c"),
        tool("d", arguments={"value": "{{ [b.status, c.status] }}"}, depends_on=["c"]),
    ]
    assert await world.output(tasks) == ["completed", "completed"]
    assert world.called == ["a", "b", "c", "d"]


async def test_independent_tasks_run_side_by_side() -> None:
    """S87."""
    gate = Gate(opens_at=2)
    world = World({"gate": gate.pass_})

    await world.run([tool("a", "gate"), tool("b", "gate", depends_on=[])])
    assert gate.most == 2


async def test_a_branch_not_taken_is_dead_with_all_that_only_it_leads_to() -> None:
    """S84."""
    world = World()
    tasks = [
        task("choose", "conditional", {"conditions": [{"if": "input.x > 1", "then": "many"}], "default": "few"}),
        tool("many", next=["after"]),
        tool("after", next=["join"]),
        tool("few", next=["join"]),
        tool("join", arguments={"value": "{{ [many.status, after.status, after.output, few.status] }}"}),
    ]
    assert await world.output(tasks, {"x": 1}) == ["skipped", "skipped", None, "completed"]
    assert world.called == ["few", "join"]


async def test_without_a_condition_that_holds_and_without_a_default_the_paths_end() -> None:
    """S84: no error, the run completes."""
    world = World()
    tasks = [task("choose", "conditional", {"conditions": [{"if": "false", "then": "a"}]}), tool("a")]
    assert await world.output(tasks) is None
    assert world.called == []


async def test_what_depends_on_a_choice_runs_only_when_it_is_chosen() -> None:
    world = World()
    choice = {"conditions": [{"if": "input == 1", "then": "a"}, {"if": "input == 2", "then": "b"}]}
    tasks = [
        task("choose", "conditional", choice),
        tool("a", depends_on=["choose"]),
        tool("b", depends_on=["choose"]),
        tool("always", depends_on=["choose"]),
    ]
    await world.run(tasks, 2)
    assert sorted(world.called) == ["always", "b"]


@pytest.mark.parametrize(
    ("value", "chosen"),
    [("x", "a"), (3, "b"), (3.0, "b"), (True, "c"), (None, "d"), ("null", "d"), ("other", "e"), (2.5, "e")],
)
async def test_a_switch_takes_the_case_that_equals_its_value(value: Any, chosen: str) -> None:
    world = World()
    cases = {"x": "a", "3": "b", "true": "c", "null": "d"}
    tasks = [task("s", "switch", {"value": "{{ input }}", "cases": cases, "default": "e"})]
    await world.run([*tasks, *(tool(i) for i in "abcde")], value)
    assert world.called == [chosen]


async def test_a_switch_over_a_list_fails_with_a_sentence() -> None:
    tasks = [task("s", "switch", {"value": "input", "cases": {"x": "a"}}), tool("a")]
    error = await World().error(tasks, [1])
    assert (error["code"], error["path"]) == ("task_failed", "s")


async def test_an_end_ends_the_run_here_and_now() -> None:
    gate = Gate()
    world = World({"gate": gate.pass_})
    tasks = [
        tool("slow", "gate"),
        task("stop", "end", {"output": {"x": "{{ input }}"}}, depends_on=[]),
        tool("never", depends_on=["stop", "slow"]),
    ]
    assert await world.output(tasks, 7) == {"x": 7}
    assert gate.cancelled == gate.most
    assert "never" not in world.called
    assert await world.output(tasks, 7) == {"x": 7}


async def test_an_end_can_fail_the_run() -> None:
    world = World()
    tasks = [task("stop", "end", {"status": "failed", "error": "No {{ input }} today."})]
    end = await world.run(tasks, "milk")
    assert isinstance(end, Failed)
    assert (end.path, end.problem["detail"]) == ("stop", "No milk today.")
    assert await world.run(tasks, "milk") == end


async def test_labels_at_which_paths_ended_are_collected_from_every_level() -> None:
    world = World()
    definition = {
        "name": "labels",
        "terminals": ["done", "odd", "failed"],
        "tasks": [
            tool("a", next=["each", "done"]),
            task(
                "each",
                "map",
                {
                    "items": [1, 2, 3],
                    "tasks": [task("c", "conditional", {"conditions": [{"if": "item % 2", "then": "odd"}]})],
                },
            ),
            tool("b", "fail", depends_on=["each"], on_error={"goto": "failed"}),
        ],
    }
    end = await world.run(definition)
    assert isinstance(end, Completed)
    assert set(end.labels) == {"done", "odd", "failed"}
    assert await world.run(definition) == end


async def test_a_task_sees_its_written_input_as_args_and_writes_its_output_over_the_result() -> None:
    """S85."""
    world = World()
    tasks = [
        tool(
            "a",
            arguments={"value": "{{ args.name }}!"},
            input={"name": "{{ input.who }}"},
            output={"said": "{{ result }}", "to": "{{ args.name }}"},
        )
    ]
    assert await world.output(tasks, {"who": "Ada"}) == {"said": "Ada!", "to": "Ada"}


async def test_the_output_of_a_workflow_sees_every_task_and_the_run() -> None:
    """S97."""
    definition = {
        "name": "named",
        "tasks": [tool("a", arguments={"value": 1}, next=["b"]), tool("b", arguments={"value": 2})],
        "output": {"sum": "{{ a.output + b.output }}", "run": "{{ run.id }}", "name": "{{ run.name }}"},
    }
    assert await World().output(definition) == {"sum": 3, "run": "run_1", "name": "named"}


async def test_without_an_output_the_last_tasks_speak() -> None:
    assert await World().output([tool("a", arguments={"value": 1})]) == 1
    tasks = [tool("a", arguments={"value": 1}), tool("b", arguments={"value": 2}, depends_on=[])]
    assert await World().output(tasks) == {"a": 1, "b": 2}


async def test_an_expression_that_fails_fails_its_task_at_its_path() -> None:
    error = await World().error([tool("a", arguments={"value": "{{ input.x + 1 }}"})], {"x": "text"})
    assert (error["code"], error["path"]) == ("expression_failed", "a")


async def test_what_expressions_give_has_to_fit_the_type() -> None:
    tasks = [task("w", "wait", {"seconds": "{{ input }}"})]
    error = await World().error(tasks, "soon")
    assert error["code"] == "task_failed"
    assert error["errors"][0]["pointer"] == "/config/seconds"


async def test_the_input_is_held_against_the_schema_of_the_workflow() -> None:
    definition = {
        "name": "x",
        "input": {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}},
        "tasks": [tool("a")],
    }
    assert await World().output(definition, {"n": 1}) is None
    error = await World().error(definition, {"n": "1"})
    assert (error["code"], error["errors"][0]["pointer"]) == ("input_invalid", "/n")


async def test_a_task_type_without_a_leaf_is_refused_with_its_name() -> None:
    error = await World().error([task("c", "code", {"code": "result = 1"})])
    assert "'code' cannot run here" in error["detail"]


async def test_tasks_tell_when_they_begin_and_end_and_a_replay_tells_nothing() -> None:
    world = World()
    tasks = [tool("a", next=["b"]), tool("b", "fail", on_error="continue")]
    await world.run(tasks)
    told = [(type(e).__name__, e.path) for e in world.events if isinstance(e, TaskStarted | TaskFinished)]
    assert told == [("TaskStarted", "a"), ("TaskFinished", "a"), ("TaskStarted", "b"), ("TaskFinished", "b")]
    last = world.events[-1]
    assert isinstance(last, TaskFinished)
    assert (last.status, last.error and last.error["code"]) == ("failed", "broken")
    world.events.clear()
    await world.run(tasks)
    assert world.events == []


async def test_a_run_with_more_tasks_than_it_may_have_ends_whatever_its_tasks_catch() -> None:
    world = World(limits=FlowLimits(steps=50))
    inner = {"max_iterations": 1000, "tasks": [tool("a", on_error="continue")]}
    error = await world.error([task("l", "loop", inner, on_error="continue")])
    assert error["code"] == "workflow_limit_exceeded"


async def test_no_more_tasks_of_a_level_run_at_once_than_they_may() -> None:
    gate = Gate(opens_at=3)
    world = World({"gate": gate.pass_}, FlowLimits(running=3))

    tasks = [tool(f"t{n}", "gate", depends_on=[]) for n in range(20)]
    await world.run(tasks)
    assert (gate.most, len(world.called)) == (3, 20)
