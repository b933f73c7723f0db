"""Ready-made agents that come with the product (S147)."""

from functools import lru_cache
from importlib.resources import as_file, files
from typing import Any

import msgspec

from agent_factory.core.blueprint import Blueprint
from agent_factory.services.agents.errors import TemplateNotFound


class Template(msgspec.Struct, frozen=True):
    """A definition to start from, and those of the agents that it calls, to be created before it."""

    name: str
    category: str
    description: str
    definition: dict[str, Any]
    helpers: list[dict[str, Any]]


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
    """Read the files once: they are part of the package, and do not change while it runs."""
    found: list[Template] = []
    with as_file(files("agent_factory") / "templates") as folder:
        found.extend(_template(Blueprint.load(path)) for path in folder.glob("*.yaml"))
    return {template.name: template for template in sorted(found, key=lambda t: t.name)}


def _template(blueprint: Blueprint) -> Template:
    about = blueprint.metadata
    name = about.name.rpartition("/")[2]
    agents = dict(blueprint.agents)
    main = agents.pop(name, None) or agents.pop(next(iter(agents)))
    return Template(
        name=name,
        category=about.categories[0] if about.categories else "general",
        description=about.description,
        definition=main.to_dict(),
        helpers=[agent.to_dict() for agent in agents.values()],
    )
