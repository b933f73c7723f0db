"""How often something may be tried in vain: counted before the attempt, exactly, over all processes (abuse 19)."""

import hashlib
from collections.abc import Collection
from datetime import timedelta
from uuid import UUID

import msgspec

from agent_factory.database.session import Database, Session
from agent_factory.security.addresses import subscriber
from agent_factory.security.passwords import PasswordSettings
from agent_factory.services.auth.errors import TooManyAttempts
from agent_factory.services.auth.queries import failures as queries

_CODES = 5
"""Wrong one-time codes within a window: a guesser has a chance of one in 66,000."""


class Bound(msgspec.Struct, frozen=True):
    """A key, and how many failures it may have within the window."""

    key: bytes
    most: int


def for_password(settings: PasswordSettings, email: str, address: str, device: UUID | None) -> list[Bound]:
    """Bound passwords: for the account and for the caller's network; a known device has a bound of its own.

    So whoever locks an account from elsewhere does not lock its owner out.
    """
    if device is not None:
        return [_bound("device", str(device), settings.wrong_for_account)]
    # always in this order, so that no two logins wait for each other
    return [
        _bound("account", email, settings.wrong_for_account),
        _bound("address", subscriber(address), settings.wrong_from_address),
    ]


def for_code(account_id: UUID, device: UUID | None) -> list[Bound]:
    """Bound one-time and recovery codes."""
    return [_bound("code", f"{account_id} {device or ''}", _CODES)]


def for_proof(settings: PasswordSettings, account_id: UUID) -> list[Bound]:
    """Bound passwords of somebody who is logged in already."""
    return [_bound("proof", str(account_id), settings.wrong_for_account)]


def for_mail(settings: PasswordSettings, email: str, address: str) -> list[Bound]:
    """Bound requests that send mail; here every request counts."""
    return [
        _bound("mail", email, settings.wrong_for_account),
        _bound("mails from", subscriber(address), settings.wrong_from_address),
    ]


async def take(database: Database, settings: PasswordSettings, bounds: Collection[Bound]) -> None:
    """Count an attempt as failed until it is given back; raises `TooManyAttempts` where that were too many."""
    async with database.system() as session:
        await take_within(session, settings, bounds)


async def take_within(session: Session, settings: PasswordSettings, bounds: Collection[Bound]) -> None:
    """Count an attempt in a transaction, which has to commit before the attempt is made."""
    window = timedelta(seconds=settings.window)
    for bound in bounds:
        if not await queries.take(session, bound.key, bound.most, window):
            left = await queries.seconds_left(session, bound.key, window)
            raise TooManyAttempts("Too many attempts failed; wait before you try again.", retry_after=max(1.0, left))
    # last, for it waits for nobody: before the counts it could meet another login in a deadlock
    await queries.sweep(session, window)


async def give_back(session: Session, bounds: Collection[Bound]) -> None:
    """Say that an attempt was no failure."""
    await queries.give_back(session, [bound.key for bound in bounds])


async def begin_anew(session: Session, bounds: Collection[Bound]) -> None:
    """Say that an attempt succeeded: what is counted for the person begins anew, the network's is given back."""
    person, *network_of = bounds
    await queries.forget(session, person.key)
    await give_back(session, network_of)


def _bound(what: str, whose: str, most: int) -> Bound:
    return Bound(hashlib.sha256(f"{what}\n{whose}".encode()).digest(), most)
