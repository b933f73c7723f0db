"""A corpus of broken definitions: each has its documented code and says where it is wrong (S83-S90, merge 8)."""

import json
import time
from typing import Any

import pytest

from agent_factory.core.graph import WorkflowLimits
from agent_factory.core.workflow import flow_of, parse_workflow, read_workflow
from agent_factory.kit.errors import Invalid

OK = {"id": "ok", "type": "transform", "config": {"value": 1}}


def t(task_id: str = "a", task_type: str = "transform", config: Any = None, **fields: Any) -> dict[str, Any]:
    """Write a task; without a config, one that is in order."""
    return {"id": task_id, "type": task_type, "config": {"value": 1} if config is None else config, **fields}


def w(*tasks: Any, **fields: Any) -> dict[str, Any]:
    """Write a workflow."""
    return {"name": "x", "tasks": list(tasks), **fields}


def within(config: dict[str, Any], task_type: str) -> dict[str, Any]:
    return w(t("c", task_type, config))


TRANSFORM = "/tasks/0/config/value"

CORPUS: dict[str, tuple[Any, dict[str, str]]] = {
    # What a definition is at all
    "not an object": ([], {"": "should be an object"}),
    "a text": ("workflow", {"": "should be an object"}),
    "nothing": (None, {"": "should be an object"}),
    "empty": ({}, {"/name": "required", "/tasks": "required"}),
    "no tasks": (w(), {"/tasks": "at least 1"}),
    "tasks that are an object": ({"name": "x", "tasks": {"a": OK}}, {"/tasks": "should be an array"}),
    "a task that is a text": (w("a"), {"/tasks/0": "should be an object"}),
    "no name": ({"name": "", "tasks": [OK]}, {"/name": "at least 1"}),
    "an unknown field": (w(OK, taks=[]), {"/taks": "unknown field"}),
    "a name that is a number": ({"name": 5, "tasks": [OK]}, {"/name": "string"}),
    "an unknown trigger": (w(OK, trigger={"type": "smoke"}), {"/trigger/type": "'webhook'"}),
    "a broken input schema": (w(OK, input={"type": "oject"}), {"/input": "oject"}),
    "terminals that are a text": (w(OK, terminals="done"), {"/terminals": "array"}),
    # What a task is
    "no id": (w({"type": "transform"}), {"/tasks/0/id": "required"}),
    "no type": (w({"id": "a"}), {"/tasks/0/type": "required"}),
    "an id with a dash": (w(t("a-b")), {"/tasks/0/id": "pattern"}),
    "an id that begins with a digit": (w(t("1a")), {"/tasks/0/id": "pattern"}),
    "an id that is too long": (w(t("a" * 65)), {"/tasks/0/id": "pattern"}),
    "an id with a newline": (w(t("a\n")), {"/tasks/0/id": "pattern"}),
    "an id that is a word of expressions": (w(t("not")), {"/tasks/0/id": "has a meaning of its own"}),
    "an id that is a name of expressions": (w(t("input")), {"/tasks/0/id": "has a meaning of its own"}),
    "an id that is a step of paths": (w(t("undo")), {"/tasks/0/id": "has a meaning of its own"}),
    "an unknown task type": (w(t("a", "transfrom")), {"/tasks/0/type": "unknown type 'transfrom'; known are"}),
    "an unknown field of a task": (w(t(nxt=["b"])), {"/tasks/0/nxt": "unknown field"}),
    "a config that is a list": (w(t(config=[])), {"/tasks/0/config": "object"}),
    "two tasks with one id": (w(t("a"), t("a")), {"/tasks/1/id": "another task has the id 'a'"}),
    "an id twice at different levels": (
        w(t("a", "parallel", {"branches": {"b": [t("a")]}})),
        {"/tasks/0/config/branches/b/0/id": "another task has the id 'a'"},
    ),
    # Ways
    "a missing target": (w(t(next=["b"])), {"/tasks/0/next": "no task 'b' here"}),
    "a missing target among several": (w(t(next=["b", "c"]), t("b")), {"/tasks/0/next/1": "no task 'c' here"}),
    "a missing dependency": (w(t(depends_on=["b"])), {"/tasks/0/depends_on/0": "no task 'b' here"}),
    "a terminal as dependency": (
        w(t(depends_on=["done"]), terminals=["done"]),
        {"/tasks/0/depends_on/0": "no task 'done' here"},
    ),
    "a target at another level": (
        w(t("a", next=["c"]), t("p", "parallel", {"branches": {"b": [t("c")]}}, depends_on=[])),
        {"/tasks/0/next": "no task 'c' here"},
    ),
    "a task that leads to itself": (w(t(next=["a"])), {"/tasks/0": "circle: a → a"}),
    "a task that depends on itself": (w(t(depends_on=["a"])), {"/tasks/0": "circle: a → a"}),
    "a circle": (
        w(t("s", next=["a"]), t("a", next=["b"]), t("b", next=["c"]), t("c", next=["a"])),
        {"/tasks/1": "circle: a → b → c → a"},
    ),
    "a circle of next and depends_on": (
        w(t("a", next=["b"], depends_on=["b"]), t("b")),
        {"/tasks/0": "circle: a → b → a"},
    ),
    "a circle through a branch": (
        w(
            t("a", next=["c"]),
            t("c", "conditional", {"conditions": [{"if": "true", "then": "a"}]}),
        ),
        {"/tasks/0": "circle: a → c → a"},
    ),
    "a circle through on_error": (
        w(t("a", next=["b"]), t("b", on_error={"goto": "a"})),
        {"/tasks/0": "circle: a → b → a"},
    ),
    "an unreachable task": (w(t("a"), t("b")), {"/tasks/1": "nothing leads to 'b'"}),
    "an unreachable task inside a map": (
        within({"items": [], "tasks": [t("a"), t("b")]}, "map"),
        {"/tasks/0/config/tasks/1": "nothing leads to 'b'"},
    ),
    # Errors, retries, times
    "an unknown word of on_error": (w(t(on_error="ignore")), {"/tasks/0/on_error": "'fail', 'continue'"}),
    "an on_error without a target": (w(t(on_error={})), {"/tasks/0/on_error/goto": "required"}),
    "an on_error that leads nowhere": (w(t(on_error={"goto": "b"})), {"/tasks/0/on_error/goto": "no task 'b'"}),
    "no attempts": (w(t(retry={"attempts": 0})), {"/tasks/0/retry/attempts": "greater than or equal to 1"}),
    "too many attempts": (w(t(retry={"attempts": 101})), {"/tasks/0/retry/attempts": "less than or equal to 100"}),
    "a negative pause": (w(t(retry={"backoff": -1})), {"/tasks/0/retry/backoff": "greater than or equal to 0"}),
    "an unknown field of retry": (w(t(retry={"tries": 3})), {"/tasks/0/retry/tries": "unknown field"}),
    "a timeout of nothing": (w(t(timeout=0)), {"/tasks/0/timeout": "greater than 0"}),
    "a timeout that is a word": (w(t(timeout="soon")), {"/tasks/0/timeout": "number"}),
    "a compensation without a try": (
        w(t(compensate={"type": "tool", "config": {"tool": "x"}})),
        {"/tasks/0/compensate": "no `try` lies around"},
    ),
    "a compensation that does nothing": (
        within({"tasks": [t(compensate={"type": "transform"})]}, "try"),
        {"/tasks/0/config/tasks/0/compensate/type": "a compensation is one of"},
    ),
    "a compensation with a wrong config": (
        within({"tasks": [t(compensate={"type": "tool", "config": {}})]}, "try"),
        {"/tasks/0/config/tasks/0/compensate/config/tool": "required"},
    ),
    # Configs of the types
    "an inference without a prompt": (within({}, "ai_inference"), {"/tasks/0/config/prompt": "required"}),
    "a prompt that is a number": (within({"prompt": 5}, "ai_inference"), {"/tasks/0/config/prompt": "string"}),
    "too hot": (
        within({"prompt": "x", "temperature": 3}, "ai_inference"),
        {"/tasks/0/config/temperature": "less than or equal to 2"},
    ),
    "a broken output schema": (
        within({"prompt": "x", "output_schema": {"type": 5}}, "ai_inference"),
        {"/tasks/0/config/output_schema": "5"},
    ),
    "an agent without a message": (within({"agent": "x"}, "agent"), {"/tasks/0/config/message": "required"}),
    "an agent that is a number": (
        within({"agent": 5, "message": ""}, "agent"),
        {"/tasks/0/config/agent": "name an agent"},
    ),
    "a faulty agent": (
        within({"agent": {"name": "B D"}, "message": ""}, "agent"),
        {"/tasks/0/config/agent": "at /name"},
    ),
    "an agent chosen by the input": (
        within({"agent": "{{ input.agent }}", "message": ""}, "agent"),
        {"/tasks/0/config/agent": "cannot be computed"},
    ),
    "a tool chosen by the input": (
        within({"tool": "{{ input.tool }}"}, "tool"),
        {"/tasks/0/config/tool": "cannot be computed"},
    ),
    "a tool without a name": (within({}, "tool"), {"/tasks/0/config/tool": "required"}),
    "a request without a URL": (within({}, "http"), {"/tasks/0/config/url": "required"}),
    "an unknown method": (within({"url": "x", "method": "FETCH"}, "http"), {"/tasks/0/config/method": "'GET'"}),
    "a header that is a list": (
        within({"url": "x", "headers": {"a": [1]}}, "http"),
        {"/tasks/0/config/headers/a": "string"},
    ),
    "no code": (within({}, "code"), {"/tasks/0/config/code": "required"}),
    "another language": (within({"code": "x", "language": "perl"}, "code"), {"/tasks/0/config/language": "'python'"}),
    "no memory": (
        within({"code": "x", "limits": {"memory_mb": 1}}, "code"),
        {"/tasks/0/config/limits/memory_mb": "greater than or equal to 16"},
    ),
    "a tier chosen by the input": (
        within({"code": "x", "tier": "{{ input.tier }}"}, "code"),
        {"/tasks/0/config/tier": "'auto'"},
    ),
    "no conditions": (within({"conditions": []}, "conditional"), {"/tasks/0/config/conditions": "at least 1"}),
    "a condition without a way": (
        within({"conditions": [{"if": "true"}]}, "conditional"),
        {"/tasks/0/config/conditions/0/then": "required"},
    ),
    "a branch that is missing": (
        within({"conditions": [{"if": "true", "then": "b"}]}, "conditional"),
        {"/tasks/0/config/conditions/0/then": "no task 'b'"},
    ),
    "a default that is missing": (
        w(t("c", "conditional", {"conditions": [{"if": "true", "then": "b"}], "default": "d"}), t("b")),
        {"/tasks/0/config/default": "no task 'd'"},
    ),
    "a case that is missing": (
        within({"value": "input", "cases": {"a/b": "x"}}, "switch"),
        {"/tasks/0/config/cases/a~1b": "no task 'x'"},
    ),
    "no cases": (within({"value": "input", "cases": {}}, "switch"), {"/tasks/0/config/cases": "at least 1"}),
    "no branches": (within({"branches": {}}, "parallel"), {"/tasks/0/config/branches": "at least 1"}),
    "an empty branch": (within({"branches": {"a": []}}, "parallel"), {"/tasks/0/config/branches/a": "at least 1"}),
    "a branch with a name of its own": (
        within({"branches": {"undo": [OK]}}, "parallel"),
        {"/tasks/0/config/branches/undo": "has a meaning of its own"},
    ),
    "a map without items": (within({"tasks": [OK]}, "map"), {"/tasks/0/config/items": "required"}),
    "a map without tasks": (within({"items": []}, "map"), {"/tasks/0/config/tasks": "required"}),
    "no concurrency": (
        within({"items": [], "tasks": [OK], "concurrency": 0}, "map"),
        {"/tasks/0/config/concurrency": "greater than or equal to 1"},
    ),
    "an item with a name of its own": (
        within({"items": [], "as": "input", "tasks": [OK]}, "map"),
        {"/tasks/0/config/as": "has a meaning of its own"},
    ),
    "an item with the name of a task": (
        within({"items": [], "as": "ok", "tasks": [OK]}, "map"),
        {"/tasks/0/config/as": "a task has the id 'ok'"},
    ),
    "a loop without an end": (within({"tasks": [OK]}, "loop"), {"/tasks/0/config/max_iterations": "required"}),
    "too many iterations": (
        within({"max_iterations": 10_001, "tasks": [OK]}, "loop"),
        {"/tasks/0/config/max_iterations": "less than or equal to 10000"},
    ),
    "a wait for nothing": (within({}, "wait"), {"/tasks/0/config": "exactly one of"}),
    "a wait for two things": (within({"seconds": 1, "until": "x"}, "wait"), {"/tasks/0/config": "exactly one of"}),
    "an endless wait": (within({"seconds": 10**9}, "wait"), {"/tasks/0/config/seconds": "less than or equal to"}),
    "a wait that is a word": (within({"seconds": "soon"}, "wait"), {"/tasks/0/config/seconds": "number"}),
    "an approval without a title": (within({}, "approval"), {"/tasks/0/config/title": "required"}),
    "an unknown default": (
        within({"title": "x", "default": "maybe"}, "approval"),
        {"/tasks/0/config/default": "'approve'"},
    ),
    "a subworkflow without a name": (within({}, "subworkflow"), {"/tasks/0/config/workflow": "required"}),
    "a subworkflow chosen by the input": (
        within({"workflow": "{{ input }}"}, "subworkflow"),
        {"/tasks/0/config/workflow": "cannot be computed"},
    ),
    "a transform of nothing": (w(t(config={})), {"/tasks/0/config": "exactly one of"}),
    "a transform of two things": (w(t(config={"value": 1, "expression": "1"})), {"/tasks/0/config": "exactly one of"}),
    "a broken JSONPath": (w(t(config={"jsonpath": "$.a[?@.b"})), {"/tasks/0/config/jsonpath": "is missing"}),
    "a JSONPath with a pattern": (
        w(t(config={"jsonpath": "$[?match(@, 'a*')]"})),
        {"/tasks/0/config/jsonpath": "functions are length, count and value"},
    ),
    "an event without a dot": (within({"type": "Paid"}, "emit"), {"/tasks/0/config/type": "pattern"}),
    "an empty try": (within({"tasks": []}, "try"), {"/tasks/0/config/tasks": "at least 1"}),
    "a faulty catch": (
        within({"tasks": [OK], "catch": [t("b", "nope")]}, "try"),
        {"/tasks/0/config/catch/0/type": "unknown type 'nope'"},
    ),
    "an unknown status of an end": (within({"status": "done"}, "end"), {"/tasks/0/config/status": "'completed'"}),
    "an unknown field of a config": (w(t(config={"value": 1, "vlaue": 2})), {"/tasks/0/config/vlaue": "unknown field"}),
    # Expressions
    "a broken expression": (w(t(config={"value": "{{ 1 + }}"})), {TRANSFORM: "syntax"}),
    "an empty expression": (w(t(config={"value": "{{ }}"})), {TRANSFORM: "empty"}),
    "a broken expression deep inside": (
        w(t(config={"value": {"a/b": ["{{ 1 + }}"]}})),
        {"/tasks/0/config/value/a~1b/0": "syntax"},
    ),
    "an unknown name": (
        w(t(config={"value": "{{ inptu.x }}"})),
        {TRANSFORM: "'inptu' is not known here; known are: args, input, run"},
    ),
    "an unknown name in a condition": (
        w(t("c", "conditional", {"conditions": [{"if": "x == 1", "then": "b"}]}), t("b")),
        {"/tasks/0/config/conditions/0/if": "'x' is not known here"},
    ),
    "an unknown name in a switch": (
        w(t("s", "switch", {"value": "x", "cases": {"1": "b"}}), t("b")),
        {"/tasks/0/config/value": "'x' is not known here"},
    ),
    "a task that runs later": (
        w(t("a", config={"value": "{{ b.output }}"}, next=["b"]), t("b")),
        {TRANSFORM: "'b' runs later, or on another path"},
    ),
    "a task on another path": (
        w(t("a"), t("b", config={"value": "{{ a.output }}"}, depends_on=[])),
        {"/tasks/1/config/value": "'a' runs later, or on another path"},
    ),
    "a task inside another": (
        w(t("m", "map", {"items": [], "tasks": [OK]}, next=["b"]), t("b", config={"value": "{{ ok.output }}"})),
        {"/tasks/1/config/value": "'ok' runs later, or on another path"},
    ),
    "the task itself": (w(t(config={"value": "{{ a.output }}"})), {TRANSFORM: "'a' runs later"}),
    "result outside of an output": (w(t(config={"value": "{{ result }}"})), {TRANSFORM: "'result' is not known here"}),
    "an item outside of its map": (w(t(config={"value": "{{ item }}"})), {TRANSFORM: "'item' is not known here"}),
    "an error outside of a catch": (
        w(t(config={"value": "{{ error.code }}"})),
        {TRANSFORM: "'error' is not known here"},
    ),
    "an unknown name in the input of a task": (
        w(t(input={"x": "{{ args.y }}"})),
        {"/tasks/0/input/x": "'args' is not known"},
    ),
    "an unknown name in the output of a task": (w(t(output="{{ y }}")), {"/tasks/0/output": "'y' is not known"}),
    "an unknown name in the output of the workflow": (
        w(OK, output={"a": "{{ y.output }}"}),
        {"/output/a": "'y' is not known"},
    ),
    "an unknown name in until": (
        within({"max_iterations": 1, "until": "x", "tasks": [OK]}, "loop"),
        {"/tasks/0/config/until": "'x' is not known"},
    ),
    "an unknown name in the match of an event": (
        within({"event": {"type": "x.y", "match": "event.a == b"}}, "wait"),
        {"/tasks/0/config/event/match": "'b' is not known"},
    ),
    "Python": (w(t(config={"value": "{{ [x for x in input] }}"})), {TRANSFORM: "ListComp is not part of expressions"}),
    "an escape": (w(t(config={"value": "{{ input.__class__ }}"})), {TRANSFORM: "'__class__' is not a name"}),
    "a call of something unknown": (w(t(config={"value": "{{ open('x') }}"})), {TRANSFORM: "Only these functions"}),
    "an expression that is too long": (
        w(t(config={"value": "{{ " + "1+" * 2000 + "1 }}"})),
        {TRANSFORM: "at most 2000 characters"},
    ),
    "an expression that is too deep": (
        w(t(config={"value": "{{ " + "(" * 50 + "1" + ")" * 50 + " }}"})),
        {TRANSFORM: "nest at most"},
    ),
    "several faults at once": (
        w(
            t("a", next=["nope"]),
            t("b", "what", depends_on=["a"]),
            t("c", config={"value": "{{ z }}"}, depends_on=["b"]),
        ),
        {
            "/tasks/0/next": "no task 'nope'",
            "/tasks/1/type": "unknown type",
            "/tasks/2/config/value": "'z' is not known",
        },
    ),
}


