"""Accounts: made, verified, given new passwords (S31, S39).

Whatever is asked for by an address takes the same statements, the same
hashing and the same answer, whether or not somebody has it (abuse 18).
"""

from collections.abc import Iterable
from datetime import timedelta
from uuid import UUID

from agent_factory.connectors.mail.post import Post
from agent_factory.database.models import AccountRow
from agent_factory.database.session import ReadSession, Session
from agent_factory.kit.clock import now
from agent_factory.kit.ids import uuid7
from agent_factory.kit.mailbox import same_for_all
from agent_factory.runtime.platform import Platform
from agent_factory.security.audit import Event, record
from agent_factory.security.auth import Actor
from agent_factory.security.passwords import Hashed
from agent_factory.services.auth.errors import AccountExists, BadMailedToken, NoAccount, NoSession, WrongPassword
from agent_factory.services.auth.queries import accounts as queries
from agent_factory.services.auth.rules import letters
from agent_factory.services.auth.rules.accounts import Purpose, make_token, token_hash
from agent_factory.services.auth.service import throttle
from agent_factory.services.auth.service.passwords import new_password, prove
from agent_factory.services.auth.service.sessions import end_sessions
from agent_factory.services.auth.service.verifying import Credentials

_LASTS = {Purpose.VERIFY: timedelta(days=1), Purpose.RESET: timedelta(hours=1)}
_LETTERS = {Purpose.VERIFY: letters.verification, Purpose.RESET: letters.reset}
_NOBODY = "nobody@localhost"
_BAD_TOKEN = "The token is wrong, used up or too old; ask for another."  # noqa: S105 - a sentence


async def account_by_email(session: ReadSession, email: str) -> AccountRow | None:
    """Find the account with an address in any spelling, in a system transaction."""
    return await queries.by_email(session, same_for_all(email))


async def create_account(
    session: Session, *, email: str, password: Hashed | None, name: str, verified: bool = False
) -> AccountRow:
    """Make an account, in a system transaction; `password` comes from `new_password`.

    One that nobody has verified yet is made over: only whoever reads its mail
    and knows the newest password gets in. Raises `AccountExists` for a verified one.
    """
    await queries.alone_with(session, same_for_all(email))
    account = await queries.by_email(session, same_for_all(email))
    if account is None:
        account = AccountRow(id=uuid7(), email=email.strip(), name=name)
        await queries.add(session, account)
    elif account.verified_at is not None:
        raise AccountExists("There is an account with this address.")
    await queries.drop_tokens(session, account.id)
    account.name = name
    account.verified_at = now() if verified else None
    _set_password(account, password)
    return account


async def send_verification(session: Session, mail: Post, account: AccountRow) -> None:
    """Mail a token that, with the password, shows that the address is the account's."""
    await _mail_token(session, mail, account, Purpose.VERIFY)


async def tell_registered(session: Session, mail: Post, account: AccountRow) -> None:
    """Mail the owner of an account that somebody tried to register its address; it takes the work of the other."""
    await queries.add_token(session, None, Purpose.VERIFY, make_token("afv").hash, _LASTS[Purpose.VERIFY])
    words = letters.already_registered(account.email, disabled=account.disabled_at is not None)
    await mail.post(session, to=account.email, subject=words.subject, text=words.text)


async def send_verification_again(platform: Platform, email: str, *, address: str) -> None:
    """Mail another verification, if the address waits for one; nobody is told whether it does."""
    await count_mail(platform, email, address)
    async with platform.database.system() as session:
        account = await account_by_email(session, email)
        waits = account is not None and account.verified_at is None and account.disabled_at is None
        await _mail_token(session, platform.mail, account if waits else None, Purpose.VERIFY)


async def verify_email(platform: Platform, *, email: str, token: str, password: str) -> None:
    """Take a mailed token and the password as the proof that an address is an account's.

    Without the password, somebody could register another's address and wait
    for a click. Raises `BadMailedToken` or `WrongPassword`.
    """
    account = await _account_of_token(platform, Purpose.VERIFY, token, email)
    await prove(platform, account, password)
    async with platform.database.system() as session:
        held = await queries.held(session, account.id)
        unchanged = held.password_hash == account.password_hash and held.disabled_at is None
        if not unchanged or not await queries.use_token(session, Purpose.VERIFY, token_hash(token)):
            raise BadMailedToken(_BAD_TOKEN)
        held.verified_at = held.verified_at or now()
        await queries.drop_tokens(session, held.id)
        await record(session, await _event_of(session, "auth.email_verified", held))


async def request_reset(platform: Platform, email: str, *, address: str) -> None:
    """Mail a token for a new password, if there is such an account; nobody is told whether there is."""
    await count_mail(platform, email, address)
    async with platform.database.system() as session:
        account = await account_by_email(session, email)
        usable = account is not None and account.disabled_at is None
        await _mail_token(session, platform.mail, account if usable else None, Purpose.RESET)


