"""What travels about tools and secrets."""

from typing import Annotated, Any
from uuid import UUID

from pydantic import Field, StringConstraints

from agent_factory.api.paging import PageOf
from agent_factory.api.schemas import Id, Input, Moment, Output
from agent_factory.services.integrations.rules import LONGEST, SHORTEST


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


class ToolDescribe(Input):
    """The settings of one use, and the name that it has in the definition, if any."""

    config: dict[str, Any] = Field(default_factory=dict)
    name: str | None = Field(default=None, max_length=64)


class DescribedTool(Output):
    """A tool as models are told of it; `fingerprint` is what `pins` of an MCP server approve it by."""

    name: str
    description: str
    parameters: dict[str, Any]
    fingerprint: str


class Described(Output):
    """The tools of one use."""

    data: list[DescribedTool]


class ToolResult(Output):
    """What the tool gave; with `is_error`, why it failed and under which `code`."""

    content: str
    is_error: bool
    code: str | None
    duration_ms: int


SecretName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,63}$")]
"""How agents and workflows name a secret."""

SecretValue = Annotated[
    str,
    StringConstraints(min_length=SHORTEST, max_length=LONGEST),
    Field(repr=False, json_schema_extra={"format": "password", "writeOnly": True}),
]
Hosts = Annotated[
    list[Annotated[str, StringConstraints(min_length=1, max_length=260)]], Field(min_length=1, max_length=50)
]
"""Exact hosts, with `:port` where it is not the usual; `*.example.com` for all below a domain."""


class SecretCreate(Input):
    """A secret, and the hosts that it may be sent to."""

    name: SecretName
    value: SecretValue
    hosts: Hosts
    description: str = Field(default="", max_length=1_000)


class SecretReplace(Input):
    """Another value; `hosts` and `description` stay where they are left out."""

    value: SecretValue
    hosts: Hosts | None = None
    description: str | None = Field(default=None, max_length=1_000)


class SecretOut(Output):
    """A secret without its value; `fingerprint` changes with every new value, and says nothing about it."""

    id: Annotated[UUID, Id("sec")]
    name: str
    description: str
    hosts: list[str]
    fingerprint: str
    created_at: Moment
    updated_at: Moment
    last_used_at: Moment | None


class SecretPage(PageOf[SecretOut]):
    """A page of secrets."""
