"""Files that a blueprint names: prompts and schemas beside it, never anything outside its folder."""

import re
from pathlib import Path
from typing import Any, cast

from agent_factory.core import document
from agent_factory.core.schema import pointer
from agent_factory.kit.errors import FieldError, Invalid, NotFound

_MAX_BYTES = 4 * document.MAX_CHARACTERS

_PROMPT = re.compile(r"[\w.-]+(?:/[\w.-]+){0,20}\.(?:md|txt|prompt)\Z")
_SCHEMA = re.compile(r"[\w.-]+(?:/[\w.-]+){0,20}\.(?:json|yaml|yml)\Z")
_PATTERNS = {"instructions": _PROMPT, "output": _SCHEMA}
_LONGEST = 500


class Folder:
    """The folder of a blueprint; whatever leads out of it is refused."""

    def __init__(self, root: Path) -> None:
        """Stay below this folder."""
        self._root = root.resolve()

    def read(self, name: str, at: str) -> str:
        """Read a text file by its relative name; a fault is `Invalid` at a pointer."""
        path = (self._root / name).resolve()
        if ".." in Path(name).parts or not path.is_relative_to(self._root):
            raise Invalid(
                "A file cannot be read.", errors=[FieldError(at, "the file is outside the blueprint's folder")]
            )
        try:
            return read_file(path, name)
        except (NotFound, Invalid) as error:
            raise Invalid("A file cannot be read.", errors=[FieldError(at, error.detail)]) from None


def read_file(path: Path, name: str) -> str:
    """Read a text file of at most 8 MB; `name` is what messages call it."""
    try:
        if not path.is_file():
            raise NotFound(f"There is no file {name}.")
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise Invalid(f"The file {name} cannot be read: {error.strerror}.") from None
    if len(data) > _MAX_BYTES:
        raise Invalid(f"The file {name} is larger than {_MAX_BYTES} bytes.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise Invalid(f"The file {name} is not UTF-8 text.") from None


def resolve(found: object, folder: Folder) -> object:
    """Replace each agent's `instructions` and `output` that name a file by what the file holds."""
    for at, agent in _agents(found):
        for field in _PATTERNS:
            name = _named(agent, field)
            if name is not None:
                text = folder.read(name, pointer([*at, field]))
                agent[field] = _schema(text, pointer([*at, field])) if field == "output" else text
    return found


def unresolved(found: object) -> list[FieldError]:
    """List the places that still name a file."""
    return [
        FieldError(pointer([*at, field]), "names a file; only a blueprint that is itself a file can")
        for at, agent in _agents(found)
        for field in _PATTERNS
        if _named(agent, field) is not None
    ]


def _named(agent: dict[str, Any], field: str) -> str | None:
    value = agent.get(field)
    if isinstance(value, str) and len(value) <= _LONGEST and _PATTERNS[field].match(value.removeprefix("./")):
        return value
    return None


def _schema(text: str, at: str) -> Any:  # noqa: ANN401 - any JSON
    try:
        return document.read(text)
    except Invalid as error:
        raise Invalid("A file cannot be read.", errors=[FieldError(at, e.detail) for e in error.errors]) from None


def _agents(found: object) -> list[tuple[list[str | int], dict[str, Any]]]:
    """Find the records of agents in a document of either form, before anything is known to be right."""
    if not isinstance(found, dict):
        return []
    top = cast("dict[str, Any]", found)
    spec = top.get("spec")
    agents = cast("dict[str, Any]", spec).get("agents") if isinstance(spec, dict) else None
    if isinstance(agents, dict):
        each = cast("dict[str, Any]", agents)
        return [(["spec", "agents", k], cast("dict[str, Any]", v)) for k, v in each.items() if isinstance(v, dict)]
    return [([], top)]
