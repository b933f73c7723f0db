"""The workflows room's face: what endpoints and other rooms may call.

`start` is how anything begins a run: see `service.starting`.
"""

from agent_factory.services.workflows.service.changing import Changed, create, patch, replace
from agent_factory.services.workflows.service.checking import validate
from agent_factory.services.workflows.service.forking import fork
from agent_factory.services.workflows.service.living import Moved, activate, archive, deploy, pause, rollback
from agent_factory.services.workflows.service.pinning import LATEST, Pinned, Version, pin
from agent_factory.services.workflows.service.reading import get, get_version, list_versions, list_workflows
from agent_factory.services.workflows.service.starting import Started, start, start_definition

__all__ = [
    "LATEST",
    "Changed",
    "Moved",
    "Pinned",
    "Started",
    "Version",
    "activate",
    "archive",
    "create",
    "deploy",
    "fork",
    "get",
    "get_version",
    "list_versions",
    "list_workflows",
    "patch",
    "pause",
    "pin",
    "replace",
    "rollback",
    "start",
    "start_definition",
    "validate",
]
