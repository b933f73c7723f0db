"""What a file in `tools/` ends in: a name, words, settings, and how its tools are made of them."""

from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

import pydantic

from agent_factory.core.schema import parse
from agent_factory.core.tool import Tool, ToolContext


class Settings(pydantic.BaseModel):
    """Settings of one tool: frozen, unknown keys refused."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")


S = TypeVar("S", bound=Settings)

Make = Callable[[S, str | None, ToolContext], Awaitable[list[Tool]]]
"""Makes the tools of checked settings, a name and the context of the building."""


class ToolPlugin(Generic[S]):
    """A `ToolFactory` over a settings model; `example` is the smallest setting that works."""

    def __init__(
        self, name: str, description: str, settings: type[S], make: Make[S], *, example: dict[str, Any] | None = None
    ) -> None:
        """Derive the JSON Schema of the settings."""
        self.name = name
        self.description = description
        self.config_schema: dict[str, Any] = settings.model_json_schema() | {"examples": [example or {}]}
        self._settings = settings
        self._make = make

    async def build(
        self, config: dict[str, Any], name: str | None = None, context: ToolContext | None = None
    ) -> list[Tool]:
        """Check the settings (`Invalid` with pointers below `/config`) and make the tools."""
        return await self._make(parse(self._settings, config, at="/config"), name, context or ToolContext())
