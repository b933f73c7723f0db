"""Tools as a person meets them: the list, one of them, and one call."""

import pytest

from tests.serving import Client


async def test_every_tool_is_listed_with_the_schema_of_its_settings(client: Client) -> None:
    """S78: what the folder holds is what is shown."""
    tools = (await client.get("/api/v1/tools")).json()["data"]
    names = [t["name"] for t in tools]
    assert names == sorted(names)
    assert {"calculator", "agent"} <= set(names)
    for tool in tools:
        assert tool["description"]
        assert tool["config_schema"]["type"] == "object"
        assert (await client.get(f"/api/v1/tools/{tool['id']}")).json() == tool


async def test_a_call_gives_the_tools_result(client: Client) -> None:
    answer = await client.post(
        "/api/v1/tools/calculator:invoke", json={"arguments": {"expression": "17.5 / 100 * 2340"}}
    )
    assert answer.status_code == 200
    assert answer.json()["content"] == "409.5"
    assert answer.json()["is_error"] is False
    assert answer.json()["code"] is None


async def test_what_the_tool_itself_cannot_do_is_a_result(client: Client) -> None:
    answer = await client.post("/api/v1/tools/calculator:invoke", json={"arguments": {"expression": "1 / 0"}})
    assert answer.status_code == 200
    assert answer.json()["is_error"] is True
    assert answer.json()["code"]


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/arguments"),
        ({"arguments": {"expression": 1}}, "/arguments/expression"),
        ({"arguments": {"expression": "1", "x": 1}}, "/arguments"),
        ({"arguments": {"expression": "1"}, "config": {"x": 1}}, "/config"),
        ({"arguments": {"expression": "1"}, "name": "other"}, "/name"),
        ({"arguments": []}, "/arguments"),
    ],
)
async def test_a_call_that_cannot_be_made_is_422_with_its_pointer(
    client: Client, body: dict[str, object], pointer: str
) -> None:
    answer = await client.post("/api/v1/tools/calculator:invoke", json=body)
    assert answer.status_code == 422
    assert any(e["pointer"].startswith(pointer) for e in answer.json()["errors"])


@pytest.mark.parametrize("name", ["nope", "__init__", "..", "a/b", "os", "x" * 300])
async def test_a_tool_that_is_not_there_is_not_found(client: Client, name: str) -> None:
    quoted = name.replace("/", "%2F")
    assert (await client.get(f"/api/v1/tools/{quoted}")).status_code in (404, 422)
    assert (await client.post(f"/api/v1/tools/{quoted}:invoke", json={})).status_code in (404, 422)


async def test_files_of_one_organisation_are_not_those_of_another(client: Client, stranger: Client) -> None:
    wrote = await client.post(
        "/api/v1/tools/file:invoke", json={"name": "file_write", "arguments": {"path": "a.txt", "content": "mine"}}
    )
    assert wrote.json()["is_error"] is False, wrote.text
    read = {"name": "file_read", "arguments": {"path": "a.txt"}}
    assert "mine" in (await client.post("/api/v1/tools/file:invoke", json=read)).json()["content"]
    theirs = (await stranger.post("/api/v1/tools/file:invoke", json=read)).json()
    assert theirs["is_error"] is True
    assert "mine" not in theirs["content"]
