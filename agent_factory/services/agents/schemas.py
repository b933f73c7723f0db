"""What travels about agents."""

from typing import Annotated
from uuid import UUID

from agent_factory.api.paging import PageOf
from agent_factory.api.schemas import Definition, Id, Output
from agent_factory.services.definitions.schemas import Summary, VersionSummary


class AgentSummary(Summary):
    """An agent without its definition."""

    id: Annotated[UUID, Id("agt")]


class AgentOut(AgentSummary):
    """An agent with its newest definition."""

    definition: Definition


class AgentPage(PageOf[AgentSummary]):
    """A page of agents."""


class VersionOut(VersionSummary):
    """A version, which never changes."""

    definition: Definition


class TemplateSummary(Output):
    """A ready-made agent."""

    name: str
    category: str
    description: str


class TemplateOut(TemplateSummary):
    """A ready-made agent: the definition to start from, and the agents that it calls, to be created before it."""

    definition: Definition
    helpers: list[Definition]


class TemplatePage(PageOf[TemplateSummary]):
    """A page of templates, by name."""
