"""Pure decisions over organisations and their people."""

import hashlib
import secrets
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from agent_factory.database.models import InvitationRow
from agent_factory.kit.errors import FieldError
from agent_factory.security.rbac import RIGHTS, ROLES
from agent_factory.services.organizations.errors import UnknownRights

INVITED_FOR = timedelta(days=7)
"""How long an invitation can be accepted."""

RESERVED = frozenset({*ROLES, "owner", "organization_admin", "system", "member", "service"})
"""Names that no role of an organisation's own may have."""

MOST_ROLES = 100
"""Roles that an organisation may make."""

MOST_GRANTS = 1000
"""Grants that one person or one team may have; all of them are read whenever somebody comes in."""

MOST_FOUNDED = 25
"""Organisations that one account may lead."""

_OF_A_RESOURCE = ("read", "edit", "run", "publish", "delete", "*")


def new_token() -> str:
    """Make the secret of an invitation."""
    return f"inv_{secrets.token_urlsafe(32)}"


def token_hash(token: str) -> bytes:
    """Hash a token as it is stored; 256 random bits need no slow hash."""
    return hashlib.sha256(token.encode()).digest()


def status_of(invitation: InvitationRow, moment: datetime) -> str:
    """Tell what became of an invitation: `open`, `accepted`, `revoked` or `expired`."""
    if invitation.accepted_at is not None:
        return "accepted"
    if invitation.revoked_at is not None:
        return "revoked"
    return "open" if invitation.expires_at > moment else "expired"


def checked_rights(rights: Sequence[str], noun: str | None = None) -> list[str]:
    """Give rights in order, each once; raises `UnknownRights` with a pointer to each that is none.

    With a `noun`, only those to a single resource of that kind are.
    """
    known = RIGHTS if noun is None else frozenset(f"{noun}:{verb}" for verb in _OF_A_RESOURCE)
    faults = [
        FieldError(f"/rights/{index}", _no_right(right, known))
        for index, right in enumerate(rights)
        if right not in known
    ]
    if faults:
        raise UnknownRights(f"{len(faults)} of the rights are none.", errors=faults)
    return sorted(set(rights))


def _no_right(right: str, known: Iterable[str]) -> str:
    noun = right.partition(":")[0]
    near = sorted(each for each in known if each.partition(":")[0] == noun) or sorted(known)
    return f"{right[:50]!r} is no right here; there are: {', '.join(near)}"
