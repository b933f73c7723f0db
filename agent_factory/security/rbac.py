"""Who may do what: roles, permissions, and the one decision (S43, S47 to S54, merge 9).

A permission is `noun:verb`. A right is a permission, `noun:*` or `*`.
"""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from uuid import UUID

from agent_factory.kit.errors import Kind, Problem
from agent_factory.security.auth import Actor

MEMBER = "member"
"""What everyone may who belongs to the organisation."""

SELF = "self:manage"
"""What everyone may do about his own account and membership, unless his key or token is for less."""

_LIFE = ("read", "create", "edit", "run", "publish", "delete")

VERBS: Mapping[str, tuple[str, ...]] = {
    "agent": _LIFE,
    "workflow": _LIFE,
    "team": ("create", "edit", "delete", "grant"),
    "org": ("edit", "suspend", "delete", "roles", "audit", "budgets", "quotas", "secrets", "usage"),
    "user": ("manage",),
    "billing": ("read", "manage"),
    "marketplace": ("publish", "purchase"),
    "apikey": ("read", "create", "delete"),
}
"""Every permission, by its noun."""

NOUNS = frozenset(VERBS)
"""What rights are about."""

PERMISSIONS = frozenset(f"{noun}:{verb}" for noun, verbs in VERBS.items() for verb in verbs)
"""Every permission that a right can hold."""

RIGHTS = PERMISSIONS | {f"{noun}:*" for noun in NOUNS} | {"*"}
"""Everything that a role, a key or a grant can say."""

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

OWNERS = frozenset({"admin", "organization_owner"})
"""Roles that can lead an organisation; one of its active people always has one."""


class Denied(Problem):
    """The caller's role, key or token lacks a permission."""

    kind = Kind.FORBIDDEN
    code = "permission_denied"
    title = "Permission denied"


@lru_cache(maxsize=1024)
def _holders(permission: str) -> frozenset[str]:
    """Give the rights of which each holds a permission."""
    return frozenset({permission, f"{permission.partition(':')[0]}:*", "*"})


def allows(rights: Iterable[str], permission: str) -> bool:
    """Tell whether some rights hold a permission."""
    return not _holders(permission).isdisjoint(rights)


def may(actor: Actor, permission: str, resource: UUID | None = None) -> bool:
    """Tell whether a caller may do something, to one resource if it is named.

    A grant gives a right to one resource beside those of the role. The scopes
    of a key or token bound both.
    """
    if permission == MEMBER:
        return True
    holders = _holders(permission)
    if holders.isdisjoint(actor.scopes):
        return False
    if permission == SELF or not holders.isdisjoint(actor.rights):
        return True
    return resource is not None and not holders.isdisjoint(actor.grants.get(resource, ()))


def check(actor: Actor, permission: str, resource: UUID | None = None) -> None:
    """Raise `Denied` unless the caller may."""
    if not may(actor, permission, resource):
        raise _denied(permission)


def reach(actor: Actor, permission: str) -> frozenset[UUID] | None:
    """Give the resources to which a caller may do something: None for all, else those that are granted."""
    if may(actor, permission):
        return None
    if not allows(actor.scopes, permission):
        return frozenset()
    holders = _holders(permission)
    return frozenset(resource for resource, rights in actor.grants.items() if not holders.isdisjoint(rights))


def check_reach(actor: Actor, permission: str) -> None:
    """Raise `Denied` where there is nothing at all to which the caller may do this."""
    if not may(actor, permission) and not reach(actor, permission):
        raise _denied(permission)


def _denied(permission: str) -> Denied:
    return Denied(f"This needs the permission {permission}, which your role, key or token does not give.")


@lru_cache(maxsize=1024)
def _meant(right: str) -> frozenset[str]:
    return frozenset(each for each in PERMISSIONS if right in _holders(each)) or frozenset({right})


def expand(rights: Iterable[str]) -> frozenset[str]:
    """Give every permission that some rights hold."""
    return frozenset[str]().union(*(_meant(right) for right in rights))


def roles_within(rights: Iterable[str]) -> frozenset[str]:
    """Give the built-in roles of which some rights hold everything."""
    held = expand(rights)
    return frozenset(role for role, of_role in ROLES.items() if expand(of_role) <= held)


def check_giving(actor: Actor, rights: Iterable[str], resource: UUID | None = None) -> None:
    """Raise `Denied` where a caller would give what he has not himself, whoever is to get it (abuse 46)."""
    if lacking := _lacking(actor, rights, resource):
        raise Denied(f"Nobody gives more than he has; you lack {', '.join(lacking)}.")


def check_over(actor: Actor, rights: Iterable[str], resource: UUID | None = None) -> None:
    """Raise `Denied` where somebody who has some rights stands above a caller, who would take them away."""
    if lacking := _lacking(actor, rights, resource):
        raise Denied(f"This is for those who may do as much; you lack {', '.join(lacking)}.")


def _lacking(actor: Actor, rights: Iterable[str], resource: UUID | None) -> list[str]:
    return sorted(each for each in expand(rights) if not may(actor, each, resource))
