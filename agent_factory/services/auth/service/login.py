"""Logging in: an address and a password, and a code where there is a second factor (S40)."""

from uuid import UUID

import msgspec

from agent_factory.database.models import AccountRow, UserRow
from agent_factory.database.session import Session
from agent_factory.kit.clock import now
from agent_factory.kit.mailbox import same_for_all
from agent_factory.runtime.platform import Platform
from agent_factory.security.audit import Event, Outcome, record, record_alone
from agent_factory.security.passwords import Checked, Hashed, TooManyLogins
from agent_factory.services.auth.errors import BadCredentials, NotAMember, OtpRefused, OtpRequired
from agent_factory.services.auth.queries import accounts as queries
from agent_factory.services.auth.rules.accounts import DEVICE_LASTS, DEVICES, make_token, token_hash
from agent_factory.services.auth.service import second_factor, throttle
from agent_factory.services.auth.service.sessions import TokenPair, start_session
from agent_factory.services.auth.service.throttle import Bound
from agent_factory.services.auth.service.verifying import Credentials

_WRONG = "The address or the password is wrong, or the address is not confirmed yet."


class Login(msgspec.Struct, frozen=True):
    """What somebody shows to get in, and where from; `agent` is how the program calls itself."""

    email: str
    password: str
    code: str | None
    organization_id: UUID | None
    device: str | None
    address: str
    agent: str


class LoggedIn(msgspec.Struct, frozen=True):
    """Somebody who got in: tokens, who it is here, and where else; `device` lets this device be known again."""

    tokens: TokenPair
    user: UserRow
    memberships: list[UserRow]
    device: str


class _Found(msgspec.Struct, frozen=True):
    """What is known before the password is looked at."""

    account: AccountRow | None
    memberships: list[UserRow]
    device_id: UUID | None
    bounds: list[Bound]


async def log_in(platform: Platform, credentials: Credentials, login: Login) -> LoggedIn:
    """Log somebody in.

    Raises `BadCredentials` with the same words after the same work whatever is
    wrong (abuse 18), `OtpRequired`, `OtpRefused`, `NotAMember`,
    `TooManyAttempts` (abuse 19) or `TooManyLogins`.
    """
    async with platform.passwords.turn():
        return await _log_in(platform, credentials, login)


async def _log_in(platform: Platform, credentials: Credentials, login: Login) -> LoggedIn:
    found = await _find(platform, login)
    checked = await _check(platform, found, login.password)
    account = found.account
    if account is None or not checked.right or account.verified_at is None or account.disabled_at is not None:
        await _note_failure(platform, found, login.email, "credentials")
        raise BadCredentials(_WRONG)
    user = await _chosen(platform, found, login.organization_id)
    await _expect_code(platform, found, account, login.code)
    renewed = await platform.passwords.hash(login.password) if checked.outdated else None
    try:
        async with platform.database.system() as session:
            await _enter(platform, session, account, login.code)
            if renewed is not None:
                await queries.hash_anew(session, account, renewed)
            return await _let_in(session, credentials, found, login, user)
    except OtpRefused:
        await _note_failure(platform, found, login.email, "code")
        raise


async def _find(platform: Platform, login: Login) -> _Found:
    """Look everything up, and count the attempt as failed before it is made."""
    email = same_for_all(login.email)
    settings = platform.passwords.settings
    async with platform.database.system() as session:
        shown = token_hash(login.device or "")
        device_id = await queries.device(session, email, shown, since=now() - DEVICE_LASTS)
        account = await queries.by_email(session, email)
        memberships = await queries.memberships_of(session, email)
        bounds = throttle.for_password(settings, email, login.address, device_id)
        await throttle.take_within(session, settings, bounds)
    return _Found(account, memberships, device_id, bounds)


async def _check(platform: Platform, found: _Found, password: str) -> Checked:
    known = found.account.password_hash if found.account else None
    try:
        return await platform.passwords.check(Hashed(known) if known else None, password)
    except TooManyLogins:
        await _give_back(platform, found)
        raise


async def _chosen(platform: Platform, found: _Found, organization_id: UUID | None) -> UserRow:
    """Pick the organisation that is asked for, or the one that the person has belonged to longest."""
    for membership in found.memberships:
        if organization_id in (None, membership.organization_id):
            return membership
    await _give_back(platform, found)
    raise NotAMember("You belong to no organisation, or not to this one; ask its owner for an invitation.")


async def _expect_code(platform: Platform, found: _Found, account: AccountRow, code: str | None) -> None:
    """Ask for a code where there is a second factor, and count it as wrong before it is looked at."""
    if account.otp_confirmed_at is None:
        return
    if code is None:
        await _give_back(platform, found)
        raise OtpRequired("Send a one-time code of your authenticator, or a recovery code, as `otp`.")
    bounds = throttle.for_code(account.id, found.device_id)
    await throttle.take(platform.database, platform.passwords.settings, bounds)


async def _enter(platform: Platform, session: Session, account: AccountRow, code: str | None) -> None:
    """Hold the account, see that it is still as it was, and use the code up."""
    held = await queries.held(session, account.id)
    if held.password_hash != account.password_hash or held.disabled_at is not None:
        raise BadCredentials(_WRONG)
    if held.otp_confirmed_at is None:
        return
    if code is None or not await second_factor.use(platform.vault, session, held, code):
        raise OtpRefused("The code is wrong, or was used before; wait for the next one.")


async def _let_in(session: Session, credentials: Credentials, found: _Found, login: Login, user: UserRow) -> LoggedIn:
    assert found.account is not None, "it was looked at"
    device = await _known_device(session, found, login.device)
    tokens = await start_session(session, credentials.tokens, user, device=login.agent, address=login.address)
    await throttle.begin_anew(session, found.bounds)
    if found.account.otp_confirmed_at is not None:
        await throttle.begin_anew(session, throttle.for_code(found.account.id, found.device_id))
    await record(session, Event(action="auth.login", organization_id=user.organization_id, user_id=user.id))
    return LoggedIn(tokens, user, found.memberships, device)


async def _known_device(session: Session, found: _Found, device: str | None) -> str:
    """Know this device from now on, and give what it shows next time."""
    assert found.account is not None, "it was looked at"
    if device is not None and found.device_id is not None:
        await queries.touch_device(session, found.device_id)
        return device
    made = make_token("afd")
    await queries.add_device(session, found.account.id, made.hash, most=DEVICES - 1, since=now() - DEVICE_LASTS)
    return made.text


async def _note_failure(platform: Platform, found: _Found, email: str, what: str) -> None:
    """Keep a failed login in the audit trail, for the account's organisation if there is one; the address is hidden."""
    user = found.memberships[0] if found.memberships else None
    event = Event(
        action="auth.login_failed",
        organization_id=user.organization_id if user else None,
        user_id=user.id if user else None,
        outcome=Outcome.REFUSED,
        details={"wrong": what, "account": await platform.trail.pseudonym(same_for_all(email))},
    )
    await record_alone(platform.database.pool, event)


async def _give_back(platform: Platform, found: _Found) -> None:
    async with platform.database.system() as session:
        await throttle.give_back(session, found.bounds)
