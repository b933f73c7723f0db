"""What `permissions:check` says is what the routes do (S43): for each on one agent or workflow, and each grant."""

import re
from typing import Any

import pytest
from fastapi import FastAPI

from agent_factory.kit.ids import encode, uuid7
from tests.services.organizations.parts import Hire, make_role, user
from tests.serving import Client
from tests.test_tenancy import GREETING, OPERATIONS, _body, _query, _whole

NOUNS = {"agent_id": "agent", "workflow_id": "workflow"}
VERBS = ("read", "edit", "run", "publish", "delete")


def _routes() -> list[Any]:
    found: list[Any] = []
    for method, path, operation in OPERATIONS:
        names = re.findall(r"\{(\w+)\}", _whole(path))
        needed = operation.get("x-permission", "")
        if (
            len(names) == 1
            and names[0] in NOUNS
            and needed.partition(":")[0] == NOUNS[names[0]]
            and " or " not in needed
        ):
            found.append(pytest.param(method, path, operation, id=f"{method} {path}"))
    return found


async def _made(owner: Client, noun: str) -> str:
    if noun == "agent":
        return (await owner.create_agent(f"agent-{uuid7().hex[-12:]}"))["id"]
    flow = {"name": f"flow-{uuid7().hex[-12:]}", "tasks": [GREETING]}
    return (await owner.post("/api/v1/workflows", json=flow)).json()["id"]


async def _allowed(client: Client, resource: str, permission: str, **more: Any) -> bool:
    asked = {"resource": resource, "action": permission.partition(":")[2], **more}
    answer = await client.post("/api/v1/permissions:check", json=asked)
    assert answer.status_code == 200, answer.text
    return answer.json()["allowed"]


@pytest.mark.parametrize(("method", "path", "operation"), _routes())
@pytest.mark.parametrize("verb", VERBS)
async def test_the_answer_is_what_the_route_does(
    app: FastAPI, client: Client, hire: Hire, verb: str, method: str, path: str, operation: dict[str, Any]
) -> None:
    """Whoever has one grant to one thing comes in where it says so, and not to the next of its kind."""
    (name,) = re.findall(r"\{(\w+)\}", _whole(path))
    noun, needed = NOUNS[name], operation["x-permission"]
    guest = await hire(client, await make_role(client))
    granted, other = await _made(client, noun), await _made(client, noun)
    grant = {"user_id": user(guest), name: granted, "rights": [f"{noun}:{verb}"]}
    assert (await client.post("/api/v1/grants", json=grant)).status_code == 201
    for resource in (other, granted):
        said = await _allowed(guest, resource, needed)
        assert said == (resource == granted and needed == f"{noun}:{verb}")
        assert await _allowed(client, resource, needed, user_id=user(guest)) == said
        filled = _whole(path).replace(f"{{{name}}}", resource)
        answer = await guest.request(method, filled, json=_body(operation, app), params=_query(operation))
        assert (answer.status_code != 403) == said, answer.text


def test_the_routes_on_one_thing_are_many() -> None:
    assert len(_routes()) > 20


async def test_who_may_everything_is_told_that_what_is_not_there_is_not(client: Client, stranger: Client) -> None:
    """A yes to what no route would do is none; who may nothing anyway learns nothing of what there is."""
    theirs = (await stranger.create_agent())["id"]
    for resource in (theirs, encode("agt", uuid7()), encode("wf", uuid7())):
        answer = await client.post("/api/v1/permissions:check", json={"resource": resource, "action": "run"})
        assert (answer.status_code, answer.json()["code"]) == (404, "granted_resource_not_found")


async def test_who_may_nothing_cannot_tell_what_there_is(client: Client, hire: Hire) -> None:
    guest = await hire(client, await make_role(client))
    for resource in ((await client.create_agent())["id"], encode("agt", uuid7())):
        assert await _allowed(guest, resource, "agent:run") is False
