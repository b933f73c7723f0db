"""Rights to one agent or one workflow reach that one and nothing else, by whichever door (S49, abuse 46)."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from sqlalchemy import text

from agent_factory.database.session import Database
from tests.services.organizations.parts import Hire, make_role, make_team, user
from tests.serving import Client

STEP = {"id": "greet", "type": "transform", "config": {"value": "hello"}}


async def deployed(client: Client, name: str, **definition: Any) -> dict[str, Any]:
    agent = await client.create_agent(name, **definition)
    assert (await client.post(f"/api/v1/agents/{agent['id']}:deploy")).status_code == 200
    return agent


async def workflow(client: Client, name: str, *tasks: dict[str, Any]) -> dict[str, Any]:
    made = await client.post("/api/v1/workflows", json={"name": name, "tasks": list(tasks) or [STEP]})
    assert made.status_code == 201, made.text
    assert (await client.post(f"/api/v1/workflows/{made.json()['id']}:deploy")).status_code == 200
    return made.json()


async def grant(client: Client, whom: Client, resource: dict[str, Any], *rights: str) -> str:
    kind = "agent_id" if resource["id"].startswith("agt_") else "workflow_id"
    body = {"user_id": user(whom), kind: resource["id"], "rights": list(rights)}
    made = await client.post("/api/v1/grants", json=body)
    assert made.status_code == 201, made.text
    return made.headers["location"]


@pytest.fixture
async def guest(client: Client, hire: Hire) -> Client:
    """Somebody whose role gives nothing at all."""
    return await hire(client, await make_role(client))


async def test_a_grant_is_made_listed_changed_and_revoked(client: Client, guest: Client) -> None:
    agent = await client.create_agent("one")
    path = await grant(client, guest, agent, "agent:read")
    shown = (await client.get(path)).json()
    assert (shown["user_id"], shown["agent_id"], shown["rights"]) == (user(guest), agent["id"], ["agent:read"])
    assert (await client.get("/api/v1/grants", params={"agent_id": agent["id"]})).json()["data"] == [shown]
    assert (await guest.get(f"/api/v1/agents/{agent['id']}")).status_code == 200
    assert (await client.patch(path, json={"rights": ["agent:run"]})).json()["rights"] == ["agent:run"]
    assert (await guest.get(f"/api/v1/agents/{agent['id']}")).status_code == 403
    assert (await client.delete(path)).status_code == 204
    assert (await client.get(path)).status_code == 404


async def test_the_same_is_granted_once(client: Client, guest: Client) -> None:
    agent = await client.create_agent("one")
    await grant(client, guest, agent, "agent:read")
    body = {"user_id": user(guest), "agent_id": agent["id"], "rights": ["agent:run"]}
    assert (await client.post("/api/v1/grants", json=body)).status_code == 409


@pytest.mark.parametrize(
    "rights", [[], ["agent:create"], ["workflow:run"], ["*"], ["org:*"], ["agent:fly"], ["agent:run", "x"]]
)
async def test_only_rights_to_a_single_thing_of_the_kind_can_be_granted(
    client: Client, guest: Client, rights: list[str]
) -> None:
    agent = await client.create_agent("one")
    body = {"user_id": user(guest), "agent_id": agent["id"], "rights": rights}
    assert (await client.post("/api/v1/grants", json=body)).status_code == 422


@pytest.mark.parametrize("missing", ["user_id", "agent_id", "both"])
async def test_a_grant_names_one_receiver_and_one_thing(client: Client, guest: Client, missing: str) -> None:
    body = {"user_id": user(guest), "agent_id": (await client.create_agent("one"))["id"], "rights": ["agent:run"]}
    if missing == "both":
        body["workflow_id"] = (await workflow(client, "flow"))["id"]
    else:
        del body[missing]
    assert (await client.post("/api/v1/grants", json=body)).status_code == 422


@pytest.mark.parametrize("field", ["user_id", "team_id", "agent_id", "workflow_id"])
async def test_nothing_of_another_organisation_is_granted_or_gets_a_grant(
    database: Database, client: Client, guest: Client, stranger: Client, field: str
) -> None:
    """Abuse 35."""
    body: dict[str, Any] = {"rights": ["agent:run"], "user_id": user(guest)}
    body["agent_id"] = (await client.create_agent("one"))["id"]
    if field == "user_id":
        body[field] = user(stranger)
    elif field == "team_id":
        del body["user_id"]
        body[field] = (await make_team(stranger)).rpartition("/")[2]
    elif field == "agent_id":
        body[field] = (await stranger.create_agent("theirs"))["id"]
    else:
        del body["agent_id"]
        body |= {field: (await workflow(stranger, "theirs"))["id"], "rights": ["workflow:run"]}
    refused = await client.post("/api/v1/grants", json=body)
    assert refused.status_code == 404, refused.text
    async with database.system() as session:
        of_both = [client.actor.organization_id, stranger.actor.organization_id]
        count = text("select count(*) from grants where organization_id = any(:ids)")
        assert await session.scalar(count, {"ids": of_both}) == 0


async def test_nobody_grants_what_he_lacks(client: Client, hire: Hire, guest: Client) -> None:
    """Abuse 46: to himself, to others, or to a team that he is in."""
    agent = await client.create_agent("one")
    giver = await hire(client, await make_role(client, "team:*", "agent:read"))
    team = (await make_team(giver, giver)).rpartition("/")[2]
    for receiver in ({"user_id": user(giver)}, {"user_id": user(guest)}, {"team_id": team}):
        body = {**receiver, "agent_id": agent["id"], "rights": ["agent:edit"]}
        assert (await giver.post("/api/v1/grants", json=body)).status_code == 403
        allowed = await giver.post("/api/v1/grants", json={**body, "rights": ["agent:read"]})
        assert allowed.status_code == 201
        assert (await giver.patch(allowed.headers["location"], json={"rights": ["agent:*"]})).status_code == 403
    above = await grant(client, client, agent, "agent:publish")
    assert (await giver.delete(above)).status_code == 403


async def test_who_has_a_grant_may_pass_it_on_no_further(client: Client, guest: Client, hire: Hire) -> None:
    agent = await client.create_agent("one")
    await grant(client, guest, agent, "agent:*")
    other = await hire(client, "viewer")
    body = {"user_id": user(other), "agent_id": agent["id"], "rights": ["agent:run"]}
    assert (await guest.post("/api/v1/grants", json=body)).status_code == 403


async def _chat(who: Client, agent: dict[str, Any]) -> int:
    body = {"model": f"agent:{agent['name']}", "messages": [{"role": "user", "content": "hello"}]}
    return (await who.post("/v1/chat/completions", json=body)).status_code


async def _respond(who: Client, agent: dict[str, Any]) -> int:
    body = {"model": f"agent:{agent['name']}", "input": "hello"}
    return (await who.post("/v1/responses", json=body)).status_code


async def _run_by_id(who: Client, agent: dict[str, Any]) -> int:
    return (await who.post("/api/v1/runs", json={"agent": agent["id"], "input": "hello"})).status_code


async def _run_by_name(who: Client, agent: dict[str, Any]) -> int:
    return (await who.post("/api/v1/runs", json={"agent": agent["name"], "input": "hello"})).status_code


async def _session(who: Client, agent: dict[str, Any]) -> int:
    return (await who.post("/api/v1/sessions", json={"agent": agent["name"]})).status_code


async def _mcp(who: Client, agent: dict[str, Any]) -> int:
    headers = {"Accept": "application/json, text/event-stream"}
    call = {"name": f"ask_{agent['name']}", "arguments": {"message": "hello"}}
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call}
    answer = await who.post("/mcp", json=body, headers=headers)
    return 403 if "agent:run" in answer.text else answer.status_code


async def _mcp_of_one(who: Client, agent: dict[str, Any]) -> int:
    headers = {"Accept": "application/json, text/event-stream"}
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    return (await who.post(f"/mcp/agents/{agent['name']}", json=body, headers=headers)).status_code


DOORS: dict[str, Callable[[Client, dict[str, Any]], Awaitable[int]]] = {
    "run by id": _run_by_id,
    "run by name": _run_by_name,
    "session": _session,
    "chat completion": _chat,
    "response": _respond,
    "MCP tool": _mcp,
    "MCP server of one agent": _mcp_of_one,
}


@pytest.mark.parametrize("door", DOORS)
async def test_a_grant_to_run_one_agent_is_for_that_one(client: Client, guest: Client, door: str) -> None:
    one, other = await deployed(client, "one"), await deployed(client, "other")
    assert await DOORS[door](guest, one) == 403
    await grant(client, guest, one, "agent:run")
    assert await DOORS[door](guest, one) in (200, 201)
    assert await DOORS[door](guest, other) == 403


async def test_what_others_have_just_asked_of_an_agent_opens_it_to_nobody(client: Client, guest: Client) -> None:
    """What a run needs is remembered for a second, for all callers; whether one may is not."""
    one, other = await deployed(client, "one"), await deployed(client, "other")
    await grant(client, guest, one, "agent:run")
    assert await _run_by_name(client, other) == 201
    assert await _run_by_name(guest, other) == 403


async def test_lists_show_what_was_granted_and_nothing_else(client: Client, guest: Client) -> None:
    one = await deployed(client, "one")
    await deployed(client, "other")
    flow = await workflow(client, "flow")
    await workflow(client, "stream")
    assert (await guest.get("/api/v1/agents")).status_code == 403
    await grant(client, guest, one, "agent:read")
    await grant(client, guest, flow, "workflow:read")
    assert [a["id"] for a in (await guest.get("/api/v1/agents")).json()["data"]] == [one["id"]]
    assert [w["id"] for w in (await guest.get("/api/v1/workflows")).json()["data"]] == [flow["id"]]
    assert [m["id"] for m in (await guest.get("/v1/models")).json()["data"]] == ["agent:one"]
    assert (await guest.get("/v1/models/agent:one")).status_code == 200
    assert (await guest.get("/v1/models/agent:other")).status_code == 403


async def test_the_tools_of_mcp_are_the_agents_that_may_be_run(client: Client, guest: Client) -> None:
    one, other = await deployed(client, "one"), await deployed(client, "other")
    await grant(client, guest, one, "agent:run")
    await grant(client, guest, other, "agent:read")
    headers = {"Accept": "application/json, text/event-stream"}
    listed = await guest.post("/mcp", json={"jsonrpc": "2.0", "id": 1, "method": "tools/list"}, headers=headers)
    assert "ask_one" in listed.text
    assert "ask_other" not in listed.text


async def test_conversations_and_runs_are_seen_by_whom_their_agent_was_granted(client: Client, guest: Client) -> None:
    runs: dict[str, str] = {}
    sessions: dict[str, str] = {}
    for name in ("one", "other"):
        agent = await deployed(client, name)
        runs[name] = (await client.post("/api/v1/runs", json={"agent": name, "input": "hi"})).json()["run"]["id"]
        sessions[name] = (await client.post("/api/v1/sessions", json={"agent": name})).json()["id"]
        if name == "one":
            await grant(client, guest, agent, "agent:read")
    for kind, found in (("runs", runs), ("sessions", sessions)):
        assert [r["id"] for r in (await guest.get(f"/api/v1/{kind}")).json()["data"]] == [found["one"]]
        assert (await guest.get(f"/api/v1/{kind}/{found['one']}")).status_code == 200
        assert (await guest.get(f"/api/v1/{kind}/{found['other']}")).status_code == 403
    for part in ("steps", "cost", "output", "events"):
        assert (await guest.get(f"/api/v1/runs/{runs['one']}/{part}")).status_code == 200
        assert (await guest.get(f"/api/v1/runs/{runs['other']}/{part}")).status_code == 403
    for part in ("messages", "events"):
        if part == "messages":
            assert (await guest.get(f"/api/v1/sessions/{sessions['one']}/{part}")).status_code == 200
        assert (await guest.get(f"/api/v1/sessions/{sessions['other']}/{part}")).status_code == 403
    say = {"content": "hello"}
    for name in ("one", "other"):
        path = f"/api/v1/sessions/{sessions[name]}"
        assert (await guest.post(f"{path}/messages", json=say)).status_code == 403
        assert (await guest.patch(path, json={"title": "mine"})).status_code == 403
        assert (await guest.delete(path)).status_code == 403


async def test_a_response_belongs_to_its_agent(client: Client, guest: Client) -> None:
    kept: dict[str, str] = {}
    for name in ("one", "other"):
        agent = await deployed(client, name)
        asked = {"model": f"agent:{name}", "input": "hello"}
        kept[name] = (await client.post("/v1/responses", json=asked)).json()["id"]
        if name == "one":
            await grant(client, guest, agent, "agent:read", "agent:run")
    assert (await guest.get(f"/v1/responses/{kept['one']}")).status_code == 200
    for path in ("", "/input_items"):
        assert (await guest.get(f"/v1/responses/{kept['other']}{path}")).status_code == 403
    assert (await guest.post(f"/v1/responses/{kept['other']}/cancel")).status_code == 403
    assert (await guest.delete(f"/v1/responses/{kept['other']}")).status_code == 403
    goes_on = {"model": "agent:one", "input": "and?", "previous_response_id": kept["other"]}
    assert (await guest.post("/v1/responses", json=goes_on)).status_code == 403


async def test_a_grant_to_run_one_workflow_is_for_that_one(client: Client, guest: Client) -> None:
    one, other = await workflow(client, "one"), await workflow(client, "other")
    await grant(client, guest, one, "workflow:run", "workflow:read")
    for named, code in ((one, 202), (other, 403)):
        for body in ({"workflow_id": named["id"]}, {"name": named["name"]}):
            assert (await guest.post("/api/v1/workflows/execute", json=body)).status_code == code
        assert (await guest.post(f"/api/v1/workflows/{named['id']}/runs", json={})).status_code == code
    theirs = (await client.post(f"/api/v1/workflows/{other['id']}/runs", json={})).json()["id"]
    for verb in ("cancel", "retry", "replay", "resume"):
        assert (await guest.post(f"/api/v1/runs/{theirs}:{verb}")).status_code == 403
    assert (await guest.post(f"/api/v1/runs/{theirs}:fork", json={"from": "greet"})).status_code == 403
    assert (await guest.get(f"/api/v1/runs/{theirs}")).status_code == 403
    listed = {r["workflow_id"] for r in (await guest.get("/api/v1/runs")).json()["data"]}
    assert listed == {one["id"]}


async def test_a_definition_in_the_request_needs_the_right_to_make_one(
    client: Client, guest: Client, hire: Hire
) -> None:
    one = await workflow(client, "one")
    await grant(client, guest, one, "workflow:run")
    inline = {"workflow": {"name": "mine", "tasks": [STEP]}}
    assert (await guest.post("/api/v1/workflows/execute", json=inline)).status_code == 403
    runner = await hire(client, await make_role(client, "workflow:run"))
    assert (await runner.post("/api/v1/workflows/execute", json=inline)).status_code == 403
    maker = await hire(client, await make_role(client, "workflow:run", "workflow:create"))
    assert (await maker.post("/api/v1/workflows/execute", json=inline)).status_code == 202


async def test_a_definition_names_only_what_its_author_may_run(client: Client, hire: Hire) -> None:
    """Otherwise whoever writes one reaches every agent and workflow through it (abuse 46)."""
    one, other = await deployed(client, "one"), await deployed(client, "other")
    flow = await workflow(client, "flow")
    author = await hire(client, await make_role(client, "workflow:create", "agent:create"))
    await grant(client, author, one, "agent:run")

    def asks(agent: str) -> dict[str, Any]:
        return {"id": "ask", "type": "agent", "config": {"agent": agent, "message": "hello"}}

    below = {"id": "below", "type": "subworkflow", "config": {"workflow": flow["name"]}}
    tool = {
        "id": "use",
        "type": "tool",
        "config": {"tool": "agent", "config": {"agent": "other"}, "arguments": {"message": "hi"}},
    }
    brought = {"name": "mine", "model": "demo", "tools": [{"use": "agent", "config": {"agent": "other"}}]}
    inline = {"id": "ask", "type": "agent", "config": {"agent": brought, "message": "hello"}}
    for number, task in enumerate((asks("other"), asks(other["id"]), below, tool, inline)):
        body = {"name": f"w{number}", "tasks": [task]}
        answer = await author.post("/api/v1/workflows", json=body)
        assert answer.status_code == 403, (task, answer.text)
    assert (await author.post("/api/v1/workflows", json={"name": "w", "tasks": [asks("one")]})).status_code == 201
    calls = {"name": "boss", "model": "demo", "tools": [{"use": "agent", "config": {"agent": "other"}}]}
    assert (await author.post("/api/v1/agents", json=calls)).status_code == 403
    calls["tools"] = [{"use": "agent", "config": {"agent": "one"}}]
    assert (await author.post("/api/v1/agents", json=calls)).status_code == 201


async def test_who_may_edit_one_agent_adds_no_other_to_it_but_keeps_what_is_there(
    client: Client, guest: Client
) -> None:
    await deployed(client, "helper")
    await deployed(client, "secret")
    uses = [{"use": "agent", "config": {"agent": "helper"}}]
    boss = await deployed(client, "boss", tools=uses)
    await grant(client, guest, boss, "agent:edit", "agent:run", "agent:publish")
    path = f"/api/v1/agents/{boss['id']}"
    assert (await guest.patch(path, json={"description": "better"})).status_code == 200
    more = [*uses, {"use": "agent", "name": "ask_secret", "config": {"agent": "secret"}}]
    assert (await guest.patch(path, json={"tools": more})).status_code == 403
    assert (await guest.post(f"{path}:deploy")).status_code == 200
    assert await _run_by_id(guest, boss) == 201  # and what it calls, as its author might


async def test_triggers_belong_to_their_workflow(client: Client, guest: Client) -> None:
    one, other = await workflow(client, "one"), await workflow(client, "other")
    config = {"type": "cron", "config": {"cron": "0 8 * * 1"}}
    made = [
        (await client.post("/api/v1/triggers", json={"workflow": w["id"], **config})).json()["id"] for w in (one, other)
    ]
    await grant(client, guest, one, "workflow:edit", "workflow:read")
    assert [t["id"] for t in (await guest.get("/api/v1/triggers")).json()["data"]] == [made[0]]
    assert (await guest.get(f"/api/v1/triggers/{made[1]}")).status_code == 403
    assert (await guest.patch(f"/api/v1/triggers/{made[1]}", json={"enabled": False})).status_code == 403
    assert (await guest.delete(f"/api/v1/triggers/{made[1]}")).status_code == 403
    assert (await guest.patch(f"/api/v1/triggers/{made[0]}", json={"enabled": False})).status_code == 200
    another = {"workflow": one["id"], **config}
    assert (await guest.post("/api/v1/triggers", json=another)).status_code == 403  # it would start runs
    listed = (await client.get("/api/v1/grants")).json()["data"]
    wider = {"rights": ["workflow:edit", "workflow:run"]}
    assert (await client.patch(f"/api/v1/grants/{listed[0]['id']}", json=wider)).status_code == 200
    assert (await guest.post("/api/v1/triggers", json=another)).status_code == 201
    assert (await guest.post("/api/v1/triggers", json={**another, "workflow": other["id"]})).status_code in (403, 404)
