"""The agents room's face: what endpoints and other rooms may call."""

from agent_factory.services.agents.service.changing import Changed, create, patch, replace
from agent_factory.services.agents.service.checking import validate
from agent_factory.services.agents.service.living import activate, archive, deploy, pause, rollback
from agent_factory.services.agents.service.naming import check_calls, check_use
from agent_factory.services.agents.service.pinning import LATEST, Pinned, pin, pin_below
from agent_factory.services.agents.service.reading import get, get_version, list_agents, list_versions
from agent_factory.services.agents.service.templates import get_template, list_templates

__all__ = [
    "LATEST",
    "Changed",
    "Pinned",
    "activate",
    "archive",
    "check_calls",
    "check_use",
    "create",
    "deploy",
    "get",
    "get_template",
    "get_version",
    "list_agents",
    "list_templates",
    "list_versions",
    "patch",
    "pause",
    "pin",
    "pin_below",
    "replace",
    "rollback",
    "validate",
]
