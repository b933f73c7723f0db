"""Definitions of workflows: what is read is what was written, and any JSON is one or is refused (S83-S104)."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent_factory.core import document
from agent_factory.core.schema import Schema
from agent_factory.core.task import CONFIGS, TEMPLATED
from agent_factory.core.workflow import (
    Workflow,
    all_nodes,
    compile_workflow,
    flow_of,
    mentions,
    parse_workflow,
    pinned_name,
    read_workflow,
    write_schema,
)
from agent_factory.kit.errors import FieldError, Invalid
from tests.core.test_blueprint import MARKED, WORKFLOW
from tests.core.test_workflow_faults import CORPUS

T = TypeVar("T")
ROOT = Path(__file__).parents[2]


def test_the_sample_of_the_specification_has_three_targets_that_it_never_defines() -> None:
    """Merge 8."""
    with pytest.raises(Invalid) as refused:
        parse_workflow(WORKFLOW)
    assert [f.pointer for f in refused.value.errors] == [
        "/tasks/1/config/conditions/0/then",
        "/tasks/1/config/conditions/1/then",
        "/tasks/1/config/default",
    ]


def test_with_its_terminals_marked_it_goes_in_and_out_unchanged_as_json_and_yaml() -> None:
    """S84, S99-S104."""
    workflow = parse_workflow(MARKED)
    assert workflow.to_dict() == MARKED
    for text in (document.write_json(MARKED), document.write_yaml(MARKED)):
        again = read_workflow(text)
        assert again == workflow
        assert again.digest == workflow.digest


def test_what_was_written_in_other_words_is_another_definition() -> None:
    digests = {parse_workflow({**MARKED, "version": version}).digest for version in ("1.0", "1.1")}
    assert len(digests) == 2


def test_aliases_of_fields_are_kept_as_they_were_written() -> None:
    tasks = [
        {"id": "h", "type": "http", "config": {"url": "https://a.b", "json": {"a": 1}}, "next": ["t"]},
        {
            "id": "t",
            "type": "try",
            "config": {"tasks": [{"id": "x", "type": "end"}], "finally": []},
            "on_error": "fail",
        },
        {"id": "u", "type": "end", "depends_on": ["t"], "on_error": "continue"},
        {"id": "v", "type": "end", "depends_on": ["t"], "on_error": {"goto": "w"}},
        {"id": "w", "type": "end"},
    ]
    definition: dict[str, Any] = {"name": "x", "tasks": tasks}
    assert parse_workflow(definition).to_dict() == definition


def test_one_target_may_be_written_as_a_text() -> None:
    tasks = [{"id": "a", "type": "end", "next": "b"}, {"id": "b", "type": "end"}]
    assert parse_workflow({"name": "x", "tasks": tasks}).tasks[0].next == ("b",)


@pytest.mark.parametrize("field", ["url", "method", "headers", "query", "json", "body"])
def test_a_field_that_may_be_computed_takes_an_expression_in_place_of_its_type(field: str) -> None:
    config = {"url": "https://a.b", field: "{{ input.x }}"}
    flow = flow_of({"name": "x", "tasks": [{"id": "a", "type": "http", "config": config}]})
    assert flow.graph.nodes["a"].texts.config is not None


def test_code_is_never_a_template() -> None:
    """What a run's input says is a value to it, never a part of it."""
    code = "result = f'{{ {input_} }}'"
    flow = flow_of({"name": "x", "tasks": [{"id": "a", "type": "code", "config": {"code": code}}]})
    assert flow.graph.nodes["a"].texts.config is None
    assert "code" not in TEMPLATED["code"]


