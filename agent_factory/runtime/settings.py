"""What this installation opens to the tools of its agents, and how its runs survive."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, SecretStr


class ToolsSettings(BaseModel):
    """What tools may reach here, each by a name that agents use.

    `workspace` holds one folder of files for each organisation. `databases`
    are URLs by name, `mcp_servers` the commands that may be started, as
    `{command, args, env}`, `secrets` the values that a tool's settings may
    name, `private_hosts` the `host:port` that are open although private, and
    `search_urls` other addresses of the search engines.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    workspace: Path | None = None
    databases: dict[str, SecretStr] = {}
    mcp_servers: dict[str, dict[str, Any]] = {}
    secrets: dict[str, SecretStr] = {}
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
