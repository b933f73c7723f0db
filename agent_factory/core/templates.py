"""The agent templates that come with the product, each a blueprint of one agent (S147)."""

from functools import cache
from importlib.resources import files

from agent_factory.core.blueprint import Blueprint
from agent_factory.kit.errors import NotFound

_FOLDER = "templates"


@cache
def template_names() -> tuple[str, ...]:
    """List the names of all templates, sorted."""
    folder = files("agent_factory") / _FOLDER
    return tuple(sorted(f.name.removesuffix(".yaml") for f in folder.iterdir() if f.name.endswith(".yaml")))


@cache
def load_template(name: str) -> Blueprint:
    """Load one template; an unknown name is `NotFound` with the known ones."""
    if name not in template_names():
        raise NotFound(f"There is no template {name!r}; known are: {', '.join(template_names())}.")
    return Blueprint.load((files("agent_factory") / _FOLDER / f"{name}.yaml").read_text("utf-8"))
