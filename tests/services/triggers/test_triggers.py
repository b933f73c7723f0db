"""Triggers over HTTP: made, shown, changed, removed (S90)."""

from typing import Any

import pytest

from agent_factory.kit.ids import encode, uuid7
from tests.services.triggers.parts import ECHO, TRIGGERS, a_path, standard, trigger
from tests.services.workflows.parts import create, faults
from tests.serving import Client


async def test_a_trigger_is_made_shown_and_listed(client: Client, workflow: str) -> None:
    made = await trigger(client, workflow, "cron", config={"cron": "0 8 * * 1", "timezone": "Europe/Berlin"})
    assert made.pop("secret") is None
    shown = await client.get(f"{TRIGGERS}/{made['id']}")
    assert shown.json() == made
    assert made["config"] == {"cron": "0 8 * * 1", "timezone": "Europe/Berlin"}
    assert (made["workflow_id"], made["type"], made["enabled"], made["declared"]) == (workflow, "cron", True, False)
    hook = await trigger(client, "echo")  # a workflow has a name, too
    listed = (await client.get(TRIGGERS)).json()["data"]
    assert [t["id"] for t in listed] == [hook["id"], made["id"]]
    crons = (await client.get(TRIGGERS, params={"type": "cron", "workflow_id": workflow})).json()["data"]
    assert [t["id"] for t in crons] == [made["id"]]
    other = (await client.get(TRIGGERS, params={"workflow_id": encode("wf", uuid7())})).json()["data"]
    assert other == []


async def test_a_webhook_without_a_path_gets_one_that_nobody_guesses_and_keeps_it(
    client: Client, workflow: str
) -> None:
    one, two = await trigger(client, workflow), await trigger(client, workflow)
    assert one["path"] != two["path"]
    assert len(one["path"]) >= len("/webhook/") + 32
    changed = await client.patch(f"{TRIGGERS}/{one['id']}", json={"config": {"method": "PUT"}})
    assert changed.json()["path"] == one["path"]


async def test_a_path_belongs_to_one_webhook_of_all_organisations(
    client: Client, stranger: Client, workflow: str
) -> None:
    path = a_path()
    await trigger(client, workflow, config={"path": path})
    theirs = await create(stranger, ECHO)
    for spelled in (path, f"/{path}/", f"/webhook/{path}"):
        answer = await stranger.post(
            TRIGGERS, json={"workflow": theirs, "type": "webhook", "config": {"path": spelled}}
        )
        assert (answer.status_code, answer.json()["code"]) == (409, "conflict"), spelled


async def test_a_trigger_of_another_organisations_workflow_cannot_be_made(
    client: Client, stranger: Client, workflow: str
) -> None:
    """Abuse 35: neither by id nor by name."""
    for ref in (workflow, "echo", encode("wf", uuid7()), "nobody"):
        answer = await stranger.post(TRIGGERS, json={"workflow": ref, "type": "webhook"})
        assert (answer.status_code, answer.json()["code"]) == (404, "workflow_not_found"), ref
    assert (await stranger.get(TRIGGERS)).json()["data"] == []


@pytest.mark.parametrize(
    ("kind", "config", "pointer"),
    [
        ("webhook", {"path": "../etc"}, "/config/path"),
        ("webhook", {"path": "a//b"}, "/config/path"),
        ("webhook", {"path": "a b"}, "/config/path"),
        ("webhook", {"path": ""}, "/config/path"),
        ("webhook", {"path": "/webhook/"}, "/config/path"),
        ("webhook", {"path": "x" * 201}, "/config/path"),
        ("webhook", {"method": "TRACE"}, "/config/method"),
        ("webhook", {"signature": "none"}, "/config/signature"),
        ("webhook", {"secret": "whsec_x"}, "/config/secret"),
        ("webhook", {"tolerance": 0}, "/config/tolerance"),
        ("webhook", {"headers": ["Authorization"]}, "/config/headers/0"),
        ("webhook", {"headers": ["a b"]}, "/config/headers/0"),
        ("webhook", {"max_body": 1e9}, "/config/max_body"),
        ("webhook", {"wait": 61}, "/config/wait"),
        ("cron", {}, "/config/cron"),
        ("cron", {"cron": "* * * *"}, "/config/cron"),
        ("cron", {"cron": "0 0 30 2 *"}, "/config/cron"),
        ("cron", {"cron": "@daily", "timezone": "Mars/Olympus"}, "/config/timezone"),
        ("cron", {"cron": "@daily", "misfire": "never"}, "/config/misfire"),
        ("cron", {"cron": "@daily", "jitter": -1}, "/config/jitter"),
        ("event", {}, "/config/event"),
        ("event", {"event": "a..b"}, "/config/event"),
        ("event", {"event": "*.a"}, "/config/event"),
        ("event", {"event": "a", "match": "__import__('os')"}, "/config/match"),
        ("event", {"event": "a", "own": "yes"}, "/config/own"),
    ],
)
async def test_settings_that_do_not_fit_are_refused_by_their_pointer(
    client: Client, workflow: str, kind: str, config: dict[str, Any], pointer: str
) -> None:
    answer = await client.post(TRIGGERS, json={"workflow": workflow, "type": kind, "config": config})
    assert pointer in faults(answer)


