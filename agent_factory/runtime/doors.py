"""What the tools of one process may reach, under the names that `ToolContext.resources` promises."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agent_factory.kit.errors import NotFound
from agent_factory.runtime.settings import ToolsSettings
from agent_factory.security.egress import Egress


def doors(settings: ToolsSettings, egress: Egress, workspace: Path) -> dict[str, Any]:
    """Open what the settings allow; `workspace` is the folder of files, or of one such folder an organisation."""

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


def own_doors(doors: Mapping[str, Any], organization_id: str) -> dict[str, Any]:
    """Narrow what a process may reach to what one organisation may: its files are in a folder of its own.

    Without an organisation, as in a script, nothing changes.
    """
    own = dict(doors)
    if organization_id and "workspace" in own:
        own["workspace"] = own["workspace"] / organization_id
    return own
