"""A workflow fixed for one run, with every agent and workflow that it names, at every level (S83)."""

import asyncio
from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeVar
from uuid import UUID

import msgspec

from agent_factory.core.agent import Agent, AgentStatus, parse_agent
from agent_factory.core.workflow import Flow, flow_of, pinned_name
from agent_factory.database.session import ReadSession
from agent_factory.kit.errors import FieldError, Problem
from agent_factory.security.auth import Actor
from agent_factory.services.agents import service as agents
from agent_factory.services.agents.errors import AgentNotDeployed
from agent_factory.services.definitions import service as definitions
from agent_factory.services.definitions.service import Wanted
from agent_factory.services.workflows.errors import NamesInvalid, WorkflowArchived
from agent_factory.services.workflows.rules import DEEPEST, MOST_FAULTS, MOST_NAMED, Placed, naming, placed
from agent_factory.services.workflows.service.kind import WORKFLOW

_LARGE = 50_000
"""Characters of a definition that are checked in a few hundredths of a second."""

T = TypeVar("T")


class Read(msgspec.Struct, frozen=True):
    """A checked definition, and those of its tasks that name an agent or a workflow."""

    flow: Flow
    naming: tuple[Placed, ...]


class Pinned(msgspec.Struct, frozen=True):
    """What a run works with, whatever is deployed meanwhile.

    `agents` and `flows` have the names that the tasks use, by
    `core.workflow.pinned_name`. A definition that is not kept has no id.
    """

    flow: Flow
    agents: dict[str, Agent]
    flows: dict[str, Flow]
    workflow_id: UUID | None = None
    version: int | None = None


async def pin(session: ReadSession, actor: Actor, ref: str | UUID, version: Wanted = None) -> Pinned:
    """Fix what a run of a workflow will use. `ref` is an id (`wf_…`) or a name.

    Without a version it is the deployed one, and so is everything that it
    names; with one, what is not deployed is taken in its newest version.
    Raises `WorkflowNotDeployed`, `WorkflowNotFound`, `VersionNotFound`, or
    `NamesInvalid` with a pointer for each name that cannot be used.
    """
    found = await _find(session, actor, ref, version)
    names = Names(session, actor, tried=version is not None)
    await names.follow(found.read, (found.id,), "")
    if names.faults:
        raise NamesInvalid(f"{len(names.faults)} name(s) cannot be used.", errors=names.faults)
    return Pinned(found.read.flow, names.agents, names.flows, found.id, found.number)


async def pin_definition(session: ReadSession, actor: Actor, read: Read, own_id: UUID | None = None) -> Pinned:
    """Fix what a run of a definition that is not kept will use: what is deployed, else the newest.

    Raises `NamesInvalid` with a pointer for each name that cannot be used.
    """
    names = Names(session, actor, tried=True)
    await names.follow(read, (own_id,), "")
    if names.faults:
        raise NamesInvalid(f"{len(names.faults)} name(s) cannot be used.", errors=names.faults)
    return Pinned(read.flow, names.agents, names.flows)


class _Found(msgspec.Struct, frozen=True):
    id: UUID
    name: str
    number: int
    read: Read


