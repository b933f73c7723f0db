"""Choosing a password, and showing that one knows it."""

from agent_factory.database.models import AccountRow
from agent_factory.kit.errors import FieldError, Invalid
from agent_factory.runtime.platform import Platform
from agent_factory.security.passwords import Hashed, Passwords
from agent_factory.security.weak_passwords import weakness
from agent_factory.services.auth.errors import WrongPassword
from agent_factory.services.auth.service import throttle


async def new_password(
    passwords: Passwords, password: str, *, names: tuple[str, ...], pointer: str = "/password"
) -> Hashed:
    """Hash a password that somebody chose.

    `names` are the person's own, such as the address. Raises `Invalid` at
    `pointer` for one that would be guessed, and `TooManyLogins`. Call it before
    there is a transaction, for it takes its time.
    """
    why = weakness(password, shortest=passwords.settings.shortest, names=names)
    if why is not None:
        raise Invalid("Choose another password.", errors=[FieldError(pointer, why)])
    return await passwords.hash(password)


async def prove(platform: Platform, account: AccountRow, password: str) -> None:
    """Check the password of somebody who is logged in; raises `WrongPassword` or `TooManyAttempts`."""
    bounds = throttle.for_proof(platform.passwords.settings, account.id)
    await throttle.take(platform.database, platform.passwords.settings, bounds)
    hashed = None if account.password_hash is None else Hashed(account.password_hash)
    checked = await platform.passwords.check(hashed, password)
    if not checked.right:
        raise WrongPassword("The password is not that of your account.")
    async with platform.database.system() as session:
        await throttle.begin_anew(session, bounds)
