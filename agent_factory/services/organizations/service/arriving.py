"""How people come in: by an invitation, or by registering where that is open."""

from uuid import UUID

import msgspec

from agent_factory.database.models import AccountRow, InvitationRow, UserRow
from agent_factory.database.session import ReadSession, Session
from agent_factory.kit import ids
from agent_factory.kit.clock import now
from agent_factory.runtime.platform import Platform
from agent_factory.security.audit import Event, record
from agent_factory.security.auth import system
from agent_factory.security.passwords import Hashed
from agent_factory.security.rbac import expand
from agent_factory.services.auth import service as auth
from agent_factory.services.auth.errors import AccountDisabled, UserNotFound
from agent_factory.services.organizations import errors
from agent_factory.services.organizations.queries import invitations as queries
from agent_factory.services.organizations.queries import organizations
from agent_factory.services.organizations.rules import status_of, token_hash
from agent_factory.services.organizations.service.founding import found_for
from agent_factory.services.organizations.service.roles import rights_of_role


class Joined(msgspec.Struct, frozen=True):
    """A membership that an invitation led to."""

    organization_id: UUID
    user_id: UUID
    role: str
    new_account: bool


class Newcomer(msgspec.Struct, frozen=True):
    """Who comes without an account: the name and the hash of the password to make one with."""

    name: str
    password: Hashed


async def accept(platform: Platform, token: str, *, name: str, password: str | None) -> Joined:
    """Become a member by an invitation's token, once.

    Whoever has the token reads the address's mail: an account of that address
    joins as it is, and where there is none, one is made. Raises
    `InvitationInvalid`, `AccountDisabled`, `RegistrationClosed` where nobody new may come,
    `PasswordNeeded`, `Invalid` for a weak one, or `QuotaExceeded` without a seat left.
    """
    digest = token_hash(token)
    async with platform.database.system() as session:
        row = await queries.by_token(session, digest)
        if row is None or not await _good(session, row):
            raise errors.InvitationInvalid
        known = _usable(await auth.account_by_email(session, row.email))
    newcomer = None if known else await _newcomer(platform, row.email, name, password)
    async with platform.database.system() as session:
        return await _join(platform, session, digest, newcomer)


async def register(
    platform: Platform, *, email: str, password: str, name: str, organization: str, address: str
) -> None:
    """Make an account and an organisation, and mail how to go on; a known address gets another mail instead.

    Both take the same work and look the same to whoever asks (abuse 18).
    Raises `RegistrationClosed` unless this installation is open, `Invalid` for a
    weak password, or `TooManyAttempts`; `address` is the network's.
    """
    if platform.registration != "open":
        raise errors.RegistrationClosed("Ask an owner of an organisation here for an invitation.")
    await auth.count_mail(platform, email, address)
    hashed = await auth.new_password(platform.passwords, password, names=(email, name))
    async with platform.database.system() as session:
        account = await auth.account_by_email(session, email)
        if account is not None and account.verified_at is not None:
            await _in_vain(session, account, organization)
            await auth.tell_registered(session, platform.mail, account)
            return
        again = account is not None
        account = await auth.create_account(session, email=email, password=hashed, name=name)
        if again:
            await _in_vain(session, account, organization)
        else:
            row, owner = await found_for(session, account, organization)
            await record(session, _event("auth.registered", row.id, owner))
        await auth.send_verification(session, platform.mail, account)


async def _in_vain(session: Session, account: AccountRow, organization: str) -> None:
    """Do the work of a registration and undo it, so that its time tells nobody whether an address is known."""
    async with session.begin_nested() as vain:
        row, owner = await found_for(session, account, organization)
        await record(session, _event("auth.registered", row.id, owner))
        await vain.rollback()


async def _newcomer(platform: Platform, email: str, name: str, password: str | None) -> Newcomer:
    if platform.registration == "closed":
        raise errors.RegistrationClosed("Nobody new may come in here; only known accounts can be invited.")
    if password is None:
        raise errors.PasswordNeeded
    return Newcomer(name, await auth.new_password(platform.passwords, password, names=(email, name)))


async def _join(platform: Platform, session: Session, digest: bytes, newcomer: Newcomer | None) -> Joined:
    row = await queries.by_token(session, digest)
    if row is None:
        raise errors.InvitationInvalid
    # the organisation first, as everything does that changes who is in it
    await organizations.hold(session, row.organization_id)
    row = await queries.by_token_held(session, digest)
    if row is None or not await _good(session, row):
        raise errors.InvitationInvalid
    await platform.engine.ledger.seats(session, row.organization_id)
    account = _usable(await auth.account_by_email(session, row.email))
    if account is None:
        if newcomer is None:
            raise errors.InvitationInvalid
        account = await auth.create_account(
            session, email=row.email, password=newcomer.password, name=newcomer.name, verified=True
        )
    row.accepted_at = now()
    user = await auth.add_user(
        session,
        row.organization_id,
        email=account.email,
        name=account.name,
        role=row.role,
        account_id=account.id,
    )
    await record(session, _event("invitations.accepted", row.organization_id, user, row))
    return Joined(row.organization_id, user.id, row.role, newcomer is not None)


async def _good(session: ReadSession, row: InvitationRow) -> bool:
    """Tell whether an invitation lets somebody in: it is open, and who invited could do so this very moment."""
    organization = await organizations.organization(session, row.organization_id)
    if status_of(row, now()) != "open" or organization is None or organization.status != "active":
        return False
    of = system(row.organization_id, row.invited_by)
    try:
        inviter = await auth.get_user(session, of, row.invited_by)
        promised = expand(await rights_of_role(session, of, row.role))
    except (UserNotFound, errors.UnknownRole):
        return False
    return await auth.holds(session, inviter, promised | {"user:manage"})


def _usable(account: AccountRow | None) -> AccountRow | None:
    """Give an account whose address is known to be its owner's; any other is made over. Raises `AccountDisabled`."""
    if account is not None and account.disabled_at is not None:
        raise AccountDisabled("Your account here was closed or disabled; only the operator can enable it again.")
    return account if account is not None and account.verified_at is not None else None


def _event(action: str, organization_id: UUID, user: UserRow, row: InvitationRow | None = None) -> Event:
    resource = ids.encode("usr", user.id) if row is None else ids.encode("inv", row.id)
    return Event(action=action, organization_id=organization_id, user_id=user.id, resource=resource)
