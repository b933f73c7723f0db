"""An agent as a definition (S55)."""

import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_factory.core.agent import (
    NEXT_STATUS,
    Agent,
    AgentStatus,
    GuardrailUse,
    Limits,
    Memory,
    ToolUse,
    digest,
    parse_agent,
)
from agent_factory.core.tool import tool
from agent_factory.kit.errors import Invalid


@tool
def lookup(word: str) -> str:
    """Look a word up."""
    return word


def faults(document: object) -> list[tuple[str, str]]:
    with pytest.raises(Invalid) as refused:
        parse_agent(document)
    return [(f.pointer, f.detail) for f in refused.value.errors]


def test_a_name_is_enough() -> None:
    agent = parse_agent({"name": "a"})
    assert agent.model == "default"
    assert agent.to_dict() == {"name": "a"}


def test_names_stand_for_tools_and_guardrails_without_settings() -> None:
    agent = parse_agent({"name": "a", "tools": ["x", {"use": "y", "permission": "ask"}], "guardrails": ["pii"]})
    assert agent.tools == (ToolUse(use="x"), ToolUse(use="y", permission="ask"))
    assert agent.guardrails == (GuardrailUse(use="pii"),)
    assert agent.to_dict()["tools"] == ["x", {"use": "y", "permission": "ask"}]


def test_a_script_puts_its_functions_among_the_tools() -> None:
    agent = Agent(name="a", tools=(lookup, ToolUse(use="x")))
    assert agent.tools[0] is lookup
    assert agent.to_dict()["tools"] == ["lookup", "x"]


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({}, [("/name", "this field is required")]),
        (3, [("", "should be an object")]),
        ({"name": "a", "nmae": 1}, [("/nmae", "unknown field")]),
        ({"name": "a", "tools": ["x", 3]}, [("/tools/1", "name it in words, or give a record with `use`")]),
        ({"name": "a", "tools": [{}]}, [("/tools/0/use", "this field is required")]),
        ({"name": "a", "tools": [{"use": "x", "nme": 1}]}, [("/tools/0/nme", "unknown field")]),
        ({"name": "a", "guardrails": [[]]}, [("/guardrails/0", "name it in words, or give a record with `use`")]),
        ({"name": "a", "guardrails": [{"use": "pii", "on": []}]}, [("/guardrails/0/on", None)]),
        ({"name": "a", "guardrails": ["magic"]}, [("/guardrails/0/use", None)]),
        ({"name": "a", "limits": {"steps": 0, "usd": "NaN"}}, [("/limits/steps", None), ("/limits/usd", None)]),
        ({"name": "a", "limits": {"seconds": "inf"}}, [("/limits/seconds", None)]),
        ({"name": "a", "memory": {"type": "all"}}, [("/memory/type", None)]),
        ({"name": "a", "output": {"type": "thing"}}, [("/output", None)]),
        ({"name": "a", "output": {"$ref": "https://example.com/x"}}, [("/output", None)]),
        ({"name": "a", "metadata": {"a/b~": 1}}, [("/metadata/a~1b~0", None)]),
        ({"name": "A b"}, [("/name", None)]),
        ({"name": "a", "settings": {"temperature": 3}}, [("/settings/temperature", None)]),
    ],
)
def test_every_fault_has_a_pointer_and_a_place_has_one_fault(document: Any, expected: list[tuple[str, str]]) -> None:
    found = faults(document)
    assert [pointer for pointer, _ in found] == [pointer for pointer, _ in expected]
    for (_, detail), (_, wanted) in zip(found, expected, strict=True):
        assert wanted is None or detail == wanted


@pytest.mark.parametrize("name", ["a", "support-2", "a_b", "0", "x" * 64])
def test_names_that_are_safe_in_an_id_are_taken(name: str) -> None:
    assert Agent(name=name).name == name


@pytest.mark.parametrize("name", ["", "-a", "a-", "a/b", "a b", "A", "ä", "x" * 65, "a\n"])
def test_other_names_are_refused(name: str) -> None:
    assert faults({"name": name})[0][0] == "/name"


names = st.from_regex(r"\A[a-z]([a-z0-9_-]{0,10}[a-z0-9])?\Z")
texts = st.text(max_size=30)
agents = st.builds(
    Agent,
    name=names,
    description=texts,
    instructions=texts,
    tools=st.lists(st.builds(ToolUse, use=names, permission=st.sampled_from(["allow", "ask", "deny"])), max_size=3).map(
        tuple
    ),
    guardrails=st.lists(
        st.builds(GuardrailUse, use=st.sampled_from(["pii", "secrets"]), action=st.none() | st.just("block")),
        max_size=2,
    ).map(tuple),
    memory=st.builds(Memory, type=st.sampled_from(["full", "window", "summary"])),
    limits=st.builds(Limits, steps=st.integers(1, 99), usd=st.none() | st.decimals(0, 10, places=4)),
    output=st.none() | st.just({"type": "object"}),
    metadata=st.dictionaries(texts, texts, max_size=3),
)


@given(agents)
def test_a_definition_comes_back_as_it_was(agent: Agent) -> None:
    again = parse_agent(agent.to_dict())
    assert again == agent
    assert again.digest == agent.digest


def test_the_digest_names_the_content_and_not_the_order() -> None:
    assert digest({"a": 1, "b": [2]}) == digest({"b": [2], "a": 1})
    assert Agent(name="a").digest != Agent(name="b").digest
    assert len(Agent(name="a").digest) == 64


def test_an_agent_cannot_be_changed() -> None:
    agent = Agent(name="a")
    with pytest.raises(ValueError, match="frozen"):
        agent.name = "b"  # type: ignore[misc] # what is tested


def test_the_life_cycle_has_one_way_in_and_archived_is_the_end() -> None:
    """S55: draft, active, deployed, paused, archived."""
    assert set(NEXT_STATUS) == set(AgentStatus)
    assert AgentStatus.PAUSED in NEXT_STATUS[AgentStatus.DEPLOYED]
    assert AgentStatus.DEPLOYED in NEXT_STATUS[AgentStatus.PAUSED]
    assert NEXT_STATUS[AgentStatus.ARCHIVED] == frozenset()
    assert all(AgentStatus.DRAFT not in following for following in NEXT_STATUS.values())


def test_a_script_that_defines_an_agent_imports_no_server_and_no_vendor() -> None:
    code = (
        "import sys; from agent_factory import Agent, tool; Agent(name='a');"
        "print(*sorted({m.partition('.')[0] for m in sys.modules}))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"aiohttp", "fastapi", "starlette", "sqlalchemy", "asyncpg", "yaml", "mcp", "genai_prices", "httpx", "rich"}
    assert not heavy & set(out.stdout.split())
