"""What the tools of one process may reach, under the names that `ToolContext.resources` promises."""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

from agent_factory.kit.redaction import Redactor
from agent_factory.runtime.secrets import NoStore, Secrets, SecretStore
from agent_factory.runtime.settings import Opened, ToolsSettings
from agent_factory.security.egress import Egress

if TYPE_CHECKING:
    from agent_factory.security.audit import Lookout  # which needs a database, as scripts do not

O = TypeVar("O", bound=Opened)  # noqa: E741 - what is opened

Room = Callable[[UUID, int], AbstractAsyncContextManager[None]]
"""Gives a context in which an organisation stores so many bytes more; it raises where there is no room for them."""

Home = Callable[[], Awaitable[UUID | None]]
"""Tells the installation's first organisation."""

_NARROW = "narrow"
"""The door behind which stands what differs from one organisation to the next."""


async def _nobody() -> UUID | None:
    return None


def doors(
    settings: ToolsSettings,
    egress: Egress,
    workspace: Path,
    *,
    store: SecretStore | None = None,
    redactor: Redactor | None = None,
    home: Home = _nobody,
    lookout: "Lookout | None" = None,
    room: Room | None = None,
) -> dict[str, Any]:
    """Open what the settings allow; `workspace` is the folder of files, or of one such folder an organisation.

    Without a `store` there are only the operator's secrets, as in a script; a
    `lookout` is told where organisations reach for, and `room` asked before
    they store files.
    """

    async def narrow(organization_id: str) -> dict[str, Any]:
        first = await home() if organization_id else None

        def opened(things: Mapping[str, O]) -> dict[str, O]:
            return {name: thing for name, thing in things.items() if thing.open_to(organization_id, first)}

        known = redactor or Redactor()

        def mask(text: str) -> str:
            return known.text(text, organization_id)

        secrets = Secrets(organization_id, opened(settings.secrets), store or NoStore(), known)
        watched = egress.watched(lookout.of(UUID(organization_id))) if lookout and organization_id else egress
        return {
            "egress": watched,
            "secrets": secrets.reveal,
            "mask": mask,
            "databases": {name: each.url.get_secret_value() for name, each in opened(settings.databases).items()},
            "mcp_servers": {name: each.entry() for name, each in opened(settings.mcp_servers).items()},
            **({"room": partial(room, UUID(organization_id))} if room and organization_id else {}),
        }

    return {
        "egress": egress,
        "private_hosts": settings.private_hosts,
        "workspace": workspace,
        "search_urls": settings.search_urls,
        _NARROW: narrow,
    }


async def own_doors(doors: Mapping[str, Any], organization_id: str) -> dict[str, Any]:
    """Narrow what a process may reach to what one organisation may: its secrets, and files in a folder of its own.

    Without an organisation, as in a script, everything is open.
    """
    own = dict(doors)
    narrow: Callable[[str], Awaitable[dict[str, Any]]] | None = own.pop(_NARROW, None)
    if narrow is not None:
        own |= await narrow(organization_id)
    if organization_id and "workspace" in own:
        own["workspace"] = own["workspace"] / organization_id
    return own
