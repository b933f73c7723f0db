"""Who may do what: roles, permissions, and the one decision (S43, S47 to S54, merge 9).

A permission is `noun:verb`. A right is a permission, `noun:*` or `*`.
"""

from collections.abc import Collection, Mapping
from uuid import UUID

from agent_factory.kit.errors import Kind, Problem
from agent_factory.security.auth import Actor

MEMBER = "member"
"""What everyone may who belongs to the organisation."""

_VIEWER = frozenset({"agent:read", "workflow:read"})
_DEVELOPER = _VIEWER | {
    f"{noun}:{verb}" for noun in ("agent", "workflow") for verb in ("create", "edit", "run", "delete", "publish")
}
_TEAM_LEAD = frozenset({"agent:*", "workflow:*", "team:*", "marketplace:*", "apikey:*"})

ROLES: Mapping[str, frozenset[str]] = {
    "admin": frozenset({"*"}),
    "organization_owner": _TEAM_LEAD | {"org:*", "user:manage", "billing:*"},
    "team_lead": _TEAM_LEAD,
    "developer": _DEVELOPER | {"apikey:*"},
    "viewer": _VIEWER,
}
"""The specification's five roles; each of the last three holds what the one below it may (merge 9)."""

NOUNS = frozenset({"agent", "workflow", "team", "org", "user", "billing", "marketplace", "apikey"})
"""What rights are about."""


class Denied(Problem):
    """The caller's role, key or token lacks a permission."""

    kind = Kind.FORBIDDEN
    code = "permission_denied"
    title = "Permission denied"


def allows(rights: Collection[str], permission: str) -> bool:
    """Tell whether some rights hold a permission."""
    return permission in rights or "*" in rights or f"{permission.partition(':')[0]}:*" in rights


def may(actor: Actor, permission: str, resource: UUID | None = None) -> bool:
    """Tell whether a caller may do something, to one resource if it is named.

    A grant gives a right to one resource beside those of the role. The scopes
    of a key or token bound both.
    """
    if permission == MEMBER:
        return True
    if not allows(actor.scopes, permission):
        return False
    if allows(actor.rights, permission):
        return True
    return resource is not None and allows(actor.grants.get(resource, ()), permission)


def check(actor: Actor, permission: str, resource: UUID | None = None) -> None:
    """Raise `Denied` unless the caller may."""
    if not may(actor, permission, resource):
        raise Denied(f"This needs the permission {permission}, which your role, key or token does not give.")
