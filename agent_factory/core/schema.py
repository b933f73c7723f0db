"""JSON Schema 2020-12: compiled once, checked fast, never fetching anything."""

from typing import Any

import jsonschema_rs

from agent_factory.kit.errors import FieldError, Invalid

_MOST_ERRORS = 50
"""Faults reported at once; more would only fill the answer."""


def pointer(path: list[str | int]) -> str:
    """Write a path as a JSON pointer (RFC 6901)."""
    return "".join("/" + str(p).replace("~", "~0").replace("/", "~1") for p in path)


class Schema:
    """A compiled schema. Patterns run in linear time; remote references are refused."""

    def __init__(self, schema: dict[str, Any], *, at: str = "") -> None:
        """Compile; a broken schema is `Invalid` at the pointer `at`."""
        try:
            self._validator = jsonschema_rs.Draft202012Validator(
                schema, offline=True, pattern_options=jsonschema_rs.RegexOptions()
            )
        except (jsonschema_rs.ValidationError, ValueError) as error:
            message = str(error).splitlines()[0]
            raise Invalid("This is not a usable JSON Schema.", errors=[FieldError(at, message)]) from None

    def faults(self, document: object) -> list[FieldError]:
        """List what is wrong with a document, at most 50 faults."""
        out: list[FieldError] = []
        for error in self._validator.iter_errors(document):
            out.append(FieldError(pointer(list(error.instance_path)), error.message[:500]))
            if len(out) >= _MOST_ERRORS:
                break
        return out

    def accepts(self, document: object) -> bool:
        """Tell whether a document has no fault."""
        return self._validator.is_valid(document)
