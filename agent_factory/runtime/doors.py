"""What the tools of one process may reach, under the names that `ToolContext.resources` promises."""

from pathlib import Path
from typing import Any

from agent_factory.kit.errors import NotFound
from agent_factory.runtime.settings import ToolsSettings
from agent_factory.security.egress import Egress


def doors(settings: ToolsSettings, egress: Egress, workspace: Path) -> dict[str, Any]:
    """Open what the settings allow; `workspace` is the folder of files."""

    def secret(name: str) -> str:
        """Give a secret's value; one that is not set is `NotFound`."""
        if name not in settings.secrets:
            raise NotFound(f"There is no secret {name!r} here; the operator sets it in AF_TOOLS__SECRETS.")
        return settings.secrets[name].get_secret_value()

    return {
        "egress": egress,
        "private_hosts": settings.private_hosts,
        "workspace": workspace,
        "secrets": secret,
        "databases": {name: url.get_secret_value() for name, url in settings.databases.items()},
        "mcp_servers": settings.mcp_servers,
        "search_urls": settings.search_urls,
    }
