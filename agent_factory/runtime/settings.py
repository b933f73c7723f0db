"""What this installation opens to the tools of its agents."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, SecretStr


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
