"""JSON Schema 2020-12: compiled once, checked fast, never fetching anything."""

import math
from typing import Any, TypeVar

import jsonschema_rs
import pydantic

from agent_factory.kit.errors import FieldError, Invalid

MAX_DEPTH = 64
"""Levels of lists and objects in a document; deeper ones are attacks or mistakes."""

_MOST_ERRORS = 50
"""Faults reported at once; more would only fill the answer."""

_BACKTRACKS = 20_000
"""Steps back of a pattern with look-around; without any, patterns run in linear time anyway."""

Model = TypeVar("Model", bound=pydantic.BaseModel)


def pointer(path: list[str | int]) -> str:
    """Write a path as a JSON pointer (RFC 6901)."""
    return "".join("/" + str(p).replace("~", "~0").replace("/", "~1") for p in path)


class Schema:
    """A compiled schema. Patterns run in bounded time; remote references are refused."""

    def __init__(self, schema: dict[str, Any], *, at: str = "") -> None:
        """Compile; a broken schema is `Invalid` at the pointer `at`."""
        try:
            self._validator = jsonschema_rs.Draft202012Validator(
                schema, offline=True, pattern_options=jsonschema_rs.FancyRegexOptions(backtrack_limit=_BACKTRACKS)
            )
        except (jsonschema_rs.ValidationError, ValueError) as error:
            message = str(error).splitlines()[0]
            raise Invalid("This is not a usable JSON Schema.", errors=[FieldError(at, message)]) from None

    def faults(self, document: object) -> list[FieldError]:
        """List what is wrong with a document, at most 50 faults; it never raises."""
        out: list[FieldError] = []
        try:
            for error in self._validator.iter_errors(document):
                out.append(FieldError(pointer(list(error.instance_path)), error.message[:500]))
                if len(out) >= _MOST_ERRORS:
                    break
        except ValueError as error:  # a value that JSON does not know, or nesting past the validator's own limit
            out.append(FieldError("", str(error)[:500]))
        return out

    def accepts(self, document: object) -> bool:
        """Tell whether a document has no fault."""
        try:
            return self._validator.is_valid(document)
        except ValueError:
            return False


def json_faults(document: object) -> list[FieldError]:
    """List what JSON could not carry: NaN, infinities, lone surrogates, foreign types, deep nesting.

    Schemas do not find these: to a validator, NaN is null.
    """
    faults: list[FieldError] = []
    todo: list[tuple[list[str | int], object]] = [([], document)]
    while todo and len(faults) < _MOST_ERRORS:
        path, value = todo.pop()
        kind = type(value)
        if kind is dict or kind is list:
            if len(path) >= MAX_DEPTH:
                faults.append(FieldError(pointer(path), f"nested deeper than {MAX_DEPTH} levels"))
                continue
            items: Any = value.items() if isinstance(value, dict) else enumerate(value)  # type: ignore[arg-type] # a list, by its type above
            for key, item in items:
                if kind is dict and (type(key) is not str or not _encodes(key)):
                    faults.append(FieldError(pointer(path), "has a key that is no Unicode text"))
                else:
                    todo.append(([*path, key], item))
        elif detail := _unfit(value):
            faults.append(FieldError(pointer(path), detail))
    return faults


def _unfit(value: object) -> str:
    if isinstance(value, str):
        return "" if _encodes(value) else "is no valid Unicode text"
    if isinstance(value, float):
        return "" if math.isfinite(value) else "is no finite number"
    return "" if value is None or isinstance(value, int) else "is of a type that JSON does not know"


def _encodes(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def parse(model: type[Model], document: object, *, at: str = "") -> Model:
    """Read a document into a pydantic model; `Invalid` names each fault by a pointer below `at`."""
    try:
        return model.model_validate(document)
    except pydantic.ValidationError as error:
        raise refused(error, at=at) from None


_WORDS = {
    "extra_forbidden": "unknown field",
    "missing": "this field is required",
    "model_type": "should be an object",
    "dict_type": "should be an object",
    "tuple_type": "should be an array",
}
"""Faults that pydantic tells in the words of Python, in those of JSON."""


def refused(error: pydantic.ValidationError, *, at: str = "", detail: str = "") -> Invalid:
    """Turn pydantic's report into ours: one fault a place, with pointers below `at`."""
    faults: dict[str, FieldError] = {}
    short: list[str] = []
    for fault in error.errors(include_url=False, include_context=False, include_input=False):
        # A faulty key is reported below itself, at a step that no document has.
        place = at + pointer([step for step in fault["loc"] if step != "[key]"])
        words = _WORDS.get(fault["type"]) or fault["msg"].removeprefix("Value error, ")
        faults.setdefault(place, FieldError(place, words))
        if fault["type"] == "too_short":
            short.append(place)
    for place in short:
        # A list whose items are faulty is reported as short of them, too.
        if any(other.startswith(f"{place}/") for other in faults):
            faults.pop(place, None)
    found = list(faults.values())
    return Invalid(detail or f"{len(found)} fault(s) in the settings.", errors=found[:_MOST_ERRORS])
