"""The triggers room's face: what endpoints and other rooms may call."""

from agent_factory.services.triggers.service.changing import Made, create, delete, patch, revision, rotate
from agent_factory.services.triggers.service.declaring import follow
from agent_factory.services.triggers.service.firing import fire, hear
from agent_factory.services.triggers.service.reading import get, get_schedule, list_triggers, next_ticks
from agent_factory.services.triggers.service.receiving import Received, receive

__all__ = [
    "Made",
    "Received",
    "create",
    "delete",
    "fire",
    "follow",
    "get",
    "get_schedule",
    "hear",
    "list_triggers",
    "next_ticks",
    "patch",
    "receive",
    "revision",
    "rotate",
]
