"""Operations of an OpenAPI document: found, described by a schema, and made into requests."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, cast
from urllib.parse import quote, urlencode, urljoin

import msgspec
import orjson

from agent_factory.kit.errors import FieldError, Invalid
from agent_factory.tools.openapi_document.schemas import Schemas, json_object

METHODS = ("get", "head", "post", "put", "patch", "delete")
_JSON = re.compile(r"application/([\w.+-]+\+)?json\b")
_FORM = "application/x-www-form-urlencoded"
_MAX_REFERENCES = 20


class Parameter(msgspec.Struct, frozen=True):
    """One value of a request; `argument` is what the model calls it, `place` where it goes."""

    argument: str
    name: str
    place: str
    required: bool
    schema: Any
    style: str
    explode: bool


class Operation(msgspec.Struct, frozen=True):
    """One operation, ready to be offered as a tool."""

    id: str
    method: str
    path: str
    description: str
    parameters: tuple[Parameter, ...]
    body: Any
    body_type: str
    body_required: bool
    definitions: dict[str, Any]

    def schema(self) -> dict[str, Any]:
        """Describe the arguments as JSON Schema 2020-12."""
        properties = {p.argument: p.schema for p in self.parameters}
        required = [p.argument for p in self.parameters if p.required]
        if self.body_type:
            properties["body"] = self.body
            required += ["body"] if self.body_required else []
        out: dict[str, Any] = {"type": "object", "properties": properties, "additionalProperties": False}
        if required:
            out["required"] = required
        if self.definitions:
            out["$defs"] = self.definitions
        return out


class Request(msgspec.Struct, frozen=True):
    """What is sent for one call."""

    url: str
    headers: dict[str, str]
    json: Any = None
    body: bytes | None = None


def operations(document: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """List (id, method, path) of every operation; without an operationId, method and path are the id."""
    for path, item in json_object(document.get("paths")).items():
        for method in METHODS:
            operation = json_object(item).get(method)
            if isinstance(operation, dict):
                fields = cast("dict[str, Any]", operation)
                yield str(fields.get("operationId") or f"{method.upper()} {path}"), method, path


def read_operation(document: Mapping[str, Any], id_: str, method: str, path: str) -> Operation:
    """Read one operation with all that it refers to; `Invalid` for what cannot be read or sent."""
    item = json_object(json_object(document["paths"])[path])
    fields = json_object(item[method])
    schemas = Schemas(document)
    parameters = _parameters(document, schemas, [*_list(item.get("parameters")), *_list(fields.get("parameters"))])
    body, body_type, body_required = _body(document, schemas, fields.get("requestBody"))
    words = "\n".join(str(fields[k]) for k in ("summary", "description") if fields.get(k))
    return Operation(
        id=id_,
        method=method.upper(),
        path=path,
        description=(words or id_)[:2_000],
        parameters=tuple(parameters),
        body=body,
        body_type=body_type,
        body_required=body_required,
        definitions=schemas.definitions,
    )


def base_url(document: Mapping[str, Any], source: str | None) -> str:
    """Give the first server's URL, its variables at their defaults; relative ones belong to the document's URL."""
    servers = _list(document.get("servers"))
    first = json_object(servers[0]) if servers else {}
    url = str(first.get("url") or "/")
    for name, variable in json_object(first.get("variables")).items():
        url = url.replace(f"{{{name}}}", str(json_object(variable).get("default", "")))
    return urljoin(source, url) if source else url


def request(operation: Operation, base: str, arguments: Mapping[str, Any]) -> Request:
    """Make the request of checked arguments; a value that would leave its place in the path is `Invalid`."""
    path = operation.path
    query: list[tuple[str, str]] = []
    headers: dict[str, str] = {}
    for parameter in operation.parameters:
        value = arguments.get(parameter.argument)
        if value is None:
            continue
        match parameter.place:
            case "path":
                path = path.replace(f"{{{parameter.name}}}", _segment(parameter, value))
            case "query":
                query += _pairs(parameter, value)
            case _:
                headers[parameter.name] = _flat(value)
    url = base.rstrip("/") + path + (f"?{urlencode(query)}" if query else "")
    body = arguments.get("body")
    if not operation.body_type or body is None:
        return Request(url, headers)
    if operation.body_type == _FORM:
        pairs = [(k, _flat(v)) for k, v in json_object(body).items()]
        return Request(url, {**headers, "Content-Type": _FORM}, body=urlencode(pairs).encode())
    return Request(url, {**headers, "Content-Type": operation.body_type}, json=body)


def _parameters(document: Mapping[str, Any], schemas: Schemas, listed: list[Any]) -> list[Parameter]:
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for entry in listed:  # those of the operation replace those of its path
        fields = _resolved(document, entry)
        found[str(fields.get("name")), str(fields.get("in"))] = fields
    sent = {key: fields for key, fields in found.items() if _is_sent(*key)}
    names = [name for name, _ in sent]
    return [
        _parameter(schemas, name, place, fields, plain=names.count(name) == 1 and name != "body")
        for (name, place), fields in sent.items()
    ]


def _is_sent(name: str, place: str) -> bool:
    """Tell whether the model gives this parameter; OpenAPI itself says to ignore these three headers."""
    return place in {"path", "query"} or (
        place == "header" and name.lower() not in {"accept", "content-type", "authorization"}
    )


def _parameter(schemas: Schemas, name: str, place: str, fields: dict[str, Any], *, plain: bool) -> Parameter:
    schema = schemas.translate(fields.get("schema", {"type": "string"}))
    if isinstance(schema, dict) and fields.get("description"):
        schema = {**cast("dict[str, Any]", schema), "description": str(fields["description"])[:1_000]}
    argument = re.sub(r"[^A-Za-z0-9_.-]+", "_", name if plain else f"{name}_{place}")[:64]
    style = str(fields.get("style") or ("form" if place == "query" else "simple"))
    explode = bool(fields.get("explode", style == "form"))
    required = place == "path" or fields.get("required") is True
    return Parameter(argument, name, place, required, schema, style, explode)


def _body(document: Mapping[str, Any], schemas: Schemas, body: Any) -> tuple[Any, str, bool]:  # noqa: ANN401 - any JSON
    if body is None:
        return None, "", False
    fields = _resolved(document, body)
    content = json_object(fields.get("content"))
    for kind, media in content.items():
        if _JSON.match(kind) or kind.startswith(_FORM):
            schema = schemas.translate(json_object(media).get("schema", {}))
            return schema, kind if _JSON.match(kind) else _FORM, fields.get("required") is True
    if fields.get("required") is True:
        raise _invalid(f"a body of type {', '.join(content) or 'none'} cannot be sent; JSON and forms can")
    return None, "", False


def _resolved(document: Mapping[str, Any], entry: Any) -> dict[str, Any]:  # noqa: ANN401 - any JSON
    """Follow references to components that are no schemas, a bounded number of times."""
    fields = json_object(entry)
    for _ in range(_MAX_REFERENCES):
        reference = fields.get("$ref")
        if not isinstance(reference, str):
            return fields
        here: Any = document
        for step in reference.removeprefix("#/").split("/"):
            here = json_object(here).get(step.replace("~1", "/").replace("~0", "~"))
        if not isinstance(here, dict):
            raise _invalid(f"{reference[:200]!r} is not in the document")
        fields = json_object(cast("Any", here))
    raise _invalid("its references go round in a circle")


def _segment(parameter: Parameter, value: Any) -> str:  # noqa: ANN401 - any JSON
    text = _flat(value)
    if set(text) <= {"."}:  # empty, `.` or `..`: they would name another path
        raise Invalid(
            "A value would lead out of the operation's path.",
            errors=[FieldError(f"/{parameter.argument}", "may not be empty or of dots only")],
        )
    return quote(text, safe=",")


def _pairs(parameter: Parameter, value: Any) -> list[tuple[str, str]]:  # noqa: ANN401 - any JSON
    name = parameter.name
    if isinstance(value, list) and parameter.explode:
        return [(name, _flat(item)) for item in cast("list[Any]", value)]
    if isinstance(value, dict):
        fields = cast("dict[str, Any]", value)
        if parameter.style == "deepObject":
            return [(f"{name}[{k}]", _flat(v)) for k, v in fields.items()]
        if parameter.explode:
            return [(k, _flat(v)) for k, v in fields.items()]
    return [(name, _flat(value))]


def _flat(value: Any) -> str:  # noqa: ANN401 - any JSON
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case list():
            return ",".join(_flat(item) for item in cast("list[Any]", value))
        case dict():
            return orjson.dumps(value).decode()
        case None:
            return ""
        case _:
            return str(value)


def _list(value: Any) -> list[Any]:  # noqa: ANN401 - any JSON
    return cast("list[Any]", value) if isinstance(value, list) else []


def _invalid(detail: str) -> Invalid:
    return Invalid("This operation cannot be used.", errors=[FieldError("/config/operations", detail)])
