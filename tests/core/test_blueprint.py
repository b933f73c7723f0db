"""Blueprints: one file for agents and workflows (S105)."""

import json
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent_factory.core.agent import Agent, Limits
from agent_factory.core.blueprint import (
    Blueprint,
    Budget,
    Budgets,
    Dependencies,
    Evaluation,
    Metadata,
    Permissions,
    Pricing,
    Spec,
    write_schema,
)
from agent_factory.core.schema import Schema
from agent_factory.kit.errors import Invalid, NotFound

ROOT = Path(__file__).parents[2]

SAMPLE = """
apiVersion: agentfactory.dev/v1
kind: Blueprint
metadata: {name: acme/customer-support, version: 1.2.0, license: Apache-2.0, description: Helps, categories: [support]}
spec:
  parameters: {type: object, properties: {crm_url: {type: string}}}
  dependencies: {blueprints: {acme/kb: "^2"}}
  agents:
    support: {model: "route:balanced", instructions: prompts/support.md, tools: [lookup], memory: {type: summary},
              guardrails: [pii], output: schemas/answer.json}
  permissions: {network: ["api.acme.com:443"], secrets: [CRM_TOKEN], filesystem: none}
  budgets: {per_run: {usd: "0.50", tokens: 50000, seconds: 120, tool_calls: 20}}
  evals: [{dataset: evals/golden.yaml, gate: {pass_rate: ">=0.95"}}]
  pricing: {model: usage, per_run_usd: "0.05", trial_runs: 20}
"""
ENVELOPE = "apiVersion: agentfactory.dev/v1\nkind: Blueprint\nmetadata: {name: x}\n"

WORKFLOW = json.loads(
    """
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
          "default": "general_handler"}}]}
    """
)
"""The specification's own sample."""

