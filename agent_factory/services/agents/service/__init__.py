"""The agents room's face: what endpoints and other rooms may call, beside what works with every kind of definitions."""

from agent_factory.services.agents.service.checking import checked, tool_names
from agent_factory.services.agents.service.kind import AGENT
from agent_factory.services.agents.service.naming import check_names
from agent_factory.services.agents.service.pinning import Pinned, pin, pin_below
from agent_factory.services.agents.service.templates import get_template, list_templates
from agent_factory.services.definitions.service import Definitions

AGENTS = Definitions(kind=AGENT, checked=checked, check_names=check_names)

__all__ = [
    "AGENT",
    "AGENTS",
    "Pinned",
    "check_names",
    "checked",
    "get_template",
    "list_templates",
    "pin",
    "pin_below",
    "tool_names",
]
