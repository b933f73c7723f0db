"""The end of an account, over all organisations, and its return: by the operator, or by its owner for good (S31)."""

from collections.abc import Iterable, Sequence
from uuid import UUID

from agent_factory.connectors.mail.post import Post
from agent_factory.database.models import AccountRow, UserRow
from agent_factory.database.session import Session
from agent_factory.kit.clock import now
from agent_factory.kit.mailbox import same_for_all
from agent_factory.runtime.platform import Platform
from agent_factory.security.audit import Event, record
from agent_factory.security.auth import Actor
from agent_factory.security.rbac import OWNERS
from agent_factory.services.auth.errors import AccountNotFound
from agent_factory.services.auth.queries import accounts as queries
from agent_factory.services.auth.queries import memberships
from agent_factory.services.auth.rules import letters
from agent_factory.services.auth.rules.letters import Words
from agent_factory.services.auth.service import second_factor
from agent_factory.services.auth.service.accounts import account_of, open_account
from agent_factory.services.auth.service.passwords import prove
from agent_factory.services.auth.service.sessions import end_sessions


async def disable_account(session: Session, mail: Post, *, email: str) -> Sequence[UUID]:
    """Keep a person out of every organisation until the account is enabled, in a system transaction.

    Gives the organisations that nobody can lead meanwhile. Doing it twice
    changes nothing. Raises `AccountNotFound`.
    """
    account = await _held(session, email)
    if account.disabled_at is None:
        users = await memberships.of_account(session, account.id)
        await _shut(session, account, reason="account_disabled")
        await memberships.mark_disabled(session, account.id, account.disabled_at)
        await _tell(session, mail, account, letters.account_disabled(account.email))
        await _record(session, "auth.account_disabled", users)
    return await memberships.led_alone(session, account.id, OWNERS)


async def enable_account(session: Session, mail: Post, *, email: str) -> None:
    """Let a person in again, wherever an organisation does; raises `AccountNotFound`."""
    account = await _held(session, email)
    if account.disabled_at is None:
        return
    account.disabled_at = None
    await memberships.mark_disabled(session, account.id, None)
    await _tell(session, mail, account, letters.account_enabled(account.email))
    await _record(session, "auth.account_enabled", await memberships.of_account(session, account.id))


async def prove_owner(platform: Platform, actor: Actor, password: str, code: str | None) -> AccountRow:
    """See that the caller knows his account's password, and count the code before it is looked at.

    Raises `NoAccount`, `WrongPassword` or `TooManyAttempts`.
    """
    account = await account_of(platform, actor)
    await prove(platform, account, password)
    if account.otp_confirmed_at is not None and code is not None:
        await second_factor.count(platform, account)
    return account


async def memberships_to_end(session: Session, account_id: UUID) -> list[UserRow]:
    """List every membership of an account, in the order in which their organisations have to be held."""
    return await memberships.of_account(session, account_id)


async def close_account(
    session: Session, platform: Platform, proven: AccountRow, users: Sequence[UserRow], code: str | None
) -> list[UUID]:
    """Close an account whose memberships `users` end in the same system transaction; name the sessions that ended.

    Raises `OtpRequired` or `OtpRefused` where there is a second factor, and
    like `open_account`.
    """
    account = await open_account(session, proven)
    await second_factor.expect(platform.vault, session, account, code)
    ended = await _shut(session, account, reason="account_closed")
    await queries.drop_devices(session, account.id)
    await _tell(session, platform.mail, account, letters.account_closed(account.email))
    await _record(session, "auth.account_closed", users)
    return ended


async def _held(session: Session, email: str) -> AccountRow:
    found = await queries.by_email(session, same_for_all(email))
    if found is None:
        raise AccountNotFound("There is no account with this address.")
    return await queries.held(session, found.id)


async def _shut(session: Session, account: AccountRow, *, reason: str) -> list[UUID]:
    account.disabled_at = now()
    await queries.drop_tokens(session, account.id)
    return await end_sessions(session, account.id, reason=reason)


async def _tell(session: Session, mail: Post, account: AccountRow, words: Words) -> None:
    await mail.post(session, to=account.email, subject=words.subject, text=words.text)


async def _record(session: Session, action: str, users: Iterable[UserRow]) -> None:
    """Tell every organisation that the account belongs to; the installation, if there is none."""
    events = [Event(action=action, organization_id=each.organization_id, user_id=each.id) for each in users]
    for event in events or [Event(action=action)]:
        await record(session, event)
