"""What is remembered for one organisation is remembered for no other, however alike their requests are."""

from agent_factory.kit.ids import uuid7
from tests.serving import Client


async def test_the_same_key_and_body_of_two_organisations_have_an_effect_in_each(
    client: Client, stranger: Client
) -> None:
    """Abuse 44: answers that are kept for repeated requests."""
    headers, body = {"Idempotency-Key": uuid7().hex}, {"name": "support", "model": "demo"}
    mine, theirs = [await each.post("/api/v1/agents", json=body, headers=headers) for each in (client, stranger)]
    assert (mine.status_code, theirs.status_code) == (201, 201)
    assert "idempotent-replayed" not in theirs.headers
    assert mine.json()["id"] != theirs.json()["id"]
    again = await stranger.post("/api/v1/agents", json=body, headers=headers)
    assert (again.json()["id"], again.headers["idempotent-replayed"]) == (theirs.json()["id"], "true")


async def test_agents_of_the_same_name_and_words_are_each_ones_own(client: Client, stranger: Client) -> None:
    """Abuse 44: definitions, and what a name was last found to be."""
    made: dict[str, str] = {}
    for name, each in (("mine", client), ("theirs", stranger)):
        agent = await each.create_agent("support")
        assert (await each.post(f"/api/v1/agents/{agent['id']}:deploy")).status_code == 200
        made[name] = agent["id"]
    for _ in range(2):  # the second time from memory
        for name, each in (("mine", client), ("theirs", stranger)):
            said = {"model": "agent:support", "messages": [{"role": "user", "content": f"hello from {name}"}]}
            answer = await each.post("/v1/chat/completions", json=said)
            assert answer.status_code == 200, answer.text
            runs = (await each.get("/api/v1/runs")).json()["data"]
            assert {run["agent_id"] for run in runs} == {made[name]}


async def test_an_etag_of_another_organisations_twin_changes_nothing_there(client: Client, stranger: Client) -> None:
    """Abuse 44: it may be the same, for it says nothing but how often a thing was changed."""
    mine, theirs = await client.create_agent("twin"), await stranger.create_agent("twin")
    tag = (await client.get(f"/api/v1/agents/{mine['id']}")).headers["etag"]
    change = {"description": "taken over"}
    headers = {"If-Match": tag}
    stolen = await client.patch(f"/api/v1/agents/{theirs['id']}", json=change, headers=headers)
    read = await client.get(f"/api/v1/agents/{theirs['id']}", headers={"If-None-Match": tag})
    assert (stolen.status_code, read.status_code) == (404, 404)
    assert (await stranger.get(f"/api/v1/agents/{theirs['id']}")).json()["description"] != "taken over"