MARKED = {**WORKFLOW, "terminals": ["billing_handler", "technical_handler", "general_handler"]}
"""The same with the targets that it leaves undefined marked as ends of paths."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "prompts").mkdir()
    (tmp_path / "schemas").mkdir()
    (tmp_path / "prompts/support.md").write_text("Be kind.\nBe brief.\n")
    (tmp_path / "schemas/answer.json").write_text('{"type": "object"}')
    (tmp_path / "support.yaml").write_text(SAMPLE)
    return tmp_path


def faults(source: str | Path) -> list[tuple[str, str]]:
    with pytest.raises(Invalid) as refused:
        Blueprint.load(source)
    return [(f.pointer, f.detail) for f in refused.value.errors]


def test_a_file_loads_with_the_prompts_and_schemas_beside_it(folder: Path) -> None:
    blueprint = Blueprint.load(folder / "support.yaml")
    support = blueprint.agents["support"]
    assert support.name == "support"
    assert support.instructions == "Be kind.\nBe brief.\n"
    assert support.output == {"type": "object"}
    assert blueprint.spec.budgets.per_run.usd == Decimal("0.50")
    assert Blueprint.load(str(folder / "support.yaml")) == blueprint


def test_what_was_loaded_is_written_whole_and_read_back(folder: Path) -> None:
    blueprint = Blueprint.load(folder / "support.yaml")
    assert Blueprint.load(blueprint.to_yaml()) == blueprint
    assert Blueprint.load(blueprint.to_json()) == blueprint
    assert "Be kind.\n" in blueprint.to_yaml()
    assert blueprint.to_dict()["spec"]["budgets"]["per_run"]["usd"] == "0.50"


def test_a_file_of_one_agent_is_a_blueprint_with_that_agent(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("name: helper\ndescription: Helps\ntools: [calculator]\n")
    blueprint = Blueprint.load(path)
    assert blueprint.metadata == Metadata(name="helper", description="Helps")
    assert blueprint.agents == {
        "helper": Agent.model_validate({"name": "helper", "description": "Helps", "tools": ["calculator"]})
    }
    assert Blueprint.of(blueprint.agents["helper"]) == blueprint


def test_json_is_read_too(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"name": "helper"}')
    assert list(Blueprint.load(path).agents) == ["helper"]


def test_a_workflow_of_the_specification_goes_in_and_out_unchanged() -> None:
    """S84, S99-S104: the sample of the specification, with the labels that merge 8 asks for."""
    document = {**Blueprint(metadata=Metadata(name="x")).to_dict(), "spec": {"workflows": {"main": MARKED}}}
    blueprint = Blueprint.parse(document)
    assert blueprint.to_dict()["spec"]["workflows"]["main"] == MARKED
    assert json.loads(blueprint.to_json())["spec"]["workflows"]["main"] == MARKED
    assert Blueprint.load(blueprint.to_yaml()).to_dict() == document


def test_a_fault_in_the_graph_of_a_workflow_is_named_at_its_place() -> None:
    document = {**Blueprint(metadata=Metadata(name="x")).to_dict(), "spec": {"workflows": {"main": WORKFLOW}}}
    with pytest.raises(Invalid) as refused:
        Blueprint.parse(document)
    assert [f.pointer for f in refused.value.errors] == [
        "/spec/workflows/main/tasks/1/config/conditions/0/then",
        "/spec/workflows/main/tasks/1/config/conditions/1/then",
        "/spec/workflows/main/tasks/1/config/default",
    ]


@pytest.mark.parametrize(
    ("spec", "pointer"),
    [
        ("agents: {a: {tools: [{}]}}", "/spec/agents/a/tools/0/use"),
        ("agents: {a: {name: b}}", "/spec"),
        ("agents: {'B d': {}}", "/spec/agents/B d"),
        ("agents: {'x/y': {}}", "/spec/agents/x~1y"),
        ("agents: {a: []}", "/spec/agents/a"),
        ("agents: []", "/spec/agents"),
        ("agents: {a: {instructions: prompts/a.md}}", "/spec/agents/a/instructions"),
        ("agents: {a: {output: a.json}}", "/spec/agents/a/output"),
        ("agents: {a: {output: 3}}", "/spec/agents/a/output"),
        ("workflows: {w: {name: x, tasks: []}}", "/spec/workflows/w/tasks"),
        ("parameters: {type: x}", "/spec/parameters"),
        ("dependencies: {blueprints: {Acme: '^2'}}", "/spec/dependencies/blueprints/Acme"),
        ("permissions: {network: [api.acme.com]}", "/spec/permissions/network/0"),
        ("permissions: {secrets: [token]}", "/spec/permissions/secrets/0"),
        ("permissions: {filesystem: all}", "/spec/permissions/filesystem"),
        ("budgets: {per_run: {usd: -1}}", "/spec/budgets/per_run/usd"),
        ("budgets: {per_day: {usd: 1}}", "/spec/budgets/per_day"),
        ("evals: [{dataset: a.yaml, gate: {pass_rate: high}}]", "/spec/evals/0/gate/pass_rate"),
        ("pricing: {per_run_usd: 0.000000001}", "/spec/pricing/per_run_usd"),
        ("agent: {}", "/spec/agent"),
    ],
)
def test_every_fault_is_named_at_its_place(spec: str, pointer: str) -> None:
    assert [p for p, _ in faults(f"{ENVELOPE}spec: {{{spec}}}")] == [pointer]


@pytest.mark.parametrize(
    ("text", "pointer"),
    [
        ("kind: Blueprint\nmetadata: {name: x}\n", "/apiVersion"),
        (ENVELOPE.replace("v1", "v2"), "/apiVersion"),
        (ENVELOPE.replace("Blueprint", "Agent"), "/kind"),
        (ENVELOPE.replace("{name: x}", "{}"), "/metadata/name"),
        (ENVELOPE.replace("x}", "x, version: 1.0}"), "/metadata/version"),
        (ENVELOPE.replace("x}", "x, version: '1.0'}"), "/metadata/version"),
        (ENVELOPE + "extra: 1\n", "/extra"),
        ("name: x\nname: y\n", ""),
        ("[]\n", ""),
        ("just words\n", ""),
        ("\n", ""),
    ],
)
def test_what_is_no_blueprint_is_refused(text: str, pointer: str) -> None:
    assert [p for p, _ in faults(text)] == [pointer]


class TestFiles:
    def agent(self, folder: Path, line: str) -> Path:
        path = folder / "one.yaml"
        path.write_text(f"name: one\n{line}\n")
        return path

    @pytest.mark.parametrize("name", ["../secret.md", "prompts/../../secret.md", "./../secret.md"])
    def test_a_name_that_leads_out_of_the_folder_is_refused(self, folder: Path, name: str) -> None:
        (folder.parent / "secret.md").write_text("secret")
        path = self.agent(folder, f"instructions: {name}")
        assert faults(path) == [("/instructions", "the file is outside the blueprint's folder")]

    def test_a_link_that_leads_out_of_the_folder_is_refused(self, folder: Path) -> None:
        outside = folder.parent / f"{folder.name}-secret.md"
        outside.write_text("secret")
        (folder / "link.md").symlink_to(outside)
        path = self.agent(folder, "instructions: link.md")
        assert faults(path) == [("/instructions", "the file is outside the blueprint's folder")]

    def test_an_absolute_name_is_words_and_opens_nothing(self, folder: Path) -> None:
        blueprint = Blueprint.load(self.agent(folder, f"instructions: {folder}/prompts/support.md"))
        assert blueprint.agents["one"].instructions == f"{folder}/prompts/support.md"

    @pytest.mark.parametrize(
        ("line", "detail"),
        [
            ("instructions: prompts/none.md", "There is no file prompts/none.md."),
            ("instructions: prompts.md", "There is no file prompts.md."),
            ("instructions: binary.txt", "The file binary.txt is not UTF-8 text."),
            ("instructions: large.txt", "The file large.txt is larger than 8000000 bytes."),
        ],
    )
    def test_a_file_that_cannot_be_read_is_named_at_its_place(self, folder: Path, line: str, detail: str) -> None:
        (folder / "prompts.md").mkdir()
        (folder / "binary.txt").write_bytes(b"\xff\xfe\x00")
        (folder / "large.txt").write_bytes(b"x" * 8_000_001)
        assert faults(self.agent(folder, line)) == [("/instructions", detail)]

    def test_a_broken_schema_file_is_named_at_the_place_that_names_it(self, folder: Path) -> None:
        (folder / "bad.json").write_text('{"a": 1, "a": 2}')
        assert faults(self.agent(folder, "output: bad.json")) == [("/output", "the key 'a' stands twice in one object")]

    def test_a_file_that_is_not_there_says_so(self, tmp_path: Path) -> None:
        with pytest.raises(NotFound, match=r"There is no file none\.yaml"):
            Blueprint.load(tmp_path / "none.yaml")

    def test_instructions_that_only_mention_a_file_are_words(self, folder: Path) -> None:
        blueprint = Blueprint.load(self.agent(folder, "instructions: Read prompts/support.md first."))
        assert blueprint.agents["one"].instructions == "Read prompts/support.md first."


names = st.from_regex(r"\A[a-z]([a-z0-9_-]{0,8}[a-z0-9])?\Z")
texts = st.text(max_size=40).filter(lambda t: not re.search(r"\.(md|txt|prompt)\Z", t))
money = st.none() | st.decimals(0, 1000, places=4)
agents = st.dictionaries(names, st.tuples(texts, st.integers(1, 99)), max_size=3).map(
    lambda d: {n: Agent(name=n, instructions=t, limits=Limits(steps=s)) for n, (t, s) in d.items()}
)
specs = st.builds(
    Spec,
    parameters=st.none() | st.just({"type": "object", "properties": {"a": {"type": "string"}}}),
    dependencies=st.builds(Dependencies, blueprints=st.dictionaries(names, st.just("^2"), max_size=2)),
    agents=agents,
    permissions=st.none() | st.builds(Permissions, filesystem=st.sampled_from(["none", "read", "write"])),
    budgets=st.builds(Budgets, per_run=st.builds(Budget, usd=money, tokens=st.none() | st.integers(1, 2**63))),
    evals=st.lists(
        st.builds(Evaluation, dataset=texts.filter(bool), gate=st.dictionaries(texts, st.just(">=0.9")))
    ).map(tuple),
    pricing=st.none() | st.builds(Pricing, model=st.sampled_from(["free", "usage"]), per_run_usd=money),
)
blueprints = st.builds(
    Blueprint,
    metadata=st.builds(
        Metadata, name=names, title=texts, description=texts, examples=st.lists(texts, max_size=3).map(tuple)
    ),
    spec=specs,
)


@settings(max_examples=200, deadline=None)
@given(blueprints)
def test_any_blueprint_survives_yaml_and_json(blueprint: Blueprint) -> None:
    assert Blueprint.load(blueprint.to_yaml()) == blueprint
    assert Blueprint.load(blueprint.to_json()) == blueprint
    assert Blueprint.parse(blueprint.to_dict()).to_dict() == blueprint.to_dict()


@settings(max_examples=100, deadline=None)
@given(blueprints)
def test_any_blueprint_meets_the_published_schema(blueprint: Blueprint) -> None:
    assert Schema(Blueprint.json_schema()).faults(blueprint.to_dict()) == []


def test_the_published_schema_takes_files_as_people_write_them() -> None:
    schema = Schema(Blueprint.json_schema())
    document: dict[str, Any] = {
        "apiVersion": "agentfactory.dev/v1",
        "kind": "Blueprint",
        "metadata": {"name": "x"},
        "spec": {
            "agents": {"a": {"tools": ["x", {"use": "y"}], "guardrails": ["pii"], "output": "schemas/a.json"}},
            "workflows": {"main": WORKFLOW},
        },
    }
    assert schema.faults(document) == []
    document["spec"]["agents"]["a"]["modle"] = "x"
    assert [f.pointer for f in schema.faults(document)] == ["/spec/agents/a"]


def test_the_published_schema_is_up_to_date(tmp_path: Path) -> None:
    write_schema(tmp_path / "schema.json")
    published = ROOT / "docs/reference/blueprint.schema.json"
    assert published.read_text() == (tmp_path / "schema.json").read_text(), (
        'write it anew: python -c "from pathlib import Path; from agent_factory.core.blueprint import write_schema; '
        "write_schema(Path('docs/reference/blueprint.schema.json'))\""
    )