@pytest.mark.parametrize("name", CORPUS)
def test_a_broken_definition_is_refused_at_its_place(name: str) -> None:
    definition, faults = CORPUS[name]
    with pytest.raises(Invalid) as refused:
        parse_workflow(definition)
    assert refused.value.code == "validation_failed"
    found = {f.pointer: f.detail for f in refused.value.errors}
    assert found.keys() == faults.keys()
    for pointer, detail in faults.items():
        assert detail in found[pointer]


@pytest.mark.parametrize("name", CORPUS)
def test_it_is_refused_the_same_when_it_is_read_from_a_text(name: str) -> None:
    definition, faults = CORPUS[name]
    with pytest.raises(Invalid) as refused:
        read_workflow(json.dumps(definition))
    assert {f.pointer for f in refused.value.errors} == faults.keys()


def test_the_corpus_is_no_smaller_than_it_was() -> None:
    assert len(CORPUS) >= 100


def test_a_hundred_faults_are_told_and_no_more() -> None:
    with pytest.raises(Invalid) as refused:
        parse_workflow(w(*(t(f"a{n}", next=["nope"], depends_on=[]) for n in range(500))))
    assert len(refused.value.errors) == 100


class TestLimits:
    def test_ten_thousand_tasks_are_checked_and_one_more_is_refused(self) -> None:
        many = [
            t(f"a{n}", next=[f"a{n + 1}"], config={"value": f"{{{{ a{n - 1}.output }}}}" if n else 1})
            for n in range(10_000)
        ]
        many[-1].pop("next")
        assert len(flow_of(w(*many)).graph.nodes) == 10_000
        with pytest.raises(Invalid) as refused:
            parse_workflow(w(*many, t("last", depends_on=[])))
        assert [(f.pointer, f.detail) for f in refused.value.errors] == [("/tasks", "more than 10000 tasks in all")]

    @pytest.mark.parametrize("value", ["{{ 1 }}" * 20_001, ["{{ 1 }}"] * 20_001])
    def test_expressions_that_would_take_long_to_read_are_counted_first(self, value: Any) -> None:
        """Abuse 50: everybody else would wait meanwhile."""
        started = time.process_time()
        with pytest.raises(Invalid) as refused:
            flow_of(w(t("a", config={"value": value})))
        assert time.process_time() - started < 1
        assert "more than 20000 expressions" in refused.value.errors[0].detail

    def test_tasks_inside_others_count(self) -> None:
        inner = [t(f"a{n}", depends_on=[]) for n in range(5)]
        parse_workflow(within({"tasks": inner}, "try"), WorkflowLimits(tasks=6))
        with pytest.raises(Invalid, match="too large"):
            parse_workflow(within({"tasks": inner}, "try"), WorkflowLimits(tasks=5))

    def test_tasks_that_would_take_long_to_read_are_counted_first(self) -> None:
        with pytest.raises(Invalid) as refused:
            parse_workflow(w(*[{"id": 5}] * 1_000_000))
        assert [f.pointer for f in refused.value.errors] == ["/tasks"]

    def nested(self, depth: int) -> dict[str, Any]:
        inner = [t("last")]
        for n in range(depth):
            inner = [t(f"p{n}", "parallel", {"branches": {"b": inner}})]
        return w(*inner)

    def test_tasks_lie_twenty_deep_in_each_other_and_no_deeper(self) -> None:
        read_workflow(json.dumps(self.nested(20)))
        with pytest.raises(Invalid) as refused:
            read_workflow(json.dumps(self.nested(21)))
        (fault,) = refused.value.errors
        assert fault.detail == "tasks lie more than 20 deep in each other"
        parse_workflow(self.nested(21), WorkflowLimits(nesting=21))

    def test_nesting_that_no_reader_could_follow_is_refused(self) -> None:
        with pytest.raises(Invalid):
            read_workflow('{"name": "x", "tasks": ' + "[" * 100_000)
        with pytest.raises(Invalid):
            parse_workflow(self.nested(300))

    def test_a_document_of_ten_megabytes_is_read_and_a_larger_one_refused(self) -> None:
        definition = w(t(config={"value": "y" * 9_900_000}))
        assert read_workflow(json.dumps(definition)).to_dict() == definition
        with pytest.raises(Invalid) as refused:
            read_workflow(json.dumps(w(t(config={"value": "y" * 10_000_000}))))
        assert "longer than 10000000 characters" in refused.value.errors[0].detail

    def test_a_yaml_bomb_is_refused(self) -> None:
        lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
        lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
        with pytest.raises(Invalid):
            read_workflow("\n".join(lines))
