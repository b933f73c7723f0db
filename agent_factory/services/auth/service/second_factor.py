"""The second factor: one-time codes by RFC 6238, and recovery codes for the day when the phone is gone."""

from collections.abc import Awaitable, Callable, Sequence
from uuid import UUID

import msgspec

from agent_factory.database.models import AccountRow
from agent_factory.database.session import Session
from agent_factory.kit.clock import now
from agent_factory.runtime.platform import Platform
from agent_factory.security.audit import Event, record
from agent_factory.security.auth import Actor
from agent_factory.security.encryption import Vault
from agent_factory.services.auth.errors import OtpRefused, OtpRequired, SecondFactorState
from agent_factory.services.auth.queries import accounts as queries
from agent_factory.services.auth.rules.accounts import (
    looks_like_otp,
    make_recovery_codes,
    make_seed,
    otp_step,
    otpauth,
    recovery_hash,
)
from agent_factory.services.auth.service import throttle
from agent_factory.services.auth.service.accounts import account_of, open_account
from agent_factory.services.auth.service.passwords import prove

_WRONG = "The code is wrong, or was used before; wait for the next one."


class Enrolment(msgspec.Struct, frozen=True):
    """What an authenticator application needs; it is shown this once."""

    secret: str
    otpauth_uri: str


async def enrol(platform: Platform, actor: Actor, password: str) -> Enrolment:
    """Make a seed, which counts only once `confirm` has seen a code of it."""
    account = await account_of(platform, actor)
    _refuse(account.otp_confirmed_at is not None, "The second factor is on; switch it off before you begin anew.")
    await prove(platform, account, password)
    seed = make_seed()
    sealed = await platform.vault.encrypt(None, _place(account), seed.encode())
    async with platform.database.system() as session:
        held = await open_account(session, account)
        _refuse(held.otp_confirmed_at is not None, "The second factor is on already.")
        held.otp_seed, held.otp_step = sealed, None
    return Enrolment(seed, otpauth(seed, account.email))


async def confirm(platform: Platform, actor: Actor, code: str) -> Sequence[str]:
    """Switch the second factor on, and give the recovery codes, which are shown this once."""
    account = await account_of(platform, actor)
    await count(platform, account)
    codes = make_recovery_codes()
    async with platform.database.system() as session:
        held = await open_account(session, account)
        _refuse(held.otp_seed is None, "There is nothing to confirm; begin with an enrolment.")
        _refuse(held.otp_confirmed_at is not None, "The second factor is on already.")
        if not await _use_otp(platform.vault, session, held, code):
            raise OtpRefused(_WRONG)
        held.otp_confirmed_at = now()
        await queries.keep_codes(session, held.id, map(recovery_hash, codes))
        await throttle.begin_anew(session, throttle.for_code(held.id, None))
        await record(session, Event(action="auth.second_factor_enabled", actor=actor))
    return codes


async def renew_codes(platform: Platform, actor: Actor, password: str, code: str) -> Sequence[str]:
    """Replace the recovery codes; the ones from before work no more."""
    codes = make_recovery_codes()

    async def keep(session: Session, account: AccountRow) -> None:
        await queries.keep_codes(session, account.id, map(recovery_hash, codes))
        await record(session, Event(action="auth.recovery_codes_renewed", actor=actor))

    await _with_both(platform, actor, password, code, keep)
    return codes


async def disable(platform: Platform, actor: Actor, password: str, code: str) -> None:
    """Switch the second factor off; the recovery codes go with it."""

    async def drop(session: Session, account: AccountRow) -> None:
        account.otp_seed = account.otp_confirmed_at = account.otp_step = None
        await queries.keep_codes(session, account.id, [])
        await record(session, Event(action="auth.second_factor_disabled", actor=actor))

    await _with_both(platform, actor, password, code, drop)


async def count(platform: Platform, account: AccountRow) -> None:
    """Count a code as wrong before it is looked at; raises `TooManyAttempts`."""
    bounds = throttle.for_code(account.id, None)
    await throttle.take(platform.database, platform.passwords.settings, bounds)


async def expect(vault: Vault, session: Session, account: AccountRow, code: str | None) -> None:
    """Use up a code where an account that the transaction holds asks for one; raises `OtpRequired` or `OtpRefused`."""
    if account.otp_confirmed_at is None:
        return
    if code is None:
        raise OtpRequired("Send a one-time code of your authenticator, or a recovery code, as `otp`.")
    if not await use(vault, session, account, code):
        raise OtpRefused(_WRONG)
    await throttle.begin_anew(session, throttle.for_code(account.id, None))


async def use(vault: Vault, session: Session, account: AccountRow, code: str) -> bool:
    """Use up a one-time or recovery code of an account that the transaction holds; false for a wrong one."""
    if looks_like_otp(code):
        return await _use_otp(vault, session, account, code)
    return await queries.use_code(session, account.id, recovery_hash(code))


async def _with_both(
    platform: Platform,
    actor: Actor,
    password: str,
    code: str,
    change: Callable[[Session, AccountRow], Awaitable[None]],
) -> None:
    account = await account_of(platform, actor)
    _refuse(account.otp_confirmed_at is None, "The second factor is not on.")
    await prove(platform, account, password)
    await count(platform, account)
    async with platform.database.system() as session:
        held = await open_account(session, account)
        if not await use(platform.vault, session, held, code):
            raise OtpRefused(_WRONG)
        await change(session, held)
        await throttle.begin_anew(session, throttle.for_code(held.id, None))


async def _use_otp(vault: Vault, session: Session, account: AccountRow, code: str) -> bool:
    if account.otp_seed is None:
        return False
    seed = await vault.decrypt(None, _place(account), account.otp_seed)
    step = otp_step(seed.decode(), code, now())
    return step is not None and await queries.use_step(session, account.id, step)


def _place(account: AccountRow) -> tuple[str, str, UUID]:
    return "accounts", "otp_seed", account.id


def _refuse(wrong: bool, why: str) -> None:
    if wrong:
        raise SecondFactorState(why)
