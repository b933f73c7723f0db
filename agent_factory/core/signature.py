"""Reads a function as a tool: schema and conversion from its type hints, words from its docstring (S76)."""

import inspect
import re
from collections.abc import Callable
from typing import Annotated, Any, cast, get_args, get_origin, get_type_hints

import msgspec
import pydantic
import typing_extensions

from agent_factory.core.schema import refused
from agent_factory.kit.errors import FieldError, Invalid

_SECTION = re.compile(
    r"(args|arguments|parameters|params|returns?|raises|yields?|examples?|notes?|see also|attributes|warnings?):?$",
    re.IGNORECASE,
)
_PARAMETERS = ("args", "arguments", "parameters", "params")
_SPHINX = re.compile(r":(?:param|parameter|arg|argument)\s+(?:[^:]*\s)?(\w+):\s*(.*)")
_GOOGLE = re.compile(r"\*{0,2}(\w+)\s*(?:\([^)]*\))?:\s*(.*)")
_NUMPY = re.compile(r"(\w+)\s*(?::.*)?$")


class Words(msgspec.Struct, frozen=True):
    """What a docstring says: the whole, and each parameter by name."""

    summary: str
    notes: dict[str, str]


class Signature(msgspec.Struct, frozen=True):
    """A function's parameters as JSON Schema, and the conversion of arguments to their Python types."""

    parameters: dict[str, Any]
    adapter: pydantic.TypeAdapter[dict[str, Any]]
    takes_context: bool

    def convert(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Give arguments as the types that the function names; a value that does not fit is `Invalid`."""
        try:
            return self.adapter.validator.validate_python(arguments)
        except pydantic.ValidationError as error:
            raise refused(error, detail="The arguments do not fit.") from None


def read_signature(function: Callable[..., Any], notes: dict[str, str], context: type) -> Signature:
    """Read the parameters of a function.

    A parameter `context` with the given type, or with none, is left out. What
    cannot be described in JSON Schema is `Invalid`, by the parameter's name.
    """
    try:
        hints = get_type_hints(function, include_extras=True)
    except (NameError, TypeError) as error:
        raise Invalid(
            f"The type hints of {function.__name__!r} cannot be read: {error}.", errors=[FieldError("", str(error))]
        ) from None
    fields: dict[str, Any] = {}
    defaults: dict[str, Any] = {}
    takes_context = False
    for name, parameter in inspect.signature(function).parameters.items():
        hint = hints.get(name, Any)
        if name == "context" and (hint is Any or context in (hint, *get_args(hint))):
            takes_context = True
            continue
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
            raise Invalid(
                "A tool takes plain named parameters only.", errors=[FieldError(f"/{name}", "not a plain parameter")]
            )
        fields[name] = _described(hint, notes.get(name))
        if parameter.default is not parameter.empty:
            defaults[name] = parameter.default
            fields[name] = typing_extensions.NotRequired[fields[name]]
    adapter = _adapter(function.__name__, fields)
    return Signature(_schema(adapter, defaults), adapter, takes_context)


def _described(hint: Any, note: str | None) -> Any:  # noqa: ANN401 - a type hint may be anything
    """Add the words: those of the docstring, or a bare string in `Annotated`."""
    if get_origin(hint) is Annotated:
        strings = [m for m in hint.__metadata__ if isinstance(m, str)]
        note = note or next(iter(strings), None)
    return hint if note is None else Annotated[hint, pydantic.Field(description=note)]


def _adapter(name: str, fields: dict[str, Any]) -> pydantic.TypeAdapter[dict[str, Any]]:
    record = cast("Any", typing_extensions.TypedDict)(name, fields)
    record.__pydantic_config__ = pydantic.ConfigDict(extra="forbid")
    try:
        return pydantic.TypeAdapter(record)
    except pydantic.PydanticUserError as error:
        raise Invalid(
            f"A parameter of {name!r} has a type that JSON cannot carry.",
            errors=[FieldError("", str(error).splitlines()[0])],
        ) from None


def _schema(adapter: pydantic.TypeAdapter[dict[str, Any]], defaults: dict[str, Any]) -> dict[str, Any]:
    try:
        schema = adapter.json_schema()
    except pydantic.PydanticUserError as error:
        raise Invalid(
            "A parameter has a type that JSON Schema cannot describe.",
            errors=[FieldError("", str(error).splitlines()[0])],
        ) from None
    schema.pop("title", None)
    properties = schema.setdefault("properties", {})
    for name, prop in properties.items():
        prop.pop("title", None)
        if defaults.get(name) is not None:
            prop.setdefault("default", pydantic.TypeAdapter(Any).dump_python(defaults[name], mode="json", fallback=str))
    return schema


def read_docstring(function: Callable[..., Any]) -> Words:
    """Read a docstring in Google's, NumPy's or Sphinx's form; without one, the name speaks."""
    head: list[str] = []
    notes: dict[str, list[str]] = {}
    section = current = ""
    lines = (inspect.getdoc(function) or "").splitlines()
    for index, line in enumerate(lines):
        text = line.strip()
        underlined = index + 1 < len(lines) and re.fullmatch(r"\s*-{3,}\s*", lines[index + 1]) is not None
        if match := _SPHINX.match(text):
            section, current = "sphinx", match[1]
            notes[current] = [match[2]]
        elif _SECTION.match(text) and (text.endswith(":") or underlined):
            section, current = ("numpy " if underlined else "") + text.rstrip(":").lower(), ""
        elif re.match(r":\w+", text):
            section, current = "sphinx", ""
        elif not section:
            head.append(line)
        elif section.removeprefix("numpy ") in (*_PARAMETERS, "sphinx"):
            current = _note(notes, section, current, line)
    summary = "\n".join(head).strip() or function.__name__.replace("_", " ")
    return Words(summary, {name: " ".join(filter(None, words)) for name, words in notes.items()})


def _note(notes: dict[str, list[str]], section: str, current: str, line: str) -> str:
    """Read one line of a section of parameters; give the parameter that it speaks of."""
    text = line.strip()
    indent = len(line) - len(line.lstrip())
    if section.startswith("numpy"):
        if indent == 0 and (match := _NUMPY.fullmatch(text)) and not text.startswith("---"):
            notes[match[1]] = []
            return match[1]
    elif section != "sphinx" and indent <= 4 and (match := _GOOGLE.fullmatch(text)):  # noqa: PLR2004 - Google's own indent
        notes[match[1]] = [match[2]]
        return match[1]
    if current:
        notes[current].append(text)
    return current
