"""The OpenAPI 3.1 document of an application."""

from typing import Any, Literal, cast

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from agent_factory.api.schemas import DEFINITION, OpenAIError, ProblemDocument
from agent_factory.core.agent import Agent
from agent_factory.core.workflow import Workflow

_REF = "#/components/schemas/{model}"
_ALSO: tuple[tuple[type[BaseModel], Literal["serialization", "validation"]], ...] = (
    (ProblemDocument, "serialization"),
    (OpenAIError, "serialization"),
    (Agent, "validation"),
    (Workflow, "validation"),
)
"""Schemas that routes refer to by name."""
_CREDENTIALS = [{"api_key": list[str]()}]
_ABOUT = "Build, run, expose and sell AI agents. Errors are RFC 9457 problems with a stable `code`."


def document(app: FastAPI) -> dict[str, Any]:
    """Give the document, made once for an application."""
    known = app.openapi_schema
    if known is None:
        made = get_openapi(
            title=app.title,
            version=app.version,
            description=_ABOUT,
            routes=app.routes,
            separate_input_output_schemas=True,
        )
        _secure(made["paths"])
        schemas: dict[str, Any] = made.setdefault("components", {}).setdefault("schemas", {})
        for model, mode in _ALSO:
            schema = model.model_json_schema(ref_template=_REF, mode=mode)
            schemas.update(schema.pop("$defs", {}))
            schemas[model.__name__] = schema
        app.openapi_schema = known = cast("dict[str, Any]", _with_definitions(made))
    return known


def _secure(paths: dict[str, Any]) -> None:
    """Say of every operation that needs a permission that it needs credentials, whether or not it looks at them."""
    for item in paths.values():
        for operation in item.values():
            if "x-permission" in operation:
                operation["security"] = _CREDENTIALS


def _with_definitions(node: Any) -> Any:  # noqa: ANN401 - any JSON value
    if isinstance(node, dict):
        members = cast("dict[str, Any]", node)
        if DEFINITION in members:
            return {"$ref": _REF.format(model=members[DEFINITION])}
        return {name: _with_definitions(value) for name, value in members.items()}
    if isinstance(node, list):
        return [_with_definitions(item) for item in cast("list[Any]", node)]
    return node