async def test_a_secret_is_shown_once_and_never_again(client: Client, anyone: Client, workflow: str) -> None:
    made = await trigger(client, workflow, config={"signature": "standard"})
    assert made["secret"].startswith("whsec_")
    place = f"{TRIGGERS}/{made['id']}"
    everywhere = [
        (await client.get(place)).text,
        (await client.get(TRIGGERS)).text,
        (await client.patch(place, json={"enabled": True})).text,
        (await client.get(f"/api/v1/workflows/{workflow}")).text,
    ]
    assert not [text for text in everywhere if made["secret"] in text or made["secret"][6:] in text]
    rotated = await client.post(f"{place}:rotate-secret")
    assert rotated.json()["secret"] not in (None, made["secret"])
    for secret, status in ((made["secret"], 401), (rotated.json()["secret"], 202)):
        headers = standard(secret, b"{}", message=status.__str__()) | {"content-type": "application/json"}
        assert (await anyone.post(made["path"], content=b"{}", headers=headers)).status_code == status


async def test_an_answer_with_a_secret_is_kept_nowhere(client: Client, workflow: str) -> None:
    body = {"workflow": workflow, "type": "webhook", "config": {"signature": "github"}}
    first = await client.post(TRIGGERS, json=body, headers={"Idempotency-Key": "one"})
    again = await client.post(TRIGGERS, json=body, headers={"Idempotency-Key": "one"})
    assert (first.status_code, again.status_code) == (201, 409)
    assert again.json()["code"] == "idempotency_answer_shown_once"


async def test_a_senders_own_secret_is_taken_and_not_shown(client: Client, anyone: Client, workflow: str) -> None:
    theirs = "whsec_" + "QUJD" * 10
    made = await trigger(client, workflow, config={"signature": "standard"}, secret=theirs)
    assert made["secret"] is None
    headers = standard(theirs, b"{}") | {"content-type": "application/json"}
    assert (await anyone.post(made["path"], content=b"{}", headers=headers)).status_code == 202
    for config, secret in (
        ({"signature": "standard"}, "whsec_QUJDQUJDQUJD"),
        ({"signature": "standard"}, "not base64 at all!"),
        ({}, theirs),
    ):
        answer = await client.post(
            TRIGGERS, json={"workflow": workflow, "type": "webhook", "config": config, "secret": secret}
        )
        assert "/secret" in faults(answer)


async def test_a_trigger_without_a_signature_has_no_secret_to_change(client: Client, workflow: str) -> None:
    made = await trigger(client, workflow)
    assert made["secret"] is None
    answer = await client.post(f"{TRIGGERS}/{made['id']}:rotate-secret")
    assert (answer.status_code, answer.json()["code"]) == (409, "trigger_unsigned")
    signed = await client.patch(f"{TRIGGERS}/{made['id']}", json={"config": {"signature": "standard"}})
    assert signed.json()["secret"].startswith("whsec_")
    still = await client.patch(f"{TRIGGERS}/{made['id']}", json={"config": {"tolerance": 60}})
    assert still.json()["secret"] is None
    assert still.json()["config"] == {"signature": "standard", "tolerance": 60}


async def test_a_change_is_a_merge_patch_and_refused_when_somebody_else_was_quicker(
    client: Client, workflow: str
) -> None:
    made = await client.post(
        TRIGGERS, json={"workflow": workflow, "type": "cron", "config": {"cron": "@daily", "jitter": 60}}
    )
    place = made.headers["location"]
    changed = await client.patch(
        place, json={"config": {"jitter": None, "cron": "@hourly"}}, headers={"If-Match": made.headers["etag"]}
    )
    assert changed.json()["config"] == {"cron": "@hourly"}
    assert changed.headers["etag"] != made.headers["etag"]
    lost = await client.patch(place, json={"enabled": False}, headers={"If-Match": made.headers["etag"]})
    assert lost.status_code == 412
    nothing = await client.patch(place, json={})
    assert nothing.headers["etag"] == changed.headers["etag"] == (await client.get(place)).headers["etag"]


async def test_a_trigger_that_is_removed_is_gone_and_its_path_is_free(client: Client, workflow: str) -> None:
    path = a_path()
    made = await trigger(client, workflow, config={"path": path})
    assert (await client.delete(f"{TRIGGERS}/{made['id']}")).status_code == 204
    assert (await client.get(f"{TRIGGERS}/{made['id']}")).status_code == 404
    await trigger(client, workflow, config={"path": path})
