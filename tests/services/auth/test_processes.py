"""Two servers of one installation, each a process of its own: an end is heard of in both within five seconds."""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from fastapi import FastAPI

from agent_factory.services.auth import service
from tests.services.auth.people import PASSWORD, Person, log_in, make_person, platform_of
from tests.serving import Client, served

ME = "/api/v1/auth/me"
BELIEVED = 5.0
ON_THE_WAY = 1.0
"""Seconds for the requests themselves, on a machine that does much else."""

End = Callable[[FastAPI, Client, Person], Awaitable[None]]


@pytest.fixture(scope="module")
async def servers(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[list[Client], None]:
    async with AsyncExitStack() as stack:
        clients: list[Client] = []
        for number in range(2):
            folder: Path = tmp_path_factory.mktemp(f"server-{number}")
            environment = {
                "AF_DATABASE__URL": database_url,
                "AF_DATABASE__DATA_DIR": str(folder),
                "AF_QUEUE__WORKER": "false",
                "AF_SCHEDULER__ENABLED": "false",
                "AF_AUDIT__SEALER": "false",
                "AF_MAIL__DELIVER": "false",
            }
            root = await stack.enter_async_context(served(environment))
            clients.append(await stack.enter_async_context(Client(base_url=root)))
        yield clients


async def revoke_keys(app: FastAPI, _here: Client, person: Person) -> None:
    await platform_of(app).database.pool.execute(
        "update api_keys set revoked_at = now() where user_id = $1", person.user_id
    )


async def log_out(_app: FastAPI, here: Client, person: Person) -> None:
    pair = (await log_in(here, person)).json()
    headers = {"Authorization": f"Bearer {pair['access_token']}"}
    assert (await here.post("/api/v1/auth/logout-everywhere", headers=headers)).status_code == 204


async def disable(app: FastAPI, _here: Client, person: Person) -> None:
    platform = platform_of(app)
    async with platform.database.system() as session:
        await service.disable_account(session, platform.mail, email=person.email)


async def distrust(app: FastAPI, _here: Client, _person: Person) -> None:
    await platform_of(app).tokens.rotate(distrust=True)


ENDS: dict[str, tuple[End, set[str]]] = {
    "a revoked key": (revoke_keys, {"key"}),
    "a logout everywhere": (log_out, {"token"}),
    "a disabled account": (disable, {"key", "token"}),
    "a signing key that is not trusted any more": (distrust, {"token"}),
}


async def _refused_after(server: Client, secret: str, begun: float) -> float:
    """Ask without pause until a credential is refused; gives the seconds since its end."""
    while True:
        answer = await server.get(ME, headers={"Authorization": f"Bearer {secret}"})
        if answer.status_code == 401:
            return time.monotonic() - begun
        assert answer.status_code == 200, answer.text
        assert time.monotonic() - begun < BELIEVED + ON_THE_WAY, "it still works"


@pytest.mark.parametrize("what", ENDS)
async def test_what_ends_is_refused_by_every_process_within_five_seconds(
    app: FastAPI, servers: list[Client], what: str
) -> None:
    """Abuse 13, 14: though both use the credential all the time, and nobody tells them."""
    end, ending = ENDS[what]
    person = await make_person(app)
    token = (await log_in(servers[0], person, PASSWORD)).json()["access_token"]
    headers = {"Authorization": f"Bearer {token}"}
    key = (await servers[0].post("/api/v1/api-keys", json={"name": "mine"}, headers=headers)).json()["key"]
    secrets = {"key": key, "token": token}
    for server in servers:
        for secret in secrets.values():
            assert (await server.get(ME, headers={"Authorization": f"Bearer {secret}"})).status_code == 200
    await end(app, servers[0], person)
    begun = time.monotonic()
    late = await asyncio.gather(
        *(_refused_after(server, secrets[name], begun) for server in servers for name in ending)
    )
    assert max(late) <= BELIEVED + ON_THE_WAY
    for name in secrets.keys() - ending:
        for server in servers:
            assert (await server.get(ME, headers={"Authorization": f"Bearer {secrets[name]}"})).status_code == 200
