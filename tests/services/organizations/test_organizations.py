"""Organisations, and the first one of an installation."""

import asyncio

import pytest

from agent_factory.database.session import Database
from agent_factory.kit.ids import encode
from agent_factory.services.organizations.service import bootstrap
from tests.serving import Client, client_of, opened, settings_for


async def test_the_first_start_makes_an_organisation_with_an_owner_and_a_key(fresh_database_url: str) -> None:
    database = Database(fresh_database_url)
    try:
        made = await bootstrap(database, name="Acme", email="ada@example.com")
        assert made is not None
        async with opened(settings_for(fresh_database_url)) as app, client_of(app, made.secret) as owner:
            me = (await owner.get("/api/v1/auth/me")).json()
            assert me["organization_id"] == encode("org", made.organization_id)
            assert me["user"]["role"] == "organization_owner"
            # the owner is a person with an account, who can found more than one
            assert (await owner.post("/api/v1/organizations", json={"name": "Second"})).status_code == 201
        assert await bootstrap(database) is None
    finally:
        await database.close()


async def test_of_ten_first_starts_at_once_one_makes_it(fresh_database_url: str) -> None:
    database = Database(fresh_database_url)
    try:
        made = await asyncio.gather(*(bootstrap(database) for _ in range(10)))
        assert len([m for m in made if m is not None]) == 1
        assert await database.pool.fetchval("select count(*) from organizations") == 1
    finally:
        await database.close()


async def test_ones_own_organisation_is_shown_and_renamed(client: Client) -> None:
    listed = (await client.get("/api/v1/organizations")).json()["data"]
    assert len(listed) == 1
    path = f"/api/v1/organizations/{listed[0]['id']}"
    renamed = await client.patch(path, json={"name": "Acme"})
    assert renamed.status_code == 200
    assert (await client.get(path)).json() == {**listed[0], "name": "Acme"}


@pytest.mark.parametrize("body", [{"name": ""}, {}, {"plan": "enterprise"}, {"name": "x", "plan": "enterprise"}, []])
async def test_nothing_but_the_name_can_be_changed(client: Client, body: object) -> None:
    """Abuse 74: a plan in the body."""
    own = (await client.get("/api/v1/organizations")).json()["data"][0]
    assert (await client.patch(f"/api/v1/organizations/{own['id']}", json=body)).status_code == 422
    assert (await client.get("/api/v1/organizations")).json()["data"][0] == own
