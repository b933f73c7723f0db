"""Who is calling."""

from uuid import UUID

import msgspec


class Actor(msgspec.Struct, frozen=True):
    """A verified caller, acting in exactly one organisation."""

    organization_id: UUID
    user_id: UUID
    role: str
    key_id: UUID | None = None
    scopes: tuple[str, ...] = ("*",)
