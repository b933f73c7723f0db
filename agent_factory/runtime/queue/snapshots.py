"""What a workflow run pins when it starts: the definition, and every agent and workflow that it names."""

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from itertools import islice
from typing import Any
from uuid import UUID

import msgspec

from agent_factory.core.agent import Agent, digest, parse_agent
from agent_factory.core.workflow import Flow, all_nodes, flow_of
from agent_factory.database.pool import Pool
from agent_factory.kit.errors import NotFound
from agent_factory.runtime.journal import to_json
from agent_factory.runtime.queue.statements import SNAPSHOT

_MOST = 256
"""Definitions kept ready."""

_MANY = 200
"""Tasks that are written in less than a hundredth of a second."""

_LARGE = 50_000
"""Characters that are read in a few hundredths of a second."""


class Pinned(msgspec.Struct, frozen=True):
    """What a run works with, whatever is deployed meanwhile; names are `core.workflow.pinned_name`'s."""

    flow: Flow
    agents: Mapping[str, Agent] = {}
    flows: Mapping[str, Flow] = {}

    @property
    def large(self) -> bool:
        """Whether it takes so long to write that others should not wait for it."""
        nodes = (node for flow in (self.flow, *self.flows.values()) for node in all_nodes(flow.graph))
        return next(islice(nodes, _MANY, None), None) is not None

    def write(self) -> tuple[str, str]:
        """Name it by its content, and write it."""
        document = {
            "workflow": self.flow.workflow.to_dict(),
            "agents": {name: agent.to_dict() for name, agent in self.agents.items()},
            "workflows": {name: flow.workflow.to_dict() for name, flow in self.flows.items()},
        }
        return digest(document), to_json(document)


class Snapshots:
    """Pinned definitions of one process, ready to run."""

    def __init__(self, pool: Pool) -> None:
        """Start empty."""
        self._pool = pool
        self._kept: OrderedDict[tuple[UUID, str], Pinned] = OrderedDict()
        self._made: OrderedDict[int, tuple[Pinned, tuple[str, str]]] = OrderedDict()
        self._writing = asyncio.Lock()

    def of(self, flow: Flow, agents: Mapping[str, Agent], flows: Mapping[str, Flow]) -> Pinned:
        """Give what a run would pin; the same object for a definition that was started lately."""
        made = self._made.get(id(flow))
        # An id may be used again once its object is gone: only the same object will do.
        if made is None or made[0].flow is not flow or made[0].agents != agents or made[0].flows != flows:
            return Pinned(flow, agents, flows)
        return made[0]

    async def written(self, pinned: Pinned) -> tuple[str, str]:
        """Give a definition's name and text, written once for those that are started again and again."""
        found = self._found(pinned)
        if found is not None:
            return found
        if not pinned.large:
            return self._keep_written(pinned, pinned.write())
        async with self._writing:  # who comes meanwhile finds it written
            found = self._found(pinned)
            return found or self._keep_written(pinned, await asyncio.to_thread(pinned.write))

    def _found(self, pinned: Pinned) -> tuple[str, str] | None:
        same = self.of(pinned.flow, pinned.agents, pinned.flows)
        made = self._made.get(id(pinned.flow))
        return made[1] if made is not None and made[0] is same else None

    def _keep_written(self, pinned: Pinned, written: tuple[str, str]) -> tuple[str, str]:
        self._made[id(pinned.flow)] = (pinned, written)
        while len(self._made) > _MOST:
            self._made.popitem(last=False)
        return written

    async def read(self, organization_id: UUID, name: str) -> Pinned:
        """Give what a run has pinned; `NotFound` where that was erased."""
        place = (organization_id, name)
        found = self._kept.get(place)
        if found is not None:
            self._kept.move_to_end(place)
            return found
        stored = await self._pool.fetchval(SNAPSHOT, organization_id, name, again=True)
        if stored is None:
            raise NotFound("What the run had pinned was erased.")
        found = await asyncio.to_thread(_read, stored) if len(stored) > _LARGE else _read(stored)
        self.keep(organization_id, name, found)
        return found

    def keep(self, organization_id: UUID, name: str, pinned: Pinned) -> None:
        """Keep a definition that is known to be stored."""
        self._kept[(organization_id, name)] = pinned
        while len(self._kept) > _MOST:
            self._kept.popitem(last=False)


def _read(stored: str) -> Pinned:
    document: dict[str, Any] = msgspec.json.decode(stored)
    return Pinned(
        flow_of(document["workflow"]),
        {name: parse_agent(one) for name, one in document["agents"].items()},
        {name: flow_of(one) for name, one in document["workflows"].items()},
    )
