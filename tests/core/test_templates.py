"""The agent templates that come with the product (S147)."""

import re
from itertools import combinations

import pytest
import yaml

from agent_factory.core.agent import Agent, ToolUse
from agent_factory.core.blueprint import Blueprint
from agent_factory.core.schema import Schema
from agent_factory.core.templates import load_template, template_names
from agent_factory.core.tool import ToolFactory
from agent_factory.kit.catalog import Catalog
from agent_factory.kit.errors import NotFound
from agent_factory.runtime.guardrails import compile_guardrails

NAMES = template_names()
TOOLS: Catalog[ToolFactory] = Catalog("agent_factory.tools")
SCHEMA = Schema(Blueprint.json_schema())


def agents() -> list[tuple[str, Agent]]:
    return [(name, agent) for name in NAMES for agent in load_template(name).agents.values()]


def main(name: str) -> Agent:
    return load_template(name).agents[name]


def words(text: str) -> set[str]:
    return set(re.findall(r"[a-z]{5,}", text.lower()))


def test_there_are_more_than_ten() -> None:
    assert len(NAMES) >= 12


def test_an_unknown_name_is_told_the_known_ones() -> None:
    with pytest.raises(NotFound, match="support-triage"):
        load_template("../../etc/passwd")


@pytest.mark.parametrize("name", NAMES)
def test_a_template_is_a_described_blueprint_with_an_agent_of_its_name(name: str) -> None:
    blueprint = load_template(name)
    about = blueprint.metadata
    assert about.name == name == main(name).name
    assert about.title
    assert about.license == "Apache-2.0"
    assert len(about.description) > 60
    assert len(about.categories) == 1
    assert len(about.examples) >= 3
    assert len(main(name).instructions) > 1_000


@pytest.mark.parametrize("name", NAMES)
def test_a_template_meets_the_published_schema_and_survives_being_written(name: str) -> None:
    blueprint = load_template(name)
    assert SCHEMA.faults(yaml.safe_load(blueprint.to_yaml())) == []
    assert Blueprint.load(blueprint.to_yaml()) == blueprint
    assert Blueprint.load(blueprint.to_json()) == blueprint


@pytest.mark.parametrize(("name", "agent"), agents(), ids=lambda v: v if isinstance(v, str) else v.name)
def test_every_tool_exists_and_takes_its_settings(name: str, agent: Agent) -> None:
    for use in agent.tools:
        assert isinstance(use, ToolUse)
        assert Schema(TOOLS.get(use.use).config_schema).faults(use.config) == []
        if use.use == "agent":
            assert use.config["agent"] in load_template(name).agents


@pytest.mark.parametrize(("name", "agent"), agents(), ids=lambda v: v if isinstance(v, str) else v.name)
def test_every_agent_is_guarded_and_limited(name: str, agent: Agent) -> None:
    compile_guardrails(agent.guardrail_uses, None)
    assert agent.guardrails
    assert agent.limits.tokens is not None
    assert agent.limits.tool_calls < 150


@pytest.mark.parametrize("name", NAMES)
def test_an_agent_that_writes_or_sends_asks_a_person(name: str) -> None:
    for agent in load_template(name).agents.values():
        for use in agent.tools:
            assert isinstance(use, ToolUse)
            writes = (
                (use.use == "file" and not use.config.get("read_only"))
                or use.use in ("openapi", "mcp")
                or (use.use == "http_request" and set(use.config.get("methods", ["GET"])) - {"GET", "HEAD"})
                or (use.use == "sql_query" and use.config.get("write"))
            )
            assert not writes or use.permission == "ask"


@pytest.mark.parametrize("name", [n for n in NAMES if main(n).output])
def test_an_output_schema_is_strict_enough_for_every_vendor(name: str) -> None:
    """OpenAI's strict mode takes only objects that close their fields and require all of them."""

    def check(schema: object) -> None:
        if isinstance(schema, dict):
            if schema.get("type") == "object":
                assert schema["additionalProperties"] is False
                assert sorted(schema["required"]) == sorted(schema["properties"])
            for value in schema.values():
                check(value)
        elif isinstance(schema, list):
            for value in schema:
                check(value)

    check(main(name).output)


def test_no_two_templates_serve_the_same_purpose() -> None:
    for one, other in combinations(NAMES, 2):
        a, b = words(main(one).instructions), words(main(other).instructions)
        assert len(a & b) < 0.5 * min(len(a), len(b)), (one, other)
    descriptions = [load_template(name).metadata.description for name in NAMES]
    assert len(set(descriptions)) == len(descriptions)
