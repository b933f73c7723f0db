"""Schemas of OpenAPI 3.0 and 3.1 as JSON Schema 2020-12, with the definitions that they need."""

from collections.abc import Mapping
from typing import Any, cast

from agent_factory.kit.errors import FieldError, Invalid

_COMPONENTS = "#/components/schemas/"
_MAX_DEPTH = 60
_MAX_DEFINITIONS = 200

_ONLY_OPENAPI = frozenset({"discriminator", "xml", "externalDocs", "example", "examples", "nullable"})


class Schemas:
    """Translates schemas of one document and collects what they refer to as `$defs`."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        """Read the components of a document."""
        components = json_object(document.get("components"))
        self._known = json_object(components.get("schemas"))
        self.definitions: dict[str, Any] = {}

    def translate(self, schema: Any, depth: int = 0) -> Any:  # noqa: ANN401 - a schema is any JSON
        """Give a schema in the words of JSON Schema; `Invalid` for one that cannot be followed."""
        if depth > _MAX_DEPTH:
            raise _invalid("a schema is nested too deeply")
        if isinstance(schema, list):
            return [self.translate(item, depth + 1) for item in cast("list[Any]", schema)]
        if not isinstance(schema, dict):
            return schema
        fields = cast("dict[str, Any]", schema)
        if isinstance(reference := fields.get("$ref"), str):
            return {"$ref": self._define(reference, depth)}
        out = {k: self._translate_keyword(k, v, depth) for k, v in fields.items() if self._kept(k)}
        return _modern(out, nullable=fields.get("nullable") is True)

    def _translate_keyword(self, keyword: str, value: Any, depth: int) -> Any:  # noqa: ANN401 - as above
        if keyword in {"enum", "const", "default", "required", "type", "pattern", "description", "title", "format"}:
            return value  # data, in which "$ref" would be no reference
        if keyword in {"properties", "patternProperties"} and isinstance(value, dict):
            return {k: self.translate(v, depth + 1) for k, v in cast("dict[str, Any]", value).items()}
        return self.translate(value, depth + 1)

    def _kept(self, keyword: str) -> bool:
        return keyword not in _ONLY_OPENAPI and not keyword.startswith("x-")

    def _define(self, reference: str, depth: int) -> str:
        name = reference.removeprefix(_COMPONENTS).replace("~1", "/").replace("~0", "~")
        if not reference.startswith(_COMPONENTS) or name not in self._known:
            raise _invalid(f"{reference[:200]!r} is not in the document")
        if name not in self.definitions:
            if len(self.definitions) >= _MAX_DEFINITIONS:
                raise _invalid(f"one operation refers to more than {_MAX_DEFINITIONS} schemas")
            self.definitions[name] = {}  # before it is followed, for it may refer to itself
            self.definitions[name] = self.translate(self._known[name], depth + 1)
        return "#/$defs/" + name.replace("~", "~0").replace("/", "~1")


def _modern(schema: dict[str, Any], *, nullable: bool) -> dict[str, Any]:
    """Say in the words of 2020-12 what OpenAPI 3.0 says in its own."""
    for bound, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if isinstance(schema.get(exclusive), bool) and schema.pop(exclusive) and bound in schema:
            schema[exclusive] = schema.pop(bound)
    if nullable and isinstance(kind := schema.get("type"), str):
        schema["type"] = [kind, "null"]
        if isinstance(values := schema.get("enum"), list) and None not in values:
            schema["enum"] = [*cast("list[Any]", values), None]
    elif nullable:
        return {"anyOf": [schema, {"type": "null"}]}
    return schema


def json_object(value: Any) -> dict[str, Any]:  # noqa: ANN401 - any JSON
    """Give a JSON object as it is, and anything else as an empty one."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _invalid(detail: str) -> Invalid:
    return Invalid("This OpenAPI document cannot be used.", errors=[FieldError("/config/document", detail)])
