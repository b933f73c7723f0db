"""The life of an agent: draft, active, deployed, paused, archived (S55)."""

import asyncio
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_factory.core.agent import NEXT_STATUS, AgentStatus
from agent_factory.kit.errors import Conflict
from agent_factory.services.agents.service import AGENT
from agent_factory.services.definitions.rules import earlier_version, step
from tests.serving import Client

VERBS = {
    "activate": AgentStatus.ACTIVE,
    "deploy": AgentStatus.DEPLOYED,
    "pause": AgentStatus.PAUSED,
    "archive": AgentStatus.ARCHIVED,
}
ROADS: dict[AgentStatus, tuple[str, ...]] = {
    AgentStatus.DRAFT: (),
    AgentStatus.ACTIVE: ("activate",),
    AgentStatus.DEPLOYED: ("deploy",),
    AgentStatus.PAUSED: ("deploy", "pause"),
    AgentStatus.ARCHIVED: ("archive",),
}


async def act(client: Client, agent: str, verb: str, **body: int) -> tuple[int, dict[str, object]]:
    answer = await client.post(f"/api/v1/agents/{agent}:{verb}", json=body)
    return answer.status_code, answer.json()


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("status", AgentStatus)
async def test_each_step_leads_where_the_life_cycle_says_or_is_a_typed_conflict(
    client: Client, status: AgentStatus, verb: str
) -> None:
    agent = (await client.create_agent())["id"]
    for before in ROADS[status]:
        assert (await act(client, agent, before))[0] == 200
    code, told = await act(client, agent, verb)
    now = (await client.get(f"/api/v1/agents/{agent}")).json()["status"]
    if VERBS[verb] in NEXT_STATUS[status]:
        assert (code, told["status"], now) == (200, VERBS[verb], VERBS[verb])
    else:
        archived = status is AgentStatus.ARCHIVED
        assert (code, told["code"]) == (409, "agent_archived" if archived else "agent_status_conflict")
        assert now == status


async def test_an_archived_agent_takes_no_change_but_is_readable(client: Client) -> None:
    agent = (await client.create_agent())["id"]
    path = f"/api/v1/agents/{agent}"
    assert (await client.delete(path)).status_code == 204
    assert (await client.get(path)).json()["status"] == "archived"
    for method, where, body in (
        ("PATCH", path, {"instructions": "x"}),
        ("PUT", path, {"name": "x", "model": "demo"}),
        ("POST", f"{path}/versions", {"name": "x", "model": "demo"}),
        ("POST", f"{path}:rollback", {}),
    ):
        answer = await client.request(method, where, json=body)
        assert (answer.status_code, answer.json()["code"]) == (409, "agent_archived")


async def test_deploying_and_rolling_back_choose_versions(client: Client) -> None:
    agent = (await client.create_agent(instructions="1"))["id"]
    for words in ("2", "3"):
        await client.patch(f"/api/v1/agents/{agent}", json={"instructions": words})
    assert (await act(client, agent, "deploy"))[1]["deployed_version"] == 3
    assert (await act(client, agent, "rollback"))[1]["deployed_version"] == 2
    assert (await act(client, agent, "rollback"))[1]["deployed_version"] == 1
    code, told = await act(client, agent, "rollback")
    assert (code, told["code"]) == (409, "agent_no_earlier_version")
    assert (await act(client, agent, "deploy", version=3))[1]["deployed_version"] == 3
    assert (await act(client, agent, "rollback", version=1))[1]["deployed_version"] == 1
    assert (await act(client, agent, "rollback", version=2))[0] == 409
    assert (await act(client, agent, "deploy", version=4))[0] == 404
    assert (await act(client, agent, "deploy", version=0))[0] == 422


async def test_a_new_version_does_not_deploy_itself(client: Client) -> None:
    agent = (await client.create_agent())["id"]
    await act(client, agent, "deploy")
    changed = (await client.patch(f"/api/v1/agents/{agent}", json={"instructions": "new"})).json()
    assert (changed["status"], changed["latest_version"], changed["deployed_version"]) == ("deployed", 2, 1)


async def test_what_was_never_deployed_cannot_be_rolled_back(client: Client) -> None:
    agent = (await client.create_agent())["id"]
    assert (await act(client, agent, "rollback"))[1]["code"] == "agent_status_conflict"


async def test_a_version_that_cannot_run_here_any_more_is_not_deployed(client: Client) -> None:
    helper = (await client.create_agent("helper"))["id"]
    boss = await client.create_agent("boss", tools=[{"use": "agent", "config": {"agent": "helper"}}])
    await client.delete(f"/api/v1/agents/{helper}")
    code, told = await act(client, boss["id"], "deploy")
    assert code == 422
    assert told["errors"] == [
        {"pointer": "/tools/0/config/agent", "detail": "there is no agent 'helper'; create it first"}
    ]


async def test_of_many_steps_at_once_each_sees_the_one_before(client: Client) -> None:
    agent = (await client.create_agent())["id"]
    await act(client, agent, "deploy")
    answers = await asyncio.gather(*(act(client, agent, "pause") for _ in range(10)))
    assert Counter(code for code, _ in answers) == {200: 1, 409: 9}


@pytest.mark.parametrize("verb", [*VERBS, "rollback", "validate"])
async def test_a_step_refuses_what_it_does_not_know(client: Client, verb: str) -> None:
    agent = (await client.create_agent())["id"]
    code, told = await act(client, agent, verb, force=1)
    assert code == 422
    assert told["errors"][0]["pointer"] == "/force"  # type: ignore[index] - JSON
    assert (await client.get(f"/api/v1/agents/{agent}")).json()["status"] == "draft"


async def test_the_newest_version_is_validated(client: Client) -> None:
    agent = (await client.create_agent())["id"]
    assert await act(client, agent, "validate") == (200, {"valid": True})


@given(st.lists(st.sampled_from(list(AgentStatus)), max_size=12))
def test_no_road_leads_back_from_the_archive(road: list[AgentStatus]) -> None:
    status = AgentStatus.DRAFT
    for to in road:
        try:
            step(AGENT, status, to)
        except Conflict:
            continue
        assert status is not AgentStatus.ARCHIVED
        status = to


@given(st.none() | st.integers(1, 9), st.none() | st.integers(-3, 12))
def test_a_rollback_leads_to_an_earlier_version_or_nowhere(deployed: int | None, wanted: int | None) -> None:
    try:
        chosen = earlier_version(AGENT, deployed, wanted)
    except Conflict:
        return
    assert deployed is not None
    assert 1 <= chosen < deployed
