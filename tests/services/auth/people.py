"""People with accounts, the letters that they get, and their authenticators."""

from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import httpx2
import msgspec
from fastapi import FastAPI
from pyotp.totp import TOTP

from agent_factory.connectors.mail.letter import Letter
from agent_factory.database.models import OrganizationRow
from agent_factory.kit.clock import now
from agent_factory.kit.ids import uuid7
from agent_factory.runtime.platform import Platform
from agent_factory.security.passwords import PasswordSettings
from agent_factory.services.auth.service.accounts import create_account
from agent_factory.services.auth.service.users import add_user
from tests.serving import Client, client_of

PASSWORD = "correct-horse-staple-9"
OTHER_PASSWORD = "quite-another-horse-7"
CHEAP = PasswordSettings(memory=8, iterations=1, threads=2)
"""Passwords that cost next to nothing, for tests that are not about their cost."""


class Person(msgspec.Struct, frozen=True):
    """An account and its one membership."""

    email: str
    account_id: UUID
    user_id: UUID
    organization_id: UUID


NewPerson = Callable[..., Awaitable[Person]]


def platform_of(app: FastAPI) -> Platform:
    return app.state.platform


async def make_person(
    app: FastAPI, *, password: str | None = PASSWORD, verified: bool = True, role: str = "developer"
) -> Person:
    """Make somebody with an organisation of his own."""
    platform = platform_of(app)
    email = f"ada-{uuid7().hex}@example.com"
    hashed = await platform.passwords.hash(password) if password else None
    async with platform.database.system() as session:
        account = await create_account(session, email=email, password=hashed, name="Ada", verified=verified)
        organization = OrganizationRow(id=uuid7(), name="Home", created_at=now())
        session.add(organization)
        await session.flush()
        user = await add_user(session, organization.id, email=email, name="Ada", role=role, account_id=account.id)
    return Person(email, account.id, user.id, organization.id)


async def join_another(app: FastAPI, person: Person) -> UUID:
    """Make somebody a member of a second organisation."""
    async with platform_of(app).database.system() as session:
        organization = OrganizationRow(id=uuid7(), name="Second", created_at=now())
        session.add(organization)
        await session.flush()
        await add_user(
            session, organization.id, email=person.email, name="Ada", role="viewer", account_id=person.account_id
        )
    return organization.id


async def log_in(anyone: Client, person: Person | str, password: str = PASSWORD, **more: Any) -> httpx2.Response:
    email = person if isinstance(person, str) else person.email
    return await anyone.post("/api/v1/auth/login", json={"email": email, "password": password, **more})


async def signed_in(app: FastAPI, anyone: Client, person: Person, **more: Any) -> Client:
    """A client with an access token of somebody."""
    answer = await log_in(anyone, person, **more)
    assert answer.status_code == 200, answer.text
    return client_of(app, answer.json()["access_token"])


async def letters_to(app: FastAPI, email: str | None) -> list[Letter]:
    """What waits to be sent to an address, oldest first."""
    platform = platform_of(app)
    rows = await platform.database.pool.fetch("select id, letter from mail_outbox order by id")
    letters: list[Letter] = []
    for row in rows:
        plain = await platform.vault.decrypt(None, ("mail_outbox", "letter", row["id"]), row["letter"])
        letters.append(msgspec.json.decode(plain, type=Letter))
    return [each for each in letters if each.to == email]


async def token_to(app: FastAPI, email: str) -> str:
    """The token of the newest letter to an address."""
    text = (await letters_to(app, email))[-1].text
    return next(word for word in text.split() if word.startswith(("afv_", "afr_")))


def code_of(secret: str, steps: int = 0) -> str:
    """What an authenticator shows now, or some steps from now."""
    return TOTP(secret).at(now(), counter_offset=steps)


async def with_second_factor(client: Client) -> tuple[str, list[str]]:
    """Switch somebody's second factor on; gives the authenticator's secret and the recovery codes.

    The code of the step before is used, so that the present one is still good.
    """
    enrolled = await client.post("/api/v1/auth/second-factor", json={"password": PASSWORD})
    assert enrolled.status_code == 200, enrolled.text
    secret = enrolled.json()["secret"]
    confirmed = await client.post("/api/v1/auth/second-factor:confirm", json={"otp": code_of(secret, -1)})
    assert confirmed.status_code == 200, confirmed.text
    return secret, confirmed.json()["recovery_codes"]
