"""Ready-made agents that come with the product (S147)."""

from typing import Any

import msgspec

from agent_factory.core.blueprint import Blueprint
from agent_factory.core.templates import load_template, template_names
from agent_factory.kit.errors import NotFound
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
    return [_template(name, load_template(name)) for name in template_names()]


def get_template(name: str) -> Template:
    """Find a template by name; raises `TemplateNotFound`."""
    try:
        return _template(name, load_template(name))
    except NotFound as problem:
        raise TemplateNotFound(problem.detail) from None


def _template(name: str, blueprint: Blueprint) -> Template:
    about = blueprint.metadata
    agents = dict(blueprint.agents)
    main = agents.pop(name, None) or agents.pop(next(iter(agents)))
    return Template(
        name=name,
        category=about.categories[0] if about.categories else "general",
        description=about.description,
        definition=main.to_dict(),
        helpers=[agent.to_dict() for agent in agents.values()],
    )