async def reset_password(
    platform: Platform, credentials: Credentials, *, email: str, token: str, password: str
) -> None:
    """Give an account another password and end all its sessions; raises `BadMailedToken` or `Invalid`."""
    account = await _account_of_token(platform, Purpose.RESET, token, email)
    hashed = await new_password(platform.passwords, password, names=(account.email, account.name))
    async with platform.database.system() as session:
        held = await queries.held(session, account.id)
        if held.disabled_at is not None or not await queries.use_token(session, Purpose.RESET, token_hash(token)):
            raise BadMailedToken(_BAD_TOKEN)
        held.verified_at = held.verified_at or now()
        _set_password(held, hashed)
        await queries.drop_tokens(session, held.id)
        await queries.drop_devices(session, held.id)
        await throttle.begin_anew(
            session, throttle.for_password(platform.passwords.settings, same_for_all(held.email), "", None)[:1]
        )
        ended = await end_sessions(session, held.id, reason="password_reset")
        await _tell_changed(session, platform.mail, held)
        await record(session, await _event_of(session, "auth.password_reset", held))
    _forget(credentials, ended)


async def change_password(
    platform: Platform, credentials: Credentials, actor: Actor, *, current: str | None, password: str
) -> None:
    """Give the caller's account another password and end all its other sessions (abuse 15).

    An account without one gets its first without more ado, unless another
    issuer's token asks, of which a password would outlast all. Raises
    `WrongPassword`, `Invalid` or `NoSession`.
    """
    account = await account_of(platform, actor)
    if account.password_hash is not None:
        await prove(platform, account, current or "")
    elif actor.issuer is not None:
        raise NoSession("Choose the first password by a letter: ask for one as if you had forgotten it.")
    hashed = await new_password(platform.passwords, password, names=(account.email, account.name))
    async with platform.database.system() as session:
        held = await open_account(session, account)
        _set_password(held, hashed)
        await queries.drop_tokens(session, held.id)
        await queries.drop_devices(session, held.id)
        ended = await end_sessions(session, held.id, but=actor.session_id, reason="password_changed")
        await _tell_changed(session, platform.mail, held)
        await record(session, Event(action="auth.password_changed", actor=actor))
    _forget(credentials, ended)


async def account_of(platform: Platform, actor: Actor) -> AccountRow:
    """Find the account that the caller is; raises `NoAccount`."""
    async with platform.database.system() as session:
        account = await queries.of_actor(session, actor)
    if account is None:
        raise NoAccount("This caller is no person, and has no account.")
    return account


async def open_account(session: Session, account: AccountRow) -> AccountRow:
    """Hold an account that its owner changes, as it was when he showed his password.

    Raises `NoAccount` or `WrongPassword` if it was closed or disabled, or its
    password changed, in this very moment.
    """
    held = await queries.held(session, account.id)
    if held.disabled_at is not None:
        raise NoAccount("The account is closed, or disabled.")
    if held.password_hash != account.password_hash:
        raise WrongPassword("The password was changed in this very moment.")
    return held


async def codes_left(platform: Platform, account: AccountRow) -> int:
    """Count an account's unused recovery codes."""
    async with platform.database.system() as session:
        return await queries.count_codes(session, account.id)


async def count_mail(platform: Platform, email: str, address: str) -> None:
    """Count a request that sends mail to an e-mail address, from a network address; raises `TooManyAttempts`."""
    settings = platform.passwords.settings
    await throttle.take(platform.database, settings, throttle.for_mail(settings, same_for_all(email), address))


async def _mail_token(session: Session, mail: Post, account: AccountRow | None, purpose: Purpose) -> None:
    """Mail a token to an account; to nobody, the same is done and nothing sent."""
    made = make_token(f"af{purpose[0]}")
    await queries.add_token(session, account.id if account else None, purpose, made.hash, _LASTS[purpose])
    words = _LETTERS[purpose](account.email if account else _NOBODY, made.text)
    await mail.post(session, to=account.email if account else None, subject=words.subject, text=words.text)


async def _account_of_token(platform: Platform, purpose: Purpose, token: str, email: str) -> AccountRow:
    async with platform.database.system() as session:
        account = await queries.account_of_token(session, purpose, token_hash(token), same_for_all(email))
    if account is None:
        raise BadMailedToken(_BAD_TOKEN)
    return account


async def _tell_changed(session: Session, mail: Post, account: AccountRow) -> None:
    words = letters.password_changed(account.email)
    await mail.post(session, to=account.email, subject=words.subject, text=words.text)


async def _event_of(session: ReadSession, action: str, account: AccountRow) -> Event:
    """Make an event that concerns an account, told to the organisation that it belongs to longest."""
    users = await queries.memberships_of(session, same_for_all(account.email))
    if not users:
        return Event(action=action)
    return Event(action=action, organization_id=users[0].organization_id, user_id=users[0].id)


def _forget(credentials: Credentials, ended: Iterable[UUID]) -> None:
    for session_id in ended:
        credentials.forget(session_id=session_id)


def _set_password(account: AccountRow, password: Hashed | None) -> None:
    account.password_hash = password
    account.password_changed_at = now() if password else None
