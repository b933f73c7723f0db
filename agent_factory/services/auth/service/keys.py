"""API keys: making, listing and revoking."""

from datetime import datetime
from uuid import UUID

import msgspec

from agent_factory.database.models import ApiKeyRow, UserRow
from agent_factory.database.session import ReadSession, Session
from agent_factory.kit.clock import now, rfc3339
from agent_factory.kit.errors import FieldError, Invalid
from agent_factory.kit.ids import encode, uuid7
from agent_factory.kit.pages import Page
from agent_factory.security import rbac
from agent_factory.security.auth import Actor
from agent_factory.services.auth.errors import KeyNotFound, UserNotFound
from agent_factory.services.auth.queries import keys as queries
from agent_factory.services.auth.queries import users
from agent_factory.services.auth.rules.keys import lacking, lacking_for_service, make_key, unknown_scopes
from agent_factory.services.auth.service.present import present

OTHERS = "user:manage"
"""Who may make keys of services, and see and revoke keys that are not his own."""


class IssuedKey(msgspec.Struct, frozen=True):
    """A new key and its secret, which is known only now."""

    row: ApiKeyRow
    secret: str


class WantedKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key as it is asked for.

    Without scopes, a personal key has those of the credential that asks. A
    service's key is for the service `user_id`, or for a new one.
    """

    name: str
    kind: str = "personal"
    scopes: list[str] | None = None
    user_id: UUID | None = None
    expires_at: datetime | None = None


async def issue_key(session: Session, user: UserRow, *, name: str) -> IssuedKey:
    """Make a user's key, outside any request."""
    return await _issue(session, user, WantedKey(name=name), scopes=["*"])


async def create_key(session: Session, actor: Actor, wanted: WantedKey) -> IssuedKey:
    """Make a key that can do no more than the caller can now, and for no longer; raises `Invalid` or `Denied`."""
    _check(wanted)
    actor = await present(session, actor)
    wanted = await _within_its_maker(session, actor, wanted)
    if wanted.kind == "service":
        return await _create_for_service(session, actor, wanted)
    scopes = sorted(actor.scopes) if wanted.scopes is None else sorted(set(wanted.scopes))
    _refuse(lacking(actor, scopes))
    owner = await users.user(session, actor, actor.user_id)
    assert owner is not None, "it is held"
    return await _issue(session, owner, wanted, scopes=scopes, maker=actor)


async def get_key(session: ReadSession, actor: Actor, key_id: UUID) -> ApiKeyRow:
    """Find a key that the caller may see; raises `KeyNotFound`."""
    row = await queries.key(session, actor, key_id, _whose(actor))
    if row is None:
        raise KeyNotFound("There is no such key in your organisation, or it is not yours.")
    return row


async def list_keys(
    session: ReadSession, actor: Actor, limit: int, after: UUID | None, *, mine: bool = False
) -> Page[ApiKeyRow]:
    """List the caller's keys, newest first; all of the organisation for who may manage its people."""
    owner = actor.user_id if mine else _whose(actor)
    return await queries.keys(session, actor, owner, limit, after)


async def revoke_key(session: Session, actor: Actor, key_id: UUID) -> None:
    """Revoke a key; it is refused everywhere within 5 seconds. Doing it twice changes nothing."""
    row = await get_key(session, actor, key_id)
    if row.revoked_at is None:
        row.revoked_at = now()


async def _within_its_maker(session: ReadSession, actor: Actor, wanted: WantedKey) -> WantedKey:
    """Let no key outlive the one that made it: what was lent for a while is not handed on for ever."""
    maker = await queries.key(session, actor, actor.key_id, None) if actor.key_id is not None else None
    if maker is None or maker.expires_at is None:
        return wanted
    if wanted.expires_at is not None and wanted.expires_at > maker.expires_at:
        fault = FieldError("/expires_at", f"has to be {rfc3339(maker.expires_at)} at the latest, as that of your key")
        raise Invalid("Such a key cannot be made.", errors=[fault])
    return msgspec.structs.replace(wanted, expires_at=wanted.expires_at or maker.expires_at)


async def _create_for_service(session: Session, actor: Actor, wanted: WantedKey) -> IssuedKey:
    rbac.check(actor, OTHERS)
    scopes = sorted(set(wanted.scopes or ()))
    _refuse(lacking_for_service(actor, scopes))
    service = await _service(session, actor, wanted)
    return await _issue(session, service, wanted, scopes=scopes, maker=actor)


async def _service(session: Session, actor: Actor, wanted: WantedKey) -> UserRow:
    if wanted.user_id is None:
        made = uuid7()
        address = f"{encode('usr', made)}@service.invalid"
        row = UserRow(id=made, organization_id=actor.organization_id, email=address, name=wanted.name, role="service")
        row.kind = "service"
        await users.add(session, row)
        return row
    found = await users.user(session, actor, wanted.user_id)
    if found is None or found.kind != "service":
        raise UserNotFound("There is no such service in your organisation.")
    return found


async def _issue(
    session: Session, owner: UserRow, wanted: WantedKey, *, scopes: list[str], maker: Actor | None = None
) -> IssuedKey:
    made = make_key()
    row = ApiKeyRow(
        id=uuid7(),
        organization_id=owner.organization_id,
        user_id=owner.id,
        name=wanted.name,
        prefix=made.prefix,
        hash=made.hash,
        kind="service" if owner.kind == "service" else "personal",
        created_by=maker.user_id if maker else owner.id,
        made_with=maker.key_id if maker else None,
        scopes=scopes,
        expires_at=wanted.expires_at,
        created_at=now(),
    )
    await queries.add(session, row)
    return IssuedKey(row, made.secret)


def _check(wanted: WantedKey) -> None:
    faults = [FieldError(f"/scopes/{place}", "is no right") for place in unknown_scopes(wanted.scopes or ())]
    if wanted.expires_at is not None and (wanted.expires_at.tzinfo is None or wanted.expires_at <= now()):
        faults.append(FieldError("/expires_at", "has to be in the future, with its offset from UTC"))
    if wanted.kind == "service" and not wanted.scopes:
        faults.append(FieldError("/scopes", "has to say what the service may do"))
    if wanted.kind == "personal" and wanted.scopes == []:
        faults.append(FieldError("/scopes", "has to hold a right; leave it out for all that you may do"))
    if wanted.kind == "personal" and wanted.user_id is not None:
        faults.append(FieldError("/user_id", "is for keys of services; a personal key is your own"))
    if faults:
        raise Invalid("Such a key cannot be made.", errors=faults)


def _refuse(scopes: list[str]) -> None:
    if scopes:
        raise rbac.Denied(f"A key cannot be given what you may not do yourself: {', '.join(scopes)}.")


def _whose(actor: Actor) -> UUID | None:
    """Tell whose keys the caller sees: None for everybody's."""
    return None if rbac.may(actor, OTHERS) else actor.user_id
