"""What a workflow run pins when it starts: the definition, and every agent and workflow that it names."""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import msgspec

from agent_factory.core.agent import Agent, digest, parse_agent
from agent_factory.core.workflow import Flow, flow_of
from agent_factory.database.pool import Pool
from agent_factory.kit.errors import NotFound
from agent_factory.runtime.journal import to_json
from agent_factory.runtime.queue.statements import SNAPSHOT

_MOST = 256
"""Definitions kept ready."""


class Pinned(msgspec.Struct, frozen=True):
    """What a run works with, whatever is deployed meanwhile; names are `core.workflow.pinned_name`'s."""

    flow: Flow
    agents: Mapping[str, Agent] = {}
    flows: Mapping[str, Flow] = {}

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

    def of(self, flow: Flow, agents: Mapping[str, Agent], flows: Mapping[str, Flow]) -> Pinned:
        """Give what a run would pin; the same object for a definition that was started lately."""
        made = self._made.get(id(flow))
        # An id may be used again once its object is gone: only the same object will do.
        if made is None or made[0].flow is not flow or made[0].agents != agents or made[0].flows != flows:
            return Pinned(flow, agents, flows)
        return made[0]

    def written(self, pinned: Pinned) -> tuple[str, str]:
        """Give a definition's name and text, written once for those that are started again and again."""
        made = self._made.get(id(pinned.flow))
        if made is None or made[0] is not pinned:
            made = (pinned, pinned.write())
            self._made[id(pinned.flow)] = made
            while len(self._made) > _MOST:
                self._made.popitem(last=False)
        return made[1]

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
        found = _read(stored)
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
