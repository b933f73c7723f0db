"""A definition found by what a request or another definition calls it."""

from uuid import UUID

from agent_factory.database.session import ReadSession
from agent_factory.security import rbac
from agent_factory.security.auth import Actor
from agent_factory.services.definitions import queries
from agent_factory.services.definitions.rules import Kind, Named, read_ref


async def by_name(session: ReadSession, actor: Actor, kind: Kind, name: str) -> Named | None:
    """Find a definition by its name alone."""
    return await queries.named(session, actor, kind.heads, head_id=None, name=name)


async def by_ref(session: ReadSession, actor: Actor, kind: Kind, ref: str | UUID) -> Named | None:
    """Find a definition by id or name; an archived one by its id only."""
    head_id, name = read_ref(kind, ref)
    return await queries.named(session, actor, kind.heads, head_id=head_id, name=name)


async def find(session: ReadSession, actor: Actor, kind: Kind, ref: str | UUID) -> Named:
    """Find a definition by id or name; raises `kind.not_found`."""
    found = await by_ref(session, actor, kind, ref)
    if found is None:
        raise kind.not_found(f"There is no {kind.noun} {str(ref)!r} in your organisation.")
    return found


async def read_text(session: ReadSession, actor: Actor, kind: Kind, found: Named, number: int) -> str:
    """Read a version as JSON text; raises `kind.version_not_found`."""
    text = await queries.definition_text(session, actor, kind.versions, found.id, number)
    if text is None:
        raise kind.version_not_found(f"The {kind.noun} {found.name!r} has no version {number}.")
    return text


async def check_use(session: ReadSession, actor: Actor, kind: Kind, ref: str | UUID) -> None:
    """Raise `Denied` unless a caller may run a definition, by id or name; of one that is not there nothing is said."""
    run = f"{kind.noun}:run"
    if rbac.may(actor, run):
        return
    found = await by_ref(session, actor, kind, ref)
    if found is not None:
        rbac.check(actor, run, found.id)
