"""What every room's schemas share: strict input, plain output, ids, errors."""

import re
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    PlainSerializer,
    WithJsonSchema,
)
from pydantic_core import CoreSchema, core_schema

from agent_factory.kit import ids
from agent_factory.kit.clock import rfc3339
from agent_factory.kit.errors import NotFound


class Input(BaseModel):
    """A body that refuses unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Act(Input):
    """A request that needs no more words."""


class Output(BaseModel):
    """An answer, read from a record's attributes."""

    model_config = ConfigDict(frozen=True, from_attributes=True)


class Id:
    """An id of one kind: a UUID inside, prefixed text outside.

    In a path, text that is no such id means that there is no such object;
    with `strict` false (in bodies and queries) it is a fault of the field.
    """

    def __init__(self, prefix: str, *, in_path: bool = False) -> None:
        self.prefix = prefix
        self.in_path = in_path

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Read text and UUIDs, write text."""
        return core_schema.no_info_plain_validator_function(
            self._read,
            serialization=core_schema.plain_serializer_function_ser_schema(
                self._write, return_schema=core_schema.str_schema()
            ),
        )

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Describe the text."""
        return {
            "type": "string",
            "pattern": f"^{self.prefix}_[0-9a-hjkmnp-tv-z]{{26}}$",
            "maxLength": len(self.prefix) + 27,
        }

    def _read(self, value: object) -> UUID:
        if isinstance(value, UUID):
            return value
        try:
            return ids.decode(self.prefix, str(value))
        except NotFound as problem:
            if self.in_path:
                raise
            raise ValueError(problem.detail) from None

    def _write(self, value: UUID) -> str:
        return ids.encode(self.prefix, value)


DEFINITION = "x-definition"
"""Marks a schema that the document replaces by the one of the definition that it names."""


def definition_of(name: str) -> dict[str, Any]:
    """Give the schema of a definition as it travels: `Agent` or `Workflow`."""
    return {"type": "object", DEFINITION: name}


Definition = Annotated[dict[str, Any], WithJsonSchema(definition_of("Agent"))]
"""An agent's definition as it travels; `core.agent` reads it, so that every fault has its pointer."""

Moment = Annotated[datetime, PlainSerializer(rfc3339, return_type=str)]
"""An instant, written as RFC 3339 in UTC."""

_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(?:\.\d+)?(?:[Zz]|[+-]\d\d:\d\d)", re.ASCII)


def _instant(value: object) -> object:
    """Refuse what else could be read as a time, such as seconds since 1970."""
    if isinstance(value, str) and not _RFC3339.fullmatch(value):
        raise ValueError("has to be a time as in RFC 3339, such as 2026-11-21T08:00:00Z")
    return value


Instant = Annotated[AwareDatetime, BeforeValidator(_instant)]
"""An instant as callers write it: RFC 3339 with its offset, and nothing else."""


class Fault(BaseModel):
    """One fault in the request, at a JSON pointer into it."""

    pointer: str
    detail: str


class ProblemDocument(BaseModel):
    """An error, as RFC 9457 has it; `code` is stable and safe to branch on."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    instance: str | None = None
    request_id: str | None = None
    errors: list[Fault] | None = None


class OpenAIFault(BaseModel):
    """What went wrong, as OpenAI's clients read it."""

    message: str
    type: str
    param: str | None
    code: str | None


class OpenAIError(BaseModel):
    """An error under /v1."""

    error: OpenAIFault
