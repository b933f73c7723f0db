"""What travels about tools."""

from typing import Any

from pydantic import Field

from agent_factory.api.paging import PageOf
from agent_factory.api.schemas import Input, Output


class ToolOut(Output):
    """A tool that agents may use; `config_schema` is the JSON Schema of its settings."""

    id: str
    name: str
    description: str
    config_schema: dict[str, Any]


class ToolPage(PageOf[ToolOut]):
    """A page of tools, by name."""


class ToolInvoke(Input):
    """One call. `name` picks the tool where a plugin makes several."""

    arguments: dict[str, Any] = Field(default_factory=dict)
    config: dict[str, Any] = Field(default_factory=dict)
    name: str | None = Field(default=None, max_length=64)


class ToolResult(Output):
    """What the tool gave; with `is_error`, why it failed and under which `code`."""

    content: str
    is_error: bool
    code: str | None
    duration_ms: int
