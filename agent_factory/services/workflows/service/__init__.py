"""The workflows room's face: what others may call, beside what works with every kind of definitions.

`start` is how anything begins a run: see `service.starting`.
"""

from agent_factory.services.workflows.service.defining import WORKFLOWS, Moved
from agent_factory.services.workflows.service.forking import fork
from agent_factory.services.workflows.service.starting import Started, start, start_definition

__all__ = [
    "WORKFLOWS",
    "Moved",
    "Started",
    "fork",
    "start",
    "start_definition",
]
