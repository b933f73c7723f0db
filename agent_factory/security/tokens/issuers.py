"""Everybody whose access tokens count beside our own."""

import asyncio
import time
from uuid import UUID

from agent_factory.security.egress import Egress
from agent_factory.security.tokens.foreign import Vouched, head_of, read, said_issuer
from agent_factory.security.tokens.jwks import Published
from agent_factory.security.tokens.settings import AuthSettings, IssuerSettings
from agent_factory.security.tokens.signed import invalid


class Issuer:
    """One other issuer, and the organisation in which its tokens count."""

    def __init__(self, settings: IssuerSettings, egress: Egress) -> None:
        """Fetch nothing yet."""
        self._settings = settings
        self._published = Published(egress, settings)

    @property
    def name(self) -> str:
        """What it calls itself."""
        return self._settings.issuer

    @property
    def organization_id(self) -> UUID:
        """The organisation of whoever it vouches for."""
        return self._settings.organization

    async def verify(self, token: str) -> Vouched:
        """Read a token; anything wrong with it is `BadToken`, and `IssuerAway` while its keys are not known."""
        head = head_of(token)
        key = await self._published.key(head.kid, head.algorithm)
        if key is None:
            raise invalid()
        return read(token, head, key, self._settings, int(time.time()))

    async def close(self) -> None:
        """Drop what is being fetched."""
        await self._published.close()


class Issuers:
    """The issuers of the settings, by their exact names."""

    def __init__(self, settings: AuthSettings, egress: Egress) -> None:
        """Fetch nothing yet."""
        self._by_name = {each.issuer: Issuer(each, egress) for each in settings.issuers}

    def of(self, token: str) -> Issuer | None:
        """Give whose token something says it is, if it is none of ours; nothing of it is verified yet."""
        if not self._by_name:
            return None
        name = said_issuer(token)
        return None if name is None else self._by_name.get(name)

    async def close(self) -> None:
        """Drop what is being fetched."""
        await asyncio.gather(*(each.close() for each in self._by_name.values()))
