"""The reference of blueprints and guardrails says what is so (S58, S105)."""

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from agent_factory.core import agent, blueprint
from agent_factory.core.agent import Agent, GuardrailUse
from agent_factory.core.blueprint import Blueprint
from agent_factory.core.model import ModelSettings
from agent_factory.runtime.guardrails import compile_guardrails, injection, pii, secrets, shape, topics

REFERENCE = Path(__file__).parents[2] / "docs/reference"
BLUEPRINT = (REFERENCE / "blueprint.md").read_text()
GUARDRAILS = (REFERENCE / "guardrails.md").read_text()


def section(page: str, heading: str) -> str:
    return page.split(f"\n{heading}", 1)[1].split("\n## ", 1)[0]


def examples() -> list[tuple[str, str, str]]:
    return [
        (rule, *row)
        for rule in ("pii", "secrets", "injection")
        for table in re.findall(
            r"\| text \| becomes \|\n\|---\|---\|\n((?:\|.*\n)+)", section(GUARDRAILS, f"## `{rule}`")
        )
        for row in re.findall(r"\| `(.+)` \| `(.+)` \|", table)
    ]


@pytest.mark.parametrize(
    ("page", "text"),
    [
        (name, t)
        for name, page in (("blueprint", BLUEPRINT), ("guardrails", GUARDRAILS))
        for t in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    ],
)
def test_every_yaml_on_the_pages_loads(page: str, text: str, tmp_path: Path) -> None:
    (tmp_path / "prompts").mkdir()
    (tmp_path / "schemas").mkdir()
    (tmp_path / "prompts/support.md").write_text("Be kind.")
    (tmp_path / "schemas/answer.json").write_text("{}")
    (tmp_path / f"{page}.yaml").write_text(text)
    for each in Blueprint.load(tmp_path / f"{page}.yaml").agents.values():

        async def judge(_prompt: str, _schema: dict[str, object]) -> dict[str, object]:
            return {}

        compile_guardrails(each.guardrail_uses, judge)


@pytest.mark.parametrize(("rule", "text", "becomes"), examples())
async def test_every_example_of_a_guardrail_is_true(rule: str, text: str, becomes: str) -> None:
    rules = compile_guardrails([GuardrailUse.model_validate({"use": rule})], None)
    assert (await rules.output(text)).text == becomes


def test_there_are_examples() -> None:
    assert len(examples()) >= 12


@pytest.mark.parametrize(
    "model",
    [
        *(Agent, agent.ToolUse, agent.Memory, agent.Limits, agent.Retry, ModelSettings),
        *(blueprint.Metadata, blueprint.Spec, blueprint.Dependencies, blueprint.Permissions, blueprint.Budget),
        *(blueprint.Evaluation, blueprint.Pricing),
    ],
)
def test_every_field_of_a_blueprint_is_on_its_page(model: type[BaseModel]) -> None:
    for field in model.model_fields:
        assert re.search(rf"`{field}`|\b{field}:", BLUEPRINT), f"{model.__name__}.{field}"


@pytest.mark.parametrize("rule", [pii, secrets, injection, shape, topics])
def test_every_setting_of_a_guardrail_is_on_its_page(rule: object) -> None:
    config: type[BaseModel] = rule.Config  # type: ignore[attr-defined] # each rule's module has one
    for field in config.model_fields:
        assert f"`{field}`" in GUARDRAILS, field


def test_the_table_of_defaults_is_the_code() -> None:
    rows = re.findall(r"\| `(\w+)` \| (\S+) \| (\S+) \| (\S+) \| (\S+) \|", section(GUARDRAILS, "## Where each rule"))
    assert [row[0] for row in rows] == ["pii", "secrets", "injection", "schema", "topics"]
    config = {
        "schema": {"input": {}, "output": {}, "tools": {"x": {}}},
        "topics": {"allowed": ["x"]},
    }

    async def judge(_prompt: str, _schema: dict[str, object]) -> dict[str, object]:
        return {}

    for rule, *cells in rows:
        rules = compile_guardrails([GuardrailUse(use=rule, config=config.get(rule, {}))], judge)
        seats = ("input", "tool_call", "tool_result", "output")
        found = [rules._rules[0].actions.get(seat, "\N{EN DASH}") for seat in seats]
        assert found == cells, rule
