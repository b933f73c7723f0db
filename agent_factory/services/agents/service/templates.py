"""Ready-made agents that come with the product (S147)."""

from functools import lru_cache
from importlib.resources import files
from typing import Any

import msgspec

from agent_factory.services.agents.errors import TemplateNotFound


class Template(msgspec.Struct, frozen=True):
    """A definition to start from."""

    name: str
    category: str
    description: str
    definition: dict[str, Any]


def list_templates() -> list[Template]:
    """List the templates, by name."""
    return [*_templates().values()]


def get_template(name: str) -> Template:
    """Find a template by name; raises `TemplateNotFound`."""
    found = _templates().get(name)
    if found is None:
        raise TemplateNotFound(f"There is no template {name!r}; GET /api/v1/agent-templates lists them.")
    return found


@lru_cache(maxsize=1)
def _templates() -> dict[str, Template]:
    """Read the files once; they are part of the package."""
    folder = files("agent_factory") / "templates"
    found: dict[str, Template] = {}
    return found
