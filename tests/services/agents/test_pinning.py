"""An agent fixed for a run, with all that it may call."""

from typing import Any

import pytest

from agent_factory.database.session import Database
from agent_factory.kit import ids
from agent_factory.kit.errors import NotFound
from agent_factory.services.agents.errors import (
    AgentNotDeployed,
    AgentNotFound,
    SubAgentsInvalid,
    VersionNotFound,
)
from agent_factory.services.agents.service import Pinned, pin
from agent_factory.services.definitions.service import LATEST
from tests.serving import Client


def calling(*names: str) -> dict[str, Any]:
    return {"tools": [{"use": "agent", "config": {"agent": name}} for name in names]}


async def made(client: Client, name: str, *, deploy: bool = True, **definition: Any) -> str:
    agent = await client.create_agent(name, **definition)
    if deploy:
        answer = await client.post(f"/api/v1/agents/{agent['id']}:deploy")
        assert answer.status_code == 200, answer.text
    return agent["id"]


async def pinned(database: Database, client: Client, ref: Any, version: Any = None) -> Pinned:
    async with database.read(client.actor.organization_id) as session:
        return await pin(session, client.actor, ref, version)


async def test_the_deployed_version_is_pinned_by_id_and_by_name(database: Database, client: Client) -> None:
    agent = await made(client, "support", instructions="one")
    await client.patch(f"/api/v1/agents/{agent}", json={"instructions": "two"})
    for ref in (agent, "support", ids.decode("agt", agent)):
        found = await pinned(database, client, ref)
        assert (found.version, found.agent.instructions, found.agents) == (1, "one", {})
        assert ids.encode("agt", found.agent_id) == agent


async def test_an_agent_whose_name_begins_as_an_id_does_is_found_by_its_name(
    database: Database, client: Client
) -> None:
    agent = await made(client, "agt_support")
    boss = await made(client, "boss", **calling("agt_support"))
    assert ids.encode("agt", (await pinned(database, client, "agt_support")).agent_id) == agent
    assert set((await pinned(database, client, boss)).agents) == {"agt_support"}
    with pytest.raises(AgentNotFound):
        await pinned(database, client, "agt_nobody")


async def test_a_version_can_be_asked_for_and_a_draft_tried(database: Database, client: Client) -> None:
    agent = await made(client, "support", deploy=False, instructions="one")
    await client.patch(f"/api/v1/agents/{agent}", json={"instructions": "two"})
    assert (await pinned(database, client, agent, 1)).agent.instructions == "one"
    assert (await pinned(database, client, agent, LATEST)).agent.instructions == "two"
    with pytest.raises(VersionNotFound):
        await pinned(database, client, agent, 3)
    with pytest.raises(AgentNotDeployed):
        await pinned(database, client, agent)


async def test_a_paused_or_archived_agent_is_not_in_service(database: Database, client: Client) -> None:
    agent = await made(client, "support")
    await client.post(f"/api/v1/agents/{agent}:pause")
    with pytest.raises(AgentNotDeployed, match="paused"):
        await pinned(database, client, agent)
    await client.delete(f"/api/v1/agents/{agent}")
    with pytest.raises(AgentNotDeployed, match="archived"):
        await pinned(database, client, agent)
    with pytest.raises(AgentNotFound):
        await pinned(database, client, "support")


@pytest.mark.parametrize(
    "ref", ["nobody", "agt_", "agt_00000000000000000000000000", "agt_zzzz", "", "x" * 500, "agt_' OR 1"]
)
async def test_what_is_not_there_is_not_found(database: Database, client: Client, ref: str) -> None:
    with pytest.raises(NotFound):
        await pinned(database, client, ref)


async def test_another_organisations_agent_is_not_there(database: Database, client: Client, stranger: Client) -> None:
    theirs = await made(stranger, "support")
    for ref in (theirs, "support"):
        with pytest.raises(AgentNotFound):
            await pinned(database, client, ref)


async def test_agents_below_are_pinned_with_their_deployed_versions(database: Database, client: Client) -> None:
    writer = await made(client, "writer", instructions="one")
    await client.patch(f"/api/v1/agents/{writer}", json={"instructions": "two"})
    await made(client, "editor", **calling("writer"))
    await made(client, "boss", **calling("editor", "writer"))
    found = await pinned(database, client, "boss")
    assert set(found.agents) == {"editor", "writer"}
    assert found.agents["writer"].instructions == "one"


async def test_a_draft_is_tried_with_drafts_below_but_never_served_with_them(
    database: Database, client: Client
) -> None:
    await made(client, "writer", deploy=False, instructions="draft")
    boss = await made(client, "boss", **calling("writer"))
    assert (await pinned(database, client, boss, LATEST)).agents["writer"].instructions == "draft"
    with pytest.raises(SubAgentsInvalid) as refused:
        await pinned(database, client, boss)
    assert refused.value.errors[0].pointer == "/tools/0/config/agent"
    assert "not deployed" in refused.value.errors[0].detail


async def test_agents_that_call_in_a_circle_are_refused(database: Database, client: Client) -> None:
    first = await made(client, "first")
    await made(client, "second", **calling("first"))
    await client.patch(f"/api/v1/agents/{first}", json=calling("second"))
    await client.post(f"/api/v1/agents/{first}:deploy")
    with pytest.raises(SubAgentsInvalid) as refused:
        await pinned(database, client, "first")
    assert "first → second → first" in refused.value.errors[0].detail


async def test_agents_may_call_agents_five_deep_and_no_deeper(database: Database, client: Client) -> None:
    await made(client, "level0")
    for n in range(1, 7):
        await made(client, f"level{n}", **calling(f"level{n - 1}"))
    assert len((await pinned(database, client, "level5")).agents) == 5
    with pytest.raises(SubAgentsInvalid) as refused:
        await pinned(database, client, "level6")
    assert "more than 5 deep" in refused.value.errors[0].detail


async def test_an_agent_that_has_gone_is_named_where_it_is_called(database: Database, client: Client) -> None:
    writer = await made(client, "writer")
    await made(client, "boss", **calling("writer"))
    await client.delete(f"/api/v1/agents/{writer}")
    with pytest.raises(SubAgentsInvalid) as refused:
        await pinned(database, client, "boss")
    assert "there is no agent 'writer'" in refused.value.errors[0].detail
