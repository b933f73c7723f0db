"""Agents as a kind of definitions."""

from agent_factory.database.models import AgentRow, AgentVersionRow
from agent_factory.services.agents.errors import (
    AgentArchived,
    AgentNotDeployed,
    AgentNotFound,
    NothingToRollBackTo,
    VersionNotFound,
    WrongStatus,
)
from agent_factory.services.definitions.service import Kind

AGENT = Kind(
    noun="agent",
    prefix="agt",
    heads=AgentRow,
    versions=AgentVersionRow,
    not_found=AgentNotFound,
    version_not_found=VersionNotFound,
    archived=AgentArchived,
    wrong_status=WrongStatus,
    not_deployed=AgentNotDeployed,
    no_earlier=NothingToRollBackTo,
)
