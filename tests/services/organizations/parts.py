"""What the tests of organisations share."""

from collections.abc import Awaitable, Callable
from uuid import UUID

import msgspec
from fastapi import FastAPI
from sqlalchemy import text

from agent_factory.connectors.mail.letter import Letter
from agent_factory.database.session import Database
from agent_factory.kit.ids import encode, uuid7
from tests.serving import Client

Hire = Callable[..., Awaitable[Client]]


def own(client: Client) -> str:
    """The path of a client's organisation."""
    return f"/api/v1/organizations/{encode('org', client.actor.organization_id)}"


def user(client: Client) -> str:
    """The id of a client's person."""
    return encode("usr", client.actor.user_id)


def member(client: Client) -> str:
    """The path of a client's membership."""
    return f"{own(client)}/members/{user(client)}"


async def make_role(owner: Client, *rights: str, name: str = "") -> str:
    """Make a role, and give its name."""
    name = name or f"role-{uuid7().hex[-12:]}"
    answer = await owner.post("/api/v1/roles", json={"name": name, "rights": list(rights)})
    assert answer.status_code == 201, answer.text
    return name


async def make_team(owner: Client, *people: Client, role: str | None = None) -> str:
    """Make a team of some people, and give its path."""
    answer = await owner.post(f"{own(owner)}/teams", json={"name": f"team-{uuid7().hex[-12:]}"})
    assert answer.status_code == 201, answer.text
    path = f"{own(owner)}/teams/{answer.json()['id']}"
    for each in people:
        placed = await owner.put(f"{path}/members/{user(each)}", json={"role": role})
        assert placed.status_code == 200, placed.text
    return path


async def letters_to(app: FastAPI, database: Database, address: str) -> list[Letter]:
    """Give the letters that wait for an address, oldest first."""
    vault = app.state.platform.vault
    found: list[Letter] = []
    async with database.system() as session:
        rows = await session.execute(text("select id, letter from mail_outbox order by id"))
        waiting: list[tuple[UUID, bytes]] = [(row[0], row[1]) for row in rows]
    for letter_id, sealed in waiting:
        plain = await vault.decrypt(None, ("mail_outbox", "letter", letter_id), sealed)
        letter = msgspec.json.decode(plain, type=Letter)
        if letter.to == address:
            found.append(letter)
    return found
