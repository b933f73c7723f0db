"""Agents from files: out of a blueprint or alone, as YAML or JSON."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import typer

from agent_factory.core import document
from agent_factory.core.agent import Agent, ToolUse
from agent_factory.core.blueprint import Blueprint
from agent_factory.kit.errors import Invalid, Problem


def read(file: Path) -> dict[str, Agent]:
    """Read the agents of a file by name; raises `Invalid` with a pointer for every fault."""
    try:
        agents = Blueprint.load(file).agents
    except Problem as problem:
        raise Invalid(f"{file}: {problem.detail}", errors=problem.errors) from None
    if not agents:
        raise Invalid(f"{file}: there is no agent in it.")
    return dict(agents)


def parse(text: str) -> Agent:
    """Read the text of a single agent; raises `Invalid`."""
    return pick(Blueprint.parse(document.read(text)).agents, None)


def pick(agents: Mapping[str, Agent], name: str | None) -> Agent:
    """Choose an agent by name; without a name the only one, or the only one that no other calls."""
    if name is None:
        called = {callee for agent in agents.values() for callee in _callees(agent)}
        tops = [agent for agent in agents.values() if agent.name not in called]
        if len(tops) == 1:
            return tops[0]
    elif name in agents:
        return agents[name]
    reason = "choose one of several agents" if name is None else f"there is no agent {name!r}"
    raise typer.BadParameter(f"{reason}: {', '.join(agents)}", param_hint="--agent")


def in_order(agents: Mapping[str, Agent], name: str | None) -> list[Agent]:
    """List the agents, or one and those below it, so that each comes after the ones that it calls."""
    ordered: dict[str, Agent] = {}
    seen: set[str] = set()

    def visit(agent: Agent) -> None:
        if agent.name in seen:
            return
        seen.add(agent.name)
        for callee in _callees(agent):
            if callee in agents:
                visit(agents[callee])
        ordered[agent.name] = agent

    for agent in agents.values() if name is None else [pick(agents, name)]:
        visit(agent)
    return list(ordered.values())


def _callees(agent: Agent) -> Iterator[str]:
    for used in agent.tools:
        if isinstance(used, ToolUse) and used.use == "agent":
            yield str(used.config.get("agent", ""))