class Names:
    """What a workflow names, looked up level by level; `faults` has a pointer for each name that cannot be used.

    With `tried`, what is not deployed is taken in its newest version.
    """

    def __init__(self, session: ReadSession, actor: Actor, *, tried: bool) -> None:
        """Start without a name."""
        self._session = session
        self._actor = actor
        self._tried = tried
        self._found: dict[str, _Found] = {}
        self._heights: dict[str, int] = {}
        self.agents: dict[str, Agent] = {}
        self.flows: dict[str, Flow] = {}
        self.faults: list[FieldError] = []

    async def follow(self, read: Read, path: tuple[UUID | None, ...], at: str) -> int:
        """Look up what a workflow names; gives how many levels of workflows lie below it.

        `path` are the workflows around it and itself, outermost first. Inside
        another workflow, `at` is the place in the outermost one that led here.
        """
        height = 0
        for task in read.naming:
            if len(self.faults) >= MOST_FAULTS:
                break
            try:
                height = max(height, await self._one(task, path, at))
            except Problem as problem:
                self.faults.append(FieldError(at or self._pointer(task), _told(problem, read.flow, at)))
        return height

    async def _one(self, task: Placed, path: tuple[UUID | None, ...], at: str) -> int:
        config = task.config
        match task.type:
            case "agent":
                await self._agent(config["agent"], config.get("version"))
            case "tool":
                await self._agent(config["config"]["agent"], None)
            case _:
                found = await self._named(config["workflow"], config.get("version"))
                key = pinned_name(config["workflow"], config.get("version"))
                return 1 + await self._workflow(key, found, path, at or self._pointer(task))
        return 0

    @staticmethod
    def _pointer(task: Placed) -> str:
        field = {"subworkflow": "workflow", "tool": "config/agent"}.get(task.type, "agent")
        return f"{task.at}/config/{field}"

    async def _agent(self, ref: str | dict[str, Any], version: int | None) -> None:
        wanted = definitions.LATEST if self._tried else None
        if isinstance(ref, dict):
            self._keep(await agents.pin_below(self._session, self._actor, parse_agent(ref), wanted))
            return
        if pinned_name(ref, version) in self.agents:
            return
        try:
            pin = await agents.pin(self._session, self._actor, ref, version)
        except AgentNotDeployed:
            if not self._tried:
                raise
            pin = await agents.pin(self._session, self._actor, ref, definitions.LATEST)
        self._keep({**pin.agents, pinned_name(ref, version): pin.agent})

    async def _named(self, ref: str, version: int | None) -> _Found:
        key = pinned_name(ref, version)
        found = self._found.get(key)
        if found is None:
            self._count()
            found = self._found[key] = await _find(self._session, self._actor, ref, version, tried=self._tried)
        return found

    async def _workflow(self, key: str, found: _Found, path: tuple[UUID | None, ...], at: str) -> int:
        if found.id in path:
            raise NamesInvalid(f"the workflow {found.name!r} would run inside itself")
        height = self._heights.get(key)
        if height is None:
            self.flows[key] = found.read.flow
            height = await self.follow(found.read, (*path, found.id), at)
            self._heights[key] = height
        if len(path) + height > DEEPEST:
            raise NamesInvalid(f"workflows are more than {DEEPEST} deep in each other")
        return height

    def _keep(self, found: dict[str, Agent]) -> None:
        for name, agent in found.items():
            if name not in self.agents:
                self._count()
                self.agents[name] = agent

    def _count(self) -> None:
        if len(self.agents) + len(self._found) >= MOST_NAMED:
            raise NamesInvalid(f"more than {MOST_NAMED} agents and workflows in all")


async def _find(session: ReadSession, actor: Actor, ref: str | UUID, wanted: Wanted, *, tried: bool = False) -> _Found:
    found = await definitions.find(session, actor, WORKFLOW, ref)
    if found.status == AgentStatus.ARCHIVED:
        raise WorkflowArchived("An archived workflow cannot be run; create a new one.")
    number = definitions.choose(WORKFLOW, found, wanted, tried=tried)
    text = await definitions.read_text(session, actor, WORKFLOW, found, number)
    return _Found(found.id, found.name, number, await aside(len(text), _read, text))


def _told(problem: Problem, flow: Flow, at: str) -> str:
    inside = f"inside the workflow {flow.workflow.name!r}: " if at else ""
    faults = "".join(f" ({e.pointer}: {e.detail})" for e in problem.errors[:3])
    return f"{inside}{problem.detail}{faults}"


def read(definition: dict[str, Any]) -> Read:
    """Check a definition's graph; raises `Invalid` with pointers."""
    return Read(flow_of(definition), naming(placed(definition["tasks"])))


@lru_cache(maxsize=256)
def _read(text: str) -> Read:
    """Check a stored definition; the same text is read once, for versions never change."""
    return read(msgspec.json.decode(text))


async def aside(size: int, do: Callable[[T], Read], what: T) -> Read:
    """Check a definition; a large one takes a while, which others' requests should not wait for."""
    return await asyncio.to_thread(do, what) if size > _LARGE else do(what)
