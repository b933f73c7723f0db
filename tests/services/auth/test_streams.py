"""Streams that were begun with a good credential end with it (S30, S31; abuse 13, 14)."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from fastapi import FastAPI

from agent_factory.api import sse
from agent_factory.kit.errors import Unavailable
from agent_factory.kit.ids import encode
from agent_factory.security.auth import Actor
from agent_factory.services.auth import service
from tests.services.auth.people import CHEAP, Person, log_in, make_person, platform_of
from tests.serving import Client, client_of, opened, settings_for

ENDS = {
    "key": {
        "a revoked key": "update api_keys set revoked_at = now() where user_id = $1",
        "an expired key": "update api_keys set expires_at = now() where user_id = $1",
        "a disabled membership": "update users set status = 'disabled' where id = $1",
    },
    "session": {
        "an ended session": "update logins set ended_at = now() where user_id = $1",
        "a session that is too old": "update logins set expires_at = now() where user_id = $1",
        "a disabled membership": "update users set status = 'disabled' where id = $1",
        "a disabled account": "",
    },
}
CASES = [(credential, end) for credential, ends in ENDS.items() for end in ends]


@pytest.fixture(scope="module")
async def app(database_url: str) -> AsyncGenerator[FastAPI, None]:
    async with opened(settings_for(database_url, passwords=CHEAP)) as running:
        yield running


class Looks:
    """Looks at credentials as ever, and tells how often that was."""

    def __init__(self, app: FastAPI, patch: pytest.MonkeyPatch) -> None:
        self._look = app.state.still_good
        self._looked = asyncio.Condition()
        self.away = False
        self.count = 0
        patch.setitem(app.state._state, "still_good", self)
        patch.setattr(sse, "BELIEVED_SECONDS", 0.02)

    async def __call__(self, actor: Actor) -> bool:
        async with self._looked:
            self.count += 1
            self._looked.notify_all()
        if self.away:
            raise Unavailable("PostgreSQL is away.")
        return await self._look(actor)

    async def more(self, number: int) -> None:
        """Wait for some more of them."""
        async with self._looked, asyncio.timeout(20):
            wanted = self.count + number
            await self._looked.wait_for(lambda: self.count >= wanted)


async def watched(app: FastAPI, anyone: Client, credential: str) -> tuple[Person, Client, str]:
    """Somebody with a key or a session, and the address of a stream that has no end of its own."""
    person = await make_person(app)
    pair = (await log_in(anyone, person)).json()
    async with client_of(app, pair["access_token"]) as own:
        key = (await own.post("/api/v1/api-keys", json={"name": "mine"})).json()["key"]
        agent = await own.create_agent()
        assert (await own.post(f"/api/v1/agents/{agent['id']}:deploy")).status_code == 200
        talk = await own.post("/api/v1/sessions", json={"agent": agent["id"]})
        assert talk.status_code == 201, talk.text
    secret = key if credential == "key" else pair["access_token"]
    return person, client_of(app, secret), f"/api/v1/sessions/{talk.json()['id']}/events"


@pytest.mark.parametrize(("credential", "end"), CASES)
async def test_who_is_shut_out_watches_no_longer(
    app: FastAPI, anyone: Client, monkeypatch: pytest.MonkeyPatch, credential: str, end: str
) -> None:
    person, client, path = await watched(app, anyone, credential)
    looks = Looks(app, monkeypatch)
    stream: asyncio.Task[Any] = asyncio.create_task(client.get(path))
    await looks.more(3)
    looks.away = True
    await looks.more(3)
    looks.away = False
    await looks.more(3)
    assert not stream.done(), "it goes on while all is well, and while nobody can say"
    platform = platform_of(app)
    if sql := ENDS[credential][end]:
        await platform.database.pool.execute(sql, person.user_id)
    else:
        async with platform.database.system() as session:
            await service.disable_account(session, platform.mail, email=person.email)
    answer = await asyncio.wait_for(stream, 20)
    assert answer.status_code == 200
    await client.aclose()


async def test_a_token_that_is_merely_old_ends_no_stream(app: FastAPI, anyone: Client) -> None:
    """Its session goes on, and a client refreshes it beside the stream; another session's end is none of its own."""
    person, client, _ = await watched(app, anyone, "session")
    me = (await client.get("/api/v1/auth/me")).json()
    await client.aclose()
    actor = await app.state.authenticate(client.headers["authorization"].split()[1])
    assert encode("lgn", actor.session_id) == me["session_id"]
    await log_in(anyone, person)
    pool = platform_of(app).database.pool
    await pool.execute(
        "update logins set ended_at = now() where user_id = $1 and id <> $2", person.user_id, actor.session_id
    )
    assert await app.state.still_good(actor)
    await pool.execute("update logins set ended_at = now() where id = $1", actor.session_id)
    assert not await app.state.still_good(actor)
