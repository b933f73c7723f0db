"""ETags, lost races, and merge patches."""

import asyncio
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_factory.api.etag import PreconditionFailed, check, merge_patch
from tests.serving import Client

EXAMPLES: list[tuple[Any, Any, Any]] = [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    (["a", "b"], ["c", "d"], ["c", "d"]),
    ({"a": "b"}, ["c"], ["c"]),
    ({"a": "foo"}, None, None),
    ({"a": "foo"}, "bar", "bar"),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]
"""The test cases of RFC 7396, appendix A."""


@pytest.mark.parametrize(("target", "patch", "result"), EXAMPLES)
def test_merge_patches_do_what_rfc_7396_says(target: Any, patch: Any, result: Any) -> None:
    assert merge_patch(target, patch) == result


@given(st.dictionaries(st.text(), st.integers() | st.dictionaries(st.text(), st.integers())))
def test_a_patch_twice_is_a_patch_once(patch: dict[str, Any]) -> None:
    once = merge_patch({"a": 1, "b": {"c": 2}}, patch)
    assert merge_patch(once, patch) == once


@pytest.mark.parametrize("given", [None, "*", '"3"', '"1", "3"'])
def test_the_present_revision_may_be_changed(given: str | None) -> None:
    check(given, 3)


@pytest.mark.parametrize("given", ['"2"', "3", 'W/"3"', '""', "", '"1", "2"'])
def test_any_other_revision_may_not(given: str) -> None:
    with pytest.raises(PreconditionFailed):
        check(given, 3)


async def test_of_many_changes_to_one_revision_exactly_one_wins(client: Client) -> None:
    agent = await client.create_agent()
    path = f"/api/v1/agents/{agent['id']}"
    tag = (await client.get(path)).headers["etag"]
    answers = await asyncio.gather(
        *(client.patch(path, json={"instructions": f"{n}"}, headers={"If-Match": tag}) for n in range(20))
    )
    assert Counter(a.status_code for a in answers) == {200: 1, 412: 19}
    now = (await client.get(path)).json()
    assert now["latest_version"] == 2
    winner = next(a for a in answers if a.status_code == 200)
    assert now["definition"] == winner.json()["definition"]


async def test_changes_without_if_match_all_become_versions(client: Client) -> None:
    agent = await client.create_agent()
    path = f"/api/v1/agents/{agent['id']}"
    answers = await asyncio.gather(*(client.patch(path, json={"instructions": f"{n}"}) for n in range(10)))
    assert {a.status_code for a in answers} == {200}
    assert sorted(a.json()["latest_version"] for a in answers) == list(range(2, 12))


async def test_a_step_in_the_life_cycle_honours_if_match(client: Client) -> None:
    agent = await client.create_agent()
    path = f"/api/v1/agents/{agent['id']}"
    stale = {"If-Match": '"99"'}
    for verb in (":deploy", ":activate", ":archive"):
        assert (await client.post(path + verb, headers=stale)).status_code == 412
    assert (await client.delete(path, headers=stale)).status_code == 412
    assert (await client.get(path)).json()["status"] == "draft"
