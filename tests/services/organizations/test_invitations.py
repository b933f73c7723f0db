"""Invitations: a place for whoever reads the mail of an address, once and for 7 days (S31)."""

import asyncio
import re
from decimal import Decimal
from typing import Any

import pytest
from fastapi import FastAPI
from sqlalchemy import text

from agent_factory.database.session import Database
from agent_factory.enterprise.multitenancy.limits import Metric
from agent_factory.kit.ids import decode, uuid7
from agent_factory.services.billing import service as billing
from tests.services.organizations.parts import Hire, letters_to, make_role, member, own, user
from tests.serving import Client, client_of, opened, settings_for

PASSWORD = "a-horse-counts-staples"


def _address() -> str:
    return f"{uuid7().hex}@example.com"


async def _invite(client: Client, address: str, role: str = "developer") -> dict[str, Any]:
    answer = await client.post(f"{own(client)}/invitations", json={"email": address, "role": role})
    assert answer.status_code == 201, answer.text
    return answer.json()


async def _token(app: FastAPI, database: Database, address: str) -> str:
    """The token in the newest letter to an address."""
    letter = (await letters_to(app, database, address))[-1]
    found = re.search(r"inv_[\w-]{43}", letter.text)
    assert found is not None, letter.text
    return found[0]


async def _accept(anyone: Client, token: str, **more: Any) -> Any:
    return await anyone.post("/api/v1/auth/accept-invitation", json={"token": token, **more})


async def test_an_invitation_is_mailed_and_its_token_is_nowhere_else(
    app: FastAPI, database: Database, client: Client
) -> None:
    address = _address()
    made = await _invite(client, address)
    assert (made["email"], made["role"], made["status"]) == (address, "developer", "open")
    token = await _token(app, database, address)
    listed = await client.get(f"{own(client)}/invitations")
    assert listed.json()["data"] == [made]
    assert token not in listed.text
    async with database.system() as session:
        rows = await session.execute(text("select row_to_json(i)::text from invitations i"))
        assert not [row for row in rows.scalars() if token in row]


async def test_who_has_no_account_chooses_a_password_and_is_a_member(
    app: FastAPI, database: Database, client: Client, anyone: Client
) -> None:
    address = _address()
    await _invite(client, address, "viewer")
    token = await _token(app, database, address)
    without = await _accept(anyone, token)
    assert without.status_code == 422
    assert without.json()["errors"][0]["pointer"] == "/password"
    joined = await _accept(anyone, token, name="Ada", password=PASSWORD)
    assert joined.status_code == 201
    assert joined.json()["new_account"]
    assert joined.json()["role"] == "viewer"
    shown = (await client.get(f"{own(client)}/members/{joined.json()['user_id']}")).json()
    assert (shown["email"], shown["name"], shown["role"]) == (address, "Ada", "viewer")
    login = await anyone.post("/api/v1/auth/login", json={"email": address, "password": PASSWORD})
    assert login.status_code == 200, login.text


async def test_nobody_joins_beyond_the_seats_of_the_plan_not_even_at_the_same_moment(
    app: FastAPI, database: Database, client: Client, anyone: Client
) -> None:
    """S207: of five who accept at once, the two join that there are seats for."""
    organization_id = client.actor.organization_id
    async with database.system() as session:
        await billing.set_quota(session, organization_id, Metric.SEATS, Decimal(3))
    app.state.platform.engine.ledger.known.forget(organization_id)
    addresses = [_address() for _ in range(5)]
    for address in addresses:
        await _invite(client, address)
    tokens = [await _token(app, database, address) for address in addresses]
    joined = await asyncio.gather(*(_accept(anyone, token, name="Ada", password=PASSWORD) for token in tokens))
    assert sorted(each.status_code for each in joined) == [201, 201, 402, 402, 402]
    assert {each.json()["code"] for each in joined if each.status_code == 402} == {"quota_exceeded"}


async def test_who_has_an_account_joins_with_it_and_it_stays_as_it_is(
    app: FastAPI, database: Database, client: Client, stranger: Client, anyone: Client
) -> None:
    address = _address()
    await _invite(stranger, address)
    await _accept(anyone, await _token(app, database, address), name="Ada", password=PASSWORD)
    await _invite(client, address, "viewer")
    joined = await _accept(anyone, await _token(app, database, address), name="Eve", password="another-long-password")
    assert (joined.status_code, joined.json()["new_account"]) == (201, False)
    for password, code in ((PASSWORD, 200), ("another-long-password", 401)):
        login = {"email": address, "password": password, "organization_id": own(client).rpartition("/")[2]}
        assert (await anyone.post("/api/v1/auth/login", json=login)).status_code == code


