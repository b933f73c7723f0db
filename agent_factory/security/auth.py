"""Who is calling."""

from collections.abc import Mapping
from uuid import UUID

import msgspec


class Actor(msgspec.Struct, frozen=True, kw_only=True):
    """A verified caller, acting in exactly one organisation.

    `rights` are those of the caller's role now, `grants` those to single
    resources by their ids; `scopes` are what the key or token may use of them.
    `organization_status` is `active`, `suspended` or `deleted`. `issuer` is who
    vouched for the caller, where that was somebody else.
    """

    organization_id: UUID
    user_id: UUID
    role: str
    key_id: UUID | None = None
    session_id: UUID | None = None
    rights: frozenset[str] = frozenset()
    scopes: frozenset[str] = frozenset({"*"})
    grants: Mapping[UUID, frozenset[str]] = {}
    organization_status: str = "active"
    issuer: str | None = None


def system(organization_id: UUID, user_id: UUID) -> Actor:
    """Give the caller that stands for the product itself, such as a schedule of an organisation."""
    return Actor(organization_id=organization_id, user_id=user_id, role="system", rights=frozenset({"*"}))
