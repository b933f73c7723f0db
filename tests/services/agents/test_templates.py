"""Ready-made agents over HTTP (S66, S147)."""

import pytest

from tests.serving import Client


async def test_at_least_ten_are_listed_by_name_and_each_is_shown(client: Client) -> None:
    listed = (await client.get("/api/v1/agent-templates")).json()["data"]
    names = [t["name"] for t in listed]
    assert len(names) >= 10
    assert names == sorted(names)
    for template in listed:
        assert template["description"]
        shown = (await client.get(f"/api/v1/agent-templates/{template['name']}")).json()
        assert template.items() <= shown.items()


async def test_each_can_be_posted_as_it_is_and_put_into_service(client: Client) -> None:
    for template in (await client.get("/api/v1/agent-templates")).json()["data"]:
        shown = (await client.get(f"/api/v1/agent-templates/{template['name']}")).json()
        for definition in [*shown["helpers"], shown["definition"]]:
            made = await client.post("/api/v1/agents", json=definition)
            assert made.status_code == 201, (template["name"], made.text)
            deployed = await client.post(f"/api/v1/agents/{made.json()['id']}:deploy")
            assert deployed.status_code == 200, (template["name"], deployed.text)


@pytest.mark.parametrize("name", ["nope", "..%2Fservices", "__init__", "x" * 200])
async def test_a_template_that_is_not_there_is_not_found(client: Client, name: str) -> None:
    assert (await client.get(f"/api/v1/agent-templates/{name}")).status_code in (404, 422)
