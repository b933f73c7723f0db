"""What one kind of definitions is called, where it is kept, and the pure decisions over its life."""

from typing import Literal
from uuid import UUID

import msgspec

from agent_factory.core.agent import NEXT_STATUS, AgentStatus
from agent_factory.database.models.definitions import Head, Version
from agent_factory.kit import ids
from agent_factory.kit.errors import Conflict, NotFound

LATEST: Literal["latest"] = "latest"
"""Asks for the newest version, deployed or not: to try a draft."""

Wanted = int | Literal["latest"] | None
"""A version's number, the newest one, or, by None, the one that is in service."""


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """A kind of definitions; `noun` names its permissions, too, and `prefix` begins its ids.

    The errors are those that its callers know: no such definition, no such
    version, archived, no such step in its life, none in service, none earlier.
    """

    noun: str
    prefix: str
    heads: type[Head]
    versions: type[Version]
    not_found: type[NotFound]
    version_not_found: type[NotFound]
    archived: type[Conflict]
    wrong_status: type[Conflict]
    not_deployed: type[Conflict]
    no_earlier: type[Conflict]

    @property
    def one(self) -> str:
        """The noun with its article."""
        return f"{'an' if self.noun[0] in 'aeiou' else 'a'} {self.noun}"


class Named(msgspec.Struct, frozen=True):
    """What is known of a definition without reading it; `version` is the newest."""

    id: UUID
    name: str
    status: str
    version: int
    deployed: int | None


def read_ref(kind: Kind, ref: str | UUID) -> tuple[UUID | None, str]:
    """Read how a definition is named: by its id, else by its name."""
    if isinstance(ref, UUID):
        return ref, ""
    if ref.startswith(f"{kind.prefix}_"):
        try:
            return ids.decode(kind.prefix, ref), ref
        except NotFound:
            pass  # a name may begin so, too
    return None, ref


def may_change(kind: Kind, status: str) -> None:
    """Raise the kind's conflict for a definition that takes no changes any more."""
    if status == AgentStatus.ARCHIVED:
        raise kind.archived(f"An archived {kind.noun} cannot be changed; create a new one.")


def step(kind: Kind, status: str, to: AgentStatus) -> None:
    """Raise a conflict unless the life cycle leads from one status to the other."""
    may_change(kind, status)
    possible = NEXT_STATUS[AgentStatus(status)]
    if to not in possible:
        told = ", ".join(sorted(possible)) or "none"
        raise kind.wrong_status(f"The {kind.noun} is {status} and cannot become {to}; possible are: {told}.")


def earlier_version(kind: Kind, deployed: int | None, wanted: int | None) -> int:
    """Choose the version that a rollback brings back: the wanted one, or the one before the deployed one."""
    if deployed is None:
        raise kind.wrong_status(f"The {kind.noun} was never deployed, so there is nothing to roll back.")
    if wanted is None:
        wanted = deployed - 1
    if wanted < 1:
        raise kind.no_earlier("Version 1 is the first one.")
    if wanted >= deployed:
        raise kind.wrong_status(
            f"Version {wanted} is not earlier than version {deployed}, which is deployed; deploy it instead."
        )
    return wanted


def choose(kind: Kind, found: Named, wanted: Wanted, *, tried: bool = False) -> int:
    """Choose a version; with `tried`, the newest stands in for one that is to be in service and is not."""
    if isinstance(wanted, int):
        return wanted
    if wanted is None and found.status == AgentStatus.DEPLOYED and found.deployed is not None:
        return found.deployed
    if wanted is None and not tried:
        raise kind.not_deployed(f"The {kind.noun} {found.name!r} is {found.status}; deploy it, or ask for a version.")
    return found.version
