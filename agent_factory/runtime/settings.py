"""What this installation opens to the tools of its agents, and how its runs survive."""

from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr

from agent_factory.kit import ids
from agent_factory.kit.errors import NotFound

EVERY = "*"
"""Opens something to every organisation, or a secret to every host."""


def _organization(text: str) -> str:
    if text == EVERY:
        return text
    try:
        return str(ids.decode("org", text))
    except NotFound:
        raise ValueError("name an organisation by its id, org_…, or write * for all") from None


class Opened(BaseModel):
    """Something of the operator's, and the organisations that may name it: the first one, where none is named."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    organizations: tuple[Annotated[str, AfterValidator(_organization)], ...] = ()

    def open_to(self, organization_id: str, home: UUID | None) -> bool:
        """Tell whether an organisation may name it; `home` is the first one. A script, without one, may."""
        if not organization_id or EVERY in self.organizations:
            return True
        if not self.organizations:
            return home is not None and organization_id == str(home)
        return organization_id in self.organizations


class OperatorSecret(Opened):
    """A value of the operator's, and the hosts that it may be sent to."""

    value: SecretStr
    hosts: tuple[str, ...] = Field(default=(EVERY,), min_length=1)


class OperatorDatabase(Opened):
    """A database that `sql_query` may be told to use."""

    url: SecretStr


class OperatorMcpServer(Opened):
    """A command that this machine starts for `mcp`; what `env` holds is not shown."""

    command: str
    args: tuple[str, ...] = ()
    env: dict[str, SecretStr] = {}

    def entry(self) -> dict[str, Any]:
        """Give the command as the tool starts it."""
        env = {name: value.get_secret_value() for name, value in self.env.items()}
        return {"command": self.command, "args": list(self.args), "env": env}


def _alone(field: str) -> BeforeValidator:
    """Let a plain text stand for an object with one field."""
    return BeforeValidator(lambda given: {field: given} if isinstance(given, str | SecretStr) else given)


class ToolsSettings(BaseModel):
    """What tools may reach here, each by a name that agents use.

    `workspace` holds one folder of files for each organisation. `databases`
    are `{url, organizations}` by name, `mcp_servers` the commands that may be
    started, as `{command, args, env, organizations}`, `secrets` the values that
    a tool's settings may name, as `{value, hosts, organizations}`; a plain text
    is a URL or a value alone. Without `organizations`, the first organisation
    of the installation may name it. `private_hosts` are the `host:port` that
    are open although private, `search_urls` other addresses of the search
    engines.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    workspace: Path | None = None
    databases: dict[str, Annotated[OperatorDatabase, _alone("url")]] = {}
    mcp_servers: dict[str, OperatorMcpServer] = {}
    secrets: dict[str, Annotated[OperatorSecret, _alone("value")]] = {}
    private_hosts: tuple[str, ...] = ()
    search_urls: dict[str, str] = {}


class EngineSettings(BaseModel):
    """How runs survive their process; times in seconds.

    A process that has not beaten for `lease` loses its runs to the others. A
    run is worked on at most `attempts` times before it counts as failed.
    `patience` is how long an unfinished turn waits for a database that is away.
    `history_bytes` bounds the conversations that are kept in memory.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    lease: float = Field(default=10.0, gt=0)
    beat: float = Field(default=2.0, gt=0)
    attempts: int = Field(default=3, ge=1)
    patience: float = Field(default=10.0, gt=0)
    history_bytes: int = Field(default=64_000_000, ge=0)
