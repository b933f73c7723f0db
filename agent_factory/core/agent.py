"""An agent as a definition: instructions, model, tools, memory, guardrails and limits (S55)."""

import hashlib
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, Literal, cast

import msgspec
import pydantic
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetPydanticSchema,
    ValidatorFunctionWrapHandler,
    field_serializer,
)
from pydantic_core import CoreSchema, core_schema

from agent_factory.core.model import ModelSettings
from agent_factory.core.schema import Schema, refused
from agent_factory.core.tool import Tool
from agent_factory.kit.errors import Invalid

NAME = r"^[a-z0-9]([a-z0-9_-]{0,62}[a-z0-9])?$"
"""Names that are safe in an id such as `agent:support`: lower case, digits, `-` and `_`."""


class Strict(BaseModel):
    """A frozen part of a definition that refuses unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ToolUse(Strict):
    """A tool that an agent may call, by plugin name, with its settings.

    `permission: ask` makes a person decide each call, `deny` forbids it.
    """

    use: str = Field(min_length=1, max_length=200)
    name: str | None = Field(default=None, pattern=r"^[A-Za-z0-9_-]{1,64}$")
    permission: Literal["allow", "ask", "deny"] = "allow"
    config: dict[str, Any] = {}


class Memory(Strict):
    """How much of a conversation a model sees.

    `full` sends everything and fails clearly when the window is exceeded,
    `window` sends the newest messages that fit `max_tokens`, `summary` replaces
    what does not fit by a running summary.
    """

    type: Literal["full", "window", "summary"] = "full"
    max_tokens: int | None = Field(default=None, ge=100)


class GuardrailUse(Strict):
    """A rule over what goes in, out, or to tools.

    `on` names the places, by default those where the rule makes sense;
    `action` what happens to a match, by default what fits rule and place:
    `block` ends the turn, `redact` replaces the match, `ask` waits for a person.
    """

    use: Literal["pii", "secrets", "injection", "schema", "topics"]
    on: tuple[Literal["input", "output", "tools"], ...] | None = Field(default=None, min_length=1)
    action: Literal["block", "redact", "ask"] | None = None
    config: dict[str, Any] = {}


class Limits(Strict):
    """What one turn may use; the first limit that is reached ends it with a clear error."""

    steps: int = Field(default=25, ge=1, le=1000)
    tokens: int | None = Field(default=None, ge=1)
    seconds: float = Field(default=300.0, gt=0, le=86_400, allow_inf_nan=False)
    tool_calls: int = Field(default=100, ge=0, le=10_000)
    usd: Decimal | None = Field(default=None, ge=0, allow_inf_nan=False)


class Retry(Strict):
    """How often a failing model call is tried in all, and the first pause in seconds."""

    attempts: int = Field(default=3, ge=1, le=10)
    backoff: float = Field(default=0.5, ge=0, le=60, allow_inf_nan=False)


def _record(value: object) -> object:
    """Read a bare name as a record that sets nothing else."""
    if isinstance(value, str):
        return {"use": value}
    if isinstance(value, dict | Strict):
        return cast("object", value)
    raise ValueError("name it in words, or give a record with `use`")


def _tool(value: object, handler: ValidatorFunctionWrapHandler) -> Tool | ToolUse:
    return value if isinstance(value, Tool) else handler(_record(value))


def _tool_schema(_source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
    # A union would do as well, but puts the names of its branches into the pointers of faults.
    named = core_schema.union_schema([core_schema.str_schema(), record := handler(ToolUse)])
    return core_schema.no_info_wrap_validator_function(_tool, record, json_schema_input_schema=named)


def _guardrail_schema(_source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
    named = core_schema.union_schema([core_schema.str_schema(), record := handler(GuardrailUse)])
    return core_schema.no_info_before_validator_function(_record, record, json_schema_input_schema=named)


_ToolItem = Annotated[Tool | ToolUse | str, GetPydanticSchema(_tool_schema)]
_GuardrailItem = Annotated[GuardrailUse | str, GetPydanticSchema(_guardrail_schema)]


class Agent(Strict):
    """A definition that can be run, versioned and packed into a blueprint.

    `model` is `default`, `vendor:model` or `demo`; `output` a JSON Schema that
    the final answer has to meet. `tools` takes plugin names, `ToolUse` records
    and, in a script, functions made into a `Tool`.
    """

    name: str = Field(pattern=NAME)
    description: str = Field(default="", max_length=10_000)
    model: str = Field(default="default", min_length=1, max_length=200)
    instructions: str = Field(default="", max_length=200_000)
    tools: tuple[_ToolItem, ...] = Field(default=(), max_length=128)
    memory: Memory = Memory()
    guardrails: tuple[_GuardrailItem, ...] = Field(default=(), max_length=32)
    output: dict[str, Any] | None = None
    limits: Limits = Limits()
    retry: Retry = Retry()
    settings: ModelSettings = ModelSettings()
    metadata: dict[str, str] = {}

    @pydantic.field_validator("output")
    @classmethod
    def _compiles(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        if value is not None:
            try:
                Schema(value)
            except Invalid as error:
                raise ValueError(error.errors[0].detail) from None
        return value

    @field_serializer("tools")
    def _tool_names(self, tools: tuple[Tool | ToolUse, ...]) -> list[Any]:
        short: list[Any] = []
        for item in tools:
            if isinstance(item, Tool):
                short.append(item.name)
            else:
                data = item.model_dump(mode="json", exclude_defaults=True)
                short.append(item.use if data.keys() == {"use"} else data)
        return short

    def to_dict(self) -> dict[str, Any]:
        """Give the definition as plain JSON data, defaults left out."""
        document = self.model_dump(mode="json", exclude_defaults=True)
        if not self.tools:  # what has a serializer of its own is not compared with its default
            document.pop("tools", None)
        return document

    @property
    def tool_uses(self) -> tuple[Tool | ToolUse, ...]:
        """The tools, each name read as a record."""
        return cast("tuple[Tool | ToolUse, ...]", self.tools)

    @property
    def guardrail_uses(self) -> tuple[GuardrailUse, ...]:
        """The guardrails, each name read as a record."""
        return cast("tuple[GuardrailUse, ...]", self.guardrails)

    @property
    def digest(self) -> str:
        """Name the content: SHA-256 over the canonical JSON, in hex."""
        return digest(self.to_dict())


def digest(document: object) -> str:
    """Name plain JSON data by its content: SHA-256 over JSON with sorted keys, in hex."""
    return hashlib.sha256(msgspec.json.encode(document, order="sorted")).hexdigest()


def parse_agent(document: object) -> Agent:
    """Read a definition; every fault is named by a JSON pointer in one `Invalid`."""
    try:
        return Agent.model_validate(document)
    except pydantic.ValidationError as error:
        raise invalid(error) from None


def invalid(error: pydantic.ValidationError, at: str = "") -> Invalid:
    """Turn pydantic's report on a definition into ours: one fault a place, with pointers below `at`."""
    faults = refused(error, at=at).errors
    return Invalid(f"{len(faults)} fault(s) in the definition.", errors=faults)


class AgentStatus(StrEnum):
    """Where an agent is in its life (S55)."""

    DRAFT = "draft"
    ACTIVE = "active"
    DEPLOYED = "deployed"
    PAUSED = "paused"
    ARCHIVED = "archived"


NEXT_STATUS: dict[AgentStatus, frozenset[AgentStatus]] = {
    AgentStatus.DRAFT: frozenset({AgentStatus.ACTIVE, AgentStatus.DEPLOYED, AgentStatus.ARCHIVED}),
    AgentStatus.ACTIVE: frozenset({AgentStatus.DEPLOYED, AgentStatus.ARCHIVED}),
    AgentStatus.DEPLOYED: frozenset({AgentStatus.DEPLOYED, AgentStatus.PAUSED, AgentStatus.ARCHIVED}),
    AgentStatus.PAUSED: frozenset({AgentStatus.DEPLOYED, AgentStatus.ARCHIVED}),
    AgentStatus.ARCHIVED: frozenset(),
}
"""The statuses that may follow each; an archived agent stays archived."""