def test_what_a_workflow_names_is_listed_from_every_level() -> None:
    undo = {"type": "tool", "config": {"tool": "refund"}}
    tasks = [
        {"id": "a", "type": "agent", "config": {"agent": "triage", "message": "{{ input }}", "version": 2}},
        {"id": "b", "type": "agent", "config": {"agent": {"name": "inline"}, "message": "x"}, "depends_on": []},
        {
            "id": "t",
            "type": "try",
            "depends_on": [],
            "config": {
                "tasks": [
                    {
                        "id": "p",
                        "type": "tool",
                        "config": {"tool": "pay", "arguments": "{{ input }}"},
                        "compensate": undo,
                    }
                ],
                "catch": [{"id": "s", "type": "subworkflow", "config": {"workflow": "child"}}],
            },
        },
    ]
    flow = flow_of({"name": "x", "tasks": tasks})
    found = mentions(flow)
    assert found.agents == {("triage", 2)}
    assert found.workflows == {("child", None)}
    assert found.tools == {"pay", "refund"}
    assert {n.task.id for n in all_nodes(flow.graph)} == {"a", "b", "t", "p", "p/undo", "s"}
    assert (pinned_name("child", None), pinned_name("child", 3)) == ("child", "child@3")


def test_the_published_schema_is_up_to_date(tmp_path: Path) -> None:
    write_schema(tmp_path / "schema.json")
    published = ROOT / "docs/reference/workflow.schema.json"
    assert published.read_text() == (tmp_path / "schema.json").read_text(), (
        'write it anew: python -c "from pathlib import Path; from agent_factory.core.workflow import write_schema; '
        "write_schema(Path('docs/reference/workflow.schema.json'))\""
    )


def test_the_published_schema_takes_the_sample_and_knows_the_config_of_each_type() -> None:
    schema = Schema(Workflow.json_schema())
    assert schema.faults(MARKED) == []
    for task_type in CONFIGS:
        wrong = {"name": "x", "tasks": [{"id": "a", "type": task_type, "config": {"nonsense": 1}}]}
        assert schema.faults(wrong), task_type


names = st.sampled_from(["a", "b", "c", "input", "not"])
texts = st.sampled_from(["{{ a.output }}", "{{ input.x }}", "{{ 1 + }}", "x", "", "{{", "a", "b", "$.a[?@.b]", "{{ }}"])
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts | st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)
fields = sorted({f.alias or name for shape in CONFIGS.values() for name, f in shape.model_fields.items()})


def tasks_of(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    configs = st.dictionaries(
        st.sampled_from(fields),
        inner | texts | st.integers(0, 5) | st.dictionaries(names, inner, max_size=2),
        max_size=4,
    )
    targets = st.lists(names, max_size=2) | names
    task = st.fixed_dictionaries(
        {"id": names, "type": st.sampled_from([*CONFIGS, "nope"]), "config": configs | json_values},
        optional={
            "next": targets,
            "depends_on": targets,
            "retry": json_values | st.just({"attempts": 2}),
            "on_error": st.sampled_from(["continue", {"goto": "b"}, {}, 5]),
            "input": json_values,
            "output": json_values,
            "compensate": json_values | st.just({"type": "tool", "config": {"tool": "x"}}),
        },
    )
    return st.lists(task | json_values, max_size=3)


definitions = st.fixed_dictionaries(
    {"name": st.just("x"), "tasks": st.recursive(json_values, tasks_of, max_leaves=6)},
    optional={"output": json_values, "input": json_values, "terminals": st.just(["a", "c"])},
)


@settings(max_examples=500, deadline=None)
@given(definitions | json_values)
def test_any_json_is_a_workflow_or_is_refused_with_its_faults(definition: Any) -> None:
    found = outcome(lambda: flow_of(definition))
    if isinstance(found, list):
        assert found
        assert all(f.pointer == "" or f.pointer.startswith("/") for f in found)
        assert all(f.detail for f in found)
    else:
        assert compile_workflow(found.workflow).workflow.to_dict() == found.workflow.to_dict()


def outcome(read: Callable[[], T]) -> T | list[FieldError]:
    """Give what was read, or the faults in it."""
    try:
        return read()
    except Invalid as error:
        return error.errors


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(sorted(CORPUS)), st.data())
def test_a_broken_definition_that_is_damaged_further_is_still_refused_in_words(name: str, data: st.DataObject) -> None:
    definition, _ = CORPUS[name]
    text = document.write_json(definition)
    at = data.draw(st.integers(0, len(text)))
    damaged = text[:at] + data.draw(st.text(max_size=3)) + text[at + data.draw(st.integers(0, 5)) :]
    assert outcome(lambda: read_workflow(damaged))
