"""The definitions room's face: what the rooms with a kind of definitions call, and their endpoints.

`Kind` and `Definitions` say what a kind is; all else works with any of them.
"""

from agent_factory.services.definitions.rules import LATEST, Kind, Named, Wanted, choose
from agent_factory.services.definitions.service.changing import Changed, create, patch, replace
from agent_factory.services.definitions.service.finding import by_name, check_use, find, read_text
from agent_factory.services.definitions.service.kinds import Definitions
from agent_factory.services.definitions.service.living import activate, archive, deploy, pause, rollback
from agent_factory.services.definitions.service.reading import get, get_version, list_definitions, list_versions

__all__ = [
    "LATEST",
    "Changed",
    "Definitions",
    "Kind",
    "Named",
    "Wanted",
    "activate",
    "archive",
    "by_name",
    "check_use",
    "choose",
    "create",
    "deploy",
    "find",
    "get",
    "get_version",
    "list_definitions",
    "list_versions",
    "patch",
    "pause",
    "read_text",
    "replace",
    "rollback",
]
