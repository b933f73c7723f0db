"""Definitions made ready to run, once each: by the object that a caller holds, or by what a run has pinned."""

from collections import OrderedDict
from typing import Any
from uuid import UUID

import msgspec

from agent_factory.core.agent import Agent
from agent_factory.database.pool import Pool
from agent_factory.runtime.compile import Compiled, Resources, compile_agent
from agent_factory.runtime.rows import read_definition, write_definition

_MOST = 1024
"""Definitions kept ready; each holds its tools and compiled rules."""

_MOST_STORED = 8192


class Ready(msgspec.Struct, frozen=True):
    """A definition as JSON, its digest, and what it was compiled to."""

    agent: Agent
    agents: dict[str, Agent]
    digest: str
    definition: str
    compiled: Compiled


class Definitions:
    """What agents became when they were compiled, and which of them the database holds already."""

    def __init__(self, pool: Pool, resources: Resources) -> None:
        """Start empty."""
        self._pool = pool
        self._resources = resources
        self._by_object: OrderedDict[tuple[UUID, int], Ready] = OrderedDict()
        self._by_digest: OrderedDict[tuple[UUID, str], Ready] = OrderedDict()
        self._stored: OrderedDict[tuple[UUID, str], None] = OrderedDict()

    async def of(self, organization_id: UUID, agent: Agent, agents: dict[str, Agent]) -> Ready:
        """Make an organisation's agent ready to run; quick for an object seen before."""
        place = (organization_id, id(agent))
        ready = self._by_object.get(place)
        # An id may be used again once its object is gone: only the same object will do.
        if ready is None or ready.agent is not agent or ready.agents != agents:
            digest, definition = write_definition(agent, agents)
            compiled = await compile_agent(agent, self._resources, agents, organization_id=str(organization_id))
            ready = Ready(agent, agents, digest, definition, compiled)
            _keep(self._by_object, place, ready, _MOST)
            _keep(self._by_digest, (organization_id, digest), ready, _MOST)
        return ready

    async def read(self, organization_id: UUID, digest: str) -> Compiled:
        """Give what a run has pinned, ready to run."""
        ready = self._by_digest.get((organization_id, digest))
        if ready is not None:
            return ready.compiled
        pinned = await read_definition(self._pool, organization_id, digest)
        return await compile_agent(pinned.agent, self._resources, pinned.agents, organization_id=str(organization_id))

    def to_store(self, organization_id: UUID, ready: Ready) -> str | None:
        """Give the definition as JSON, or None where the database is known to hold it."""
        return None if (organization_id, ready.digest) in self._stored else ready.definition

    def stored(self, organization_id: UUID, ready: Ready) -> None:
        """Note that the database holds a definition."""
        if (organization_id, ready.digest) not in self._stored:
            _keep(self._stored, (organization_id, ready.digest), None, _MOST_STORED)


def _keep(cache: OrderedDict[Any, Any], key: object, value: object, most: int) -> None:
    cache[key] = value
    while len(cache) > most:
        cache.popitem(last=False)