async def test_a_token_is_good_for_one_even_at_the_same_moment(
    app: FastAPI, database: Database, client: Client, anyone: Client
) -> None:
    address = _address()
    await _invite(client, address)
    token = await _token(app, database, address)
    tries = await asyncio.gather(*(_accept(anyone, token, password=PASSWORD) for _ in range(5)))
    assert sorted(t.status_code for t in tries) == [201, 404, 404, 404, 404]
    assert {t.json()["code"] for t in tries if t.status_code == 404} == {"invitation_invalid"}
    people = (await client.get(f"{own(client)}/members")).json()["data"]
    assert len([p for p in people if p["email"] == address]) == 1


async def test_what_is_wrong_with_a_token_is_not_told(
    app: FastAPI, database: Database, client: Client, anyone: Client
) -> None:
    """Abuse 17: unknown, empty, expired, revoked and used tokens get the same answer."""
    answers: set[tuple[int, str]] = set()
    for fate in ("unknown", "expired", "revoked", "resent"):
        address = _address()
        made = await _invite(client, address)
        token = await _token(app, database, address)
        path = f"{own(client)}/invitations/{made['id']}"
        if fate == "unknown":
            token = "inv_" + "x" * 43
        elif fate == "expired":
            async with database.system() as session:
                await session.execute(text("update invitations set expires_at = now() - interval '1 second'"))
        elif fate == "revoked":
            assert (await client.delete(path)).status_code == 204
        else:
            assert (await client.post(f"{path}:resend")).status_code == 200
        refused = await _accept(anyone, token, password=PASSWORD)
        answers.add((refused.status_code, refused.json()["code"] + refused.json()["detail"]))
    assert len(answers) == 1
    assert next(iter(answers))[0] == 404


async def test_an_invitation_that_is_sent_again_has_a_new_token(
    app: FastAPI, database: Database, client: Client, anyone: Client
) -> None:
    address = _address()
    made = await _invite(client, address)
    first = await _token(app, database, address)
    again = await client.post(f"{own(client)}/invitations/{made['id']}:resend")
    assert again.json()["expires_at"] > made["expires_at"]
    second = await _token(app, database, address)
    assert second != first
    assert (await _accept(anyone, second, password=PASSWORD)).status_code == 201
    closed = await client.post(f"{own(client)}/invitations/{made['id']}:resend")
    assert (closed.status_code, closed.json()["code"]) == (409, "invitation_closed")
    assert (await client.delete(f"{own(client)}/invitations/{made['id']}")).status_code == 409


async def test_an_address_is_invited_once_until_its_time_is_over(database: Database, client: Client) -> None:
    address = _address()
    made = await _invite(client, address)
    twice = await client.post(f"{own(client)}/invitations", json={"email": address.upper(), "role": "viewer"})
    assert twice.status_code == 409
    async with database.system() as session:
        await session.execute(text("update invitations set expires_at = now() - interval '1 second'"))
    assert (await client.get(f"{own(client)}/invitations/{made['id']}")).json()["status"] == "expired"
    await _invite(client, address)


async def test_a_member_is_not_invited(client: Client, hire: Hire) -> None:
    developer = await hire(client)
    email = (await client.get(member(developer))).json()["email"]
    refused = await client.post(f"{own(client)}/invitations", json={"email": email.upper(), "role": "viewer"})
    assert (refused.status_code, refused.json()["code"]) == (409, "already_member")


async def test_nobody_invites_to_more_than_he_has(client: Client, hire: Hire) -> None:
    """Abuse 46."""
    manager = await hire(client, await make_role(client, "user:manage"))
    for role in ("organization_owner", "admin", "developer"):
        refused = await manager.post(f"{own(client)}/invitations", json={"email": _address(), "role": role})
        assert refused.status_code == 403
    assert (await client.get(f"{own(client)}/invitations")).json()["data"] == []


@pytest.mark.parametrize("fate", ["demoted", "disabled", "removed"])
async def test_an_invitation_is_worth_as_much_as_whoever_invited(
    app: FastAPI, database: Database, client: Client, hire: Hire, anyone: Client, fate: str
) -> None:
    """Otherwise an owner who is about to go could keep a way back in (abuse 46)."""
    leaving = await hire(client, "organization_owner")
    address = _address()
    await _invite(leaving, address, "organization_owner")
    token = await _token(app, database, address)
    if fate == "demoted":
        await client.patch(member(leaving), json={"role": "team_lead"})
    elif fate == "disabled":
        await client.post(f"{member(leaving)}:disable")
    else:
        await client.delete(member(leaving))
    assert (await _accept(anyone, token, password=PASSWORD)).status_code == 404


@pytest.mark.parametrize("fate", ["revoked", "expired", "narrowed"])
async def test_an_invitation_by_a_service_is_worth_as_much_as_its_keys(
    app: FastAPI, database: Database, client: Client, anyone: Client, fate: str
) -> None:
    """A stolen key that was revoked has left nobody a way in (abuse 46)."""
    body = {"name": "directory", "kind": "service", "scopes": ["user:manage", "agent:read", "workflow:read"]}
    made = (await client.post("/api/v1/api-keys", json=body)).json()
    address, kept = _address(), _address()
    async with client_of(app, made["key"]) as service:
        service.actor = client.actor
        for each in (address, kept):
            await _invite(service, each, "viewer")
    assert (await _accept(anyone, await _token(app, database, kept), password=PASSWORD)).status_code == 201
    change = {"revoked": "revoked_at = now()", "expired": "expires_at = now()", "narrowed": "scopes = '{agent:read}'"}
    async with database.system() as session:
        statement = text(f"update api_keys set {change[fate]} where id = :id")  # noqa: S608 - the words above
        await session.execute(statement, {"id": decode("key", made["id"])})
    answer = await _accept(anyone, await _token(app, database, address), password=PASSWORD)
    assert (answer.status_code, answer.json()["code"]) == (404, "invitation_invalid")


async def test_into_a_suspended_organisation_nobody_comes(
    app: FastAPI, database: Database, client: Client, anyone: Client
) -> None:
    address = _address()
    await _invite(client, address)
    token = await _token(app, database, address)
    await client.post(f"{own(client)}:suspend")
    assert (await _accept(anyone, token, password=PASSWORD)).status_code == 404
    await client.post(f"{own(client)}:resume")
    assert (await _accept(anyone, token, password=PASSWORD)).status_code == 201


@pytest.mark.parametrize("address", ["", "ada", "a@b@c", "a b@example.com", "a@example.com\nBcc: x@y.z", "x" * 300])
async def test_what_is_no_address_is_refused(client: Client, address: str) -> None:
    refused = await client.post(f"{own(client)}/invitations", json={"email": address})
    assert refused.status_code == 422


async def test_a_name_cannot_write_into_the_head_of_the_mail(app: FastAPI, database: Database, client: Client) -> None:
    await client.patch(own(client), json={"name": "Acme\r\nBcc: everyone@example.com"})
    address = _address()
    await _invite(client, address)
    letter = (await letters_to(app, database, address))[-1]
    assert "\n" not in letter.subject
    assert "\r" not in letter.subject


@pytest.mark.parametrize("registration", ["invited", "closed"])
async def test_where_it_is_closed_only_those_with_an_account_join(
    database: Database, database_url: str, client: Client, registration: str
) -> None:
    auth = {"believed_seconds": 0, "registration": registration}
    async with opened(settings_for(database_url, auth=auth)) as app, client_of(app) as anyone:
        address = _address()
        await _invite(client, address)
        token = await _token(app, database, address)
        joined = await _accept(anyone, token, password=PASSWORD)
        expected = (201, None) if registration == "invited" else (404, "registration_closed")
        assert (joined.status_code, joined.json().get("code")) == expected


async def test_invitations_are_for_those_who_manage_people(client: Client, hire: Hire) -> None:
    lead = await hire(client, "team_lead")
    made = await _invite(client, _address())
    path = f"{own(client)}/invitations"
    for method, each in (("GET", ""), ("POST", ""), ("GET", f"/{made['id']}"), ("DELETE", f"/{made['id']}")):
        body = {"email": _address()} if method == "POST" else None
        assert (await lead.request(method, path + each, json=body)).status_code == 403
    assert made["invited_by"] == user(client)
