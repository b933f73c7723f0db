"""Secrets: what goes in never comes out, but to the hosts that it is bound to (S149, abuse 62, 68)."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any
from uuid import UUID

import msgspec
import pytest
from fastapi import FastAPI
from sqlalchemy import text

from agent_factory.database.session import Database
from agent_factory.kit import ids
from agent_factory.kit.ids import uuid7
from agent_factory.runtime.doors import own_doors
from agent_factory.security.encryption.rotation import catch_up, renew
from agent_factory.security.outgoing import host_of
from tests.doubles import web as doubles
from tests.doubles.web import Web
from tests.serving import Client, opened, settings_for

VALUE = "v-9f8e7d6c5b4a-value"


@pytest.fixture(scope="module")
async def web() -> AsyncGenerator[Web, None]:
    async with doubles.running() as server:
        yield server


@pytest.fixture(scope="module")
async def app(database_url: str, web: Web, tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[FastAPI, None]:
    """An installation whose operator opened the loopback server, and has secrets of its own."""
    folder = tmp_path_factory.mktemp("state")
    tools = {
        "workspace": folder / "files",
        "private_hosts": (web.host,),
        "secrets": {
            "HOME_ONLY": "operators-home-value",
            "SHARED": {"value": "operators-value", "organizations": ["*"]},
        },
        "databases": {"home": "sqlite:///nowhere.db", "shared": {"url": "sqlite:///x.db", "organizations": ["*"]}},
        "mcp_servers": {"home": {"command": "false", "env": {"TOKEN": "operators-mcp-value"}}},
    }
    database = {"url": database_url, "data_dir": folder}
    async with opened(settings_for(database_url, tools=tools, database=database)) as running:
        yield running


async def keep(client: Client, *hosts: str, name: str = "CRM_KEY", value: str = VALUE) -> dict[str, Any]:
    answer = await client.post(
        "/api/v1/secrets", json={"name": name, "value": value, "hosts": list(hosts) or ["a.test"]}
    )
    assert answer.status_code == 201, answer.text
    return answer.json()


async def send(client: Client, url: str, name: str = "CRM_KEY", **bound: Any) -> dict[str, Any]:
    """Make a request with a secret that the agent's author bound to the URL's host."""
    host = url.split("/")[2]
    config = {"secrets": [{"secret": name, "host": host, **bound}]}
    body = {"arguments": {"url": url}, "config": config}
    answer = await client.post("/api/v1/tools/http_request:invoke", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


class TestKeeping:
    async def test_a_secret_is_shown_without_its_value_ever_after(self, client: Client) -> None:
        made = await keep(client, "API.example.com", "*.example.org:8443")
        assert made.keys() == {
            "id", "name", "description", "hosts", "fingerprint", "created_at", "updated_at", "last_used_at"
        }  # fmt: skip
        assert made["hosts"] == ["api.example.com", "*.example.org:8443"]
        assert made["last_used_at"] is None
        shown = await client.get(f"/api/v1/secrets/{made['id']}")
        listed = await client.get("/api/v1/secrets")
        assert shown.json() == made
        assert listed.json()["data"] == [made]
        for answer in (shown, listed):
            assert VALUE not in answer.text

    async def test_a_name_is_taken_once_in_an_organisation_and_free_in_others(
        self, client: Client, stranger: Client
    ) -> None:
        await keep(client)
        again = await client.post("/api/v1/secrets", json={"name": "CRM_KEY", "value": VALUE, "hosts": ["a.test"]})
        assert again.status_code == 409
        assert VALUE not in again.text
        await keep(stranger)

    async def test_a_new_value_takes_the_place_of_the_old_one(self, client: Client, web: Web) -> None:
        made = await keep(client, web.host)
        answer = await client.put(f"/api/v1/secrets/{made['id']}", json={"value": "the-next-value"})
        assert answer.status_code == 200
        assert answer.json()["fingerprint"] != made["fingerprint"]
        assert answer.json()["hosts"] == made["hosts"]
        await send(client, web.url("/echo"))
        assert web.seen["headers"]["Authorization"] == "Bearer the-next-value"

    async def test_the_hosts_change_only_together_with_the_value(self, client: Client) -> None:
        """Who may not know a value cannot have it sent to himself, either."""
        made = await keep(client)
        for body in ({"hosts": ["evil.test"]}, {"description": "x"}):
            assert (await client.put(f"/api/v1/secrets/{made['id']}", json=body)).status_code == 422
        moved = await client.put(f"/api/v1/secrets/{made['id']}", json={"value": VALUE, "hosts": ["b.test"]})
        assert moved.json()["hosts"] == ["b.test"]

    async def test_what_is_deleted_is_gone(self, client: Client, web: Web) -> None:
        made = await keep(client, web.host)
        assert (await client.delete(f"/api/v1/secrets/{made['id']}")).status_code == 204
        assert (await client.get(f"/api/v1/secrets/{made['id']}")).status_code == 404
        told = await send(client, web.url("/echo"))
        assert (told["is_error"], told["code"]) == (True, "not_found")

    @pytest.mark.parametrize(
        ("change", "pointer"),
        [
            ({"value": "short"}, "/value"),
            ({"value": "two\nlines-of-it"}, "/value"),
            ({"value": "x" * 16_001}, "/value"),
            ({"name": "1st"}, "/name"),
            ({"name": "a b"}, "/name"),
            ({"hosts": []}, "/hosts"),
            ({"hosts": ["https://a.test"]}, "/hosts/0"),
            ({"hosts": ["a.test", "*"]}, "/hosts/1"),
            ({"hosts": ["*.com"]}, "/hosts/0"),
            ({"hosts": ["a.test/path"]}, "/hosts/0"),
            ({"hosts": ["user@a.test"]}, "/hosts/0"),
            ({"hosts": ["a.*.test"]}, "/hosts/0"),
            ({"hosts": ["*.com."]}, "/hosts/0"),
            ({"hosts": ["*..com"]}, "/hosts/0"),
            ({"hosts": ["*.com:443"]}, "/hosts/0"),
            ({"hosts": ["*.0.0.1"]}, "/hosts/0"),
            ({"hosts": ["*.[::1]"]}, "/hosts/0"),
            ({"hosts": ["a.test."]}, "/hosts/0"),
            ({"hosts": [".a.test"]}, "/hosts/0"),
            ({"hosts": ["a\tb.test"]}, "/hosts/0"),
            ({"hosts": ["a%2eb.test"]}, "/hosts/0"),
            ({"hosts": ["a.test\\@evil.test"]}, "/hosts/0"),
            ({"hosts": ["a.test:0"]}, "/hosts/0"),
            ({"hosts": ["a.test:65536"]}, "/hosts/0"),
            ({"organization_id": str(uuid7())}, "/organization_id"),
        ],
    )
    async def test_what_cannot_be_kept_is_refused_by_its_field_and_not_repeated(
        self, client: Client, change: dict[str, Any], pointer: str
    ) -> None:
        body = {"name": "CRM_KEY", "value": VALUE, "hosts": ["a.test"], **change}
        answer = await client.post("/api/v1/secrets", json=body)
        assert answer.status_code == 422, answer.text
        assert pointer in {e["pointer"] for e in answer.json()["errors"]}
        assert str(body["value"]) not in answer.text

    @pytest.mark.parametrize(
        ("given", "kept"),
        [
            ("BÜCHER.example", "xn--bcher-kva.example"),
            ("*.bücher.example:8443", "*.xn--bcher-kva.example:8443"),
            ("\uff41pi.example.com", "api.example.com"),
            ("a.test:443", "a.test"),
            ("*.A.test:443", "*.a.test"),
            ("[::1]:8443", "[::1]:8443"),
        ],
    )
    async def test_a_host_is_kept_as_it_will_be_dialled(self, client: Client, given: str, kept: str) -> None:
        """So that what is shown is what is compared, and no look-alike passes for it."""
        assert (await keep(client, given, given.lower()))["hosts"] == [kept]

    async def test_a_value_that_is_no_text_is_refused(self, client: Client) -> None:
        body = b'{"name": "CRM_KEY", "value": "lone-surrogate-\\ud800", "hosts": ["a.test"]}'
        answer = await client.post("/api/v1/secrets", content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code in (400, 422), answer.text
        assert "surrogate-" not in answer.text

    async def test_another_organisations_secret_is_not_there(self, client: Client, stranger: Client) -> None:
        made = await keep(client)
        path = f"/api/v1/secrets/{made['id']}"
        assert (await stranger.get(path)).status_code == 404
        assert (await stranger.put(path, json={"value": "another-value"})).status_code == 404
        assert (await stranger.delete(path)).status_code == 404
        assert (await stranger.get("/api/v1/secrets")).json()["data"] == []

    async def test_the_database_holds_it_sealed_for_its_row_alone(self, client: Client, database: Database) -> None:
        """Abuse 44, S202: a ciphertext that is moved to another row is worth nothing."""
        one, other = await keep(client), await keep(client, name="OTHER", value="another-value")
        async with database.read(client.actor.organization_id) as session:
            rows = (await session.execute(text("select row_to_json(s)::text, value from secrets s"))).all()
        assert VALUE not in str(rows)
        assert VALUE.encode().hex() not in str(rows)
        async with database.write(client.actor.organization_id) as session:
            moved = "update secrets set value = (select value from secrets where id = :one) where id = :other"
            ids_ = {"one": ids.decode("sec", one["id"]), "other": ids.decode("sec", other["id"])}
            await session.execute(text(moved), ids_)
        told = await send(client, "https://a.test/", "OTHER")
        assert told["code"] == "cannot_decrypt"


class TestUse:
    async def test_it_is_sent_to_its_host_and_masked_in_the_answer(self, client: Client, web: Web) -> None:
        made = await keep(client, web.host)
        told = await send(client, web.url("/echo"))
        assert web.seen["headers"]["Authorization"] == f"Bearer {VALUE}"
        assert told["is_error"] is False
        assert VALUE not in told["content"]
        assert (await client.get(f"/api/v1/secrets/{made['id']}")).json()["last_used_at"] is not None

    @pytest.mark.parametrize(
        ("bound", "where", "sent"),
        [
            ({"header": "X-Key", "format": "{}"}, ("headers", "X-Key"), VALUE),
            ({"query": "key"}, ("query", "key"), VALUE),
            ({"format": "Basic {base64}"}, ("headers", "Authorization"), "Basic di05ZjhlN2Q2YzViNGEtdmFsdWU="),
        ],
    )
    async def test_it_goes_where_the_author_says(
        self, client: Client, web: Web, bound: dict[str, Any], where: tuple[str, str], sent: str
    ) -> None:
        await keep(client, web.host)
        told = await send(client, web.url("/echo"), **bound)
        assert web.seen[where[0]][where[1]] == sent
        assert VALUE not in told["content"]
        assert sent not in told["content"]

    async def test_to_another_host_it_is_not_sent_and_the_attempt_is_audited(
        self, client: Client, web: Web, database: Database
    ) -> None:
        """Abuse 62."""
        await keep(client, "api.example.com")
        before = len(web.asked)
        told = await send(client, web.url("/echo"))
        assert (told["is_error"], told["code"]) == (True, "secret_host_mismatch")
        assert len(web.asked) == before
        async with database.read(client.actor.organization_id) as session:
            query = "select details::text from audit_events where action = 'secret.host_refused'"
            events = (await session.execute(text(query))).scalars().all()
        assert [msgspec.json.decode(e) for e in events] == [{"name": "CRM_KEY", "host": web.host}]

    @pytest.mark.parametrize(
        "url",
        [
            "https://api.example.com.evil.test/",
            "https://api.example.com./",
            "https://api.example.com:8443/",
            "https://evil.test/?.api.example.com",
            "https://evil.test#api.example.com",
            "https://xapi.example.com/",
            "https://ap\u0456.example.com/",
        ],
    )
    @pytest.mark.parametrize("bound", ["api.example.com", "*.api.example.com"])
    async def test_no_spelling_of_a_url_leads_it_to_another_host(self, client: Client, url: str, bound: str) -> None:
        """Abuse 62: the agent's author agrees with whatever host the URL has; the secret's owner does not."""
        await keep(client, bound)
        host = host_of(url)
        body = {"arguments": {"url": url}, "config": {"secrets": [{"secret": "CRM_KEY", "host": host}]}}
        told = (await client.post("/api/v1/tools/http_request:invoke", json=body)).json()
        assert (told["is_error"], told["code"]) == (True, "secret_host_mismatch")
        assert VALUE not in str(told)

    @pytest.mark.parametrize("url", ["https://api.example.com@evil.test/", "https://u:p@api.example.com/"])
    async def test_a_url_with_a_user_in_it_is_not_asked(self, client: Client, url: str) -> None:
        """Abuse 58, 62."""
        await keep(client, "api.example.com")
        body = {
            "arguments": {"url": url},
            "config": {"secrets": [{"secret": "CRM_KEY", "host": "api.example.com"}]},
        }
        told = (await client.post("/api/v1/tools/http_request:invoke", json=body)).json()
        assert (told["is_error"], told["code"]) == (True, "egress_blocked")

    @pytest.mark.parametrize(
        "bound",
        [
            {"header": "Host"},
            {"header": "content-length"},
            {"header": "Transfer-Encoding"},
            {"header": "Connection"},
            {"format": "x\r\nEvil: {}"},
            {"format": "{}\x01"},
        ],
    )
    async def test_no_secret_frames_a_request(self, client: Client, bound: dict[str, str]) -> None:
        """Else an author could hide a second request in the first, with the secret of another in it."""
        await keep(client)
        body = {
            "arguments": {"url": "https://a.test/"},
            "config": {"secrets": [{"secret": "CRM_KEY", "host": "a.test", **bound}]},
        }
        answer = await client.post("/api/v1/tools/http_request:invoke", json=body)
        assert answer.status_code == 422, answer.text

    @pytest.mark.parametrize(
        "headers", [{"Host": "mine.test"}, {"hOST": "mine.test"}, {"Connection": "X-Key"}, {"A": "b\x01"}]
    )
    async def test_no_header_of_the_author_leads_the_request_elsewhere(
        self, client: Client, web: Web, headers: dict[str, str]
    ) -> None:
        """Abuse 62: behind a server for many sites it is `Host` that chooses which of them gets the secret."""
        await keep(client, web.host)
        before = len(web.asked)
        config = {"headers": headers, "secrets": [{"secret": "CRM_KEY", "host": web.host}]}
        body = {"arguments": {"url": web.url("/echo")}, "config": config}
        answer = await client.post("/api/v1/tools/http_request:invoke", json=body)
        assert answer.status_code == 422, answer.text
        assert len(web.asked) == before

    async def test_a_redirect_does_not_take_it_to_another_origin(self, client: Client, web: Web) -> None:
        await keep(client, web.host)
        async with doubles.running() as elsewhere:
            told = await send(client, web.url(f"/redirect?to={elsewhere.url('/echo')}"))
            assert told["is_error"] is False
            assert elsewhere.asked == []

    async def test_a_later_answer_cannot_say_what_an_earlier_request_took_along(self, client: Client, web: Web) -> None:
        """A server that remembers the header gives it back to a call without it."""
        await keep(client, web.host)
        await send(client, web.url("/echo"))
        web.answers["/memory"] = (200, {"Content-Type": "text/plain"}, f"you sent {VALUE}".encode())
        body = {"arguments": {"url": web.url("/memory")}}
        told = (await client.post("/api/v1/tools/http_request:invoke", json=body)).json()
        assert "you sent" in told["content"]
        assert VALUE not in told["content"]

    async def test_one_organisations_values_are_not_masked_in_anothers_texts(
        self, client: Client, stranger: Client, web: Web
    ) -> None:
        """Else an ordinary word that is called a secret would change what others read."""
        await keep(client, web.host, value="ordinary-words")
        await send(client, web.url("/echo"))
        web.answers["/words"] = (200, {"Content-Type": "text/plain"}, b"some ordinary-words here")
        body = {"arguments": {"url": web.url("/words")}}
        told = (await stranger.post("/api/v1/tools/http_request:invoke", json=body)).json()
        assert "some ordinary-words here" in told["content"]

    async def test_a_strangers_secret_of_the_same_name_is_another_one(
        self, client: Client, stranger: Client, web: Web
    ) -> None:
        await keep(client, web.host)
        told = await send(stranger, web.url("/echo"))
        assert told["code"] == "not_found"

    async def test_it_is_found_while_and_after_its_keys_are_replaced(
        self, app: FastAPI, client: Client, web: Web
    ) -> None:
        await keep(client, web.host)
        platform = app.state.platform
        pool, vault = platform.database.pool, platform.vault
        sends = asyncio.gather(*(send(client, web.url("/echo")) for _ in range(10)))
        await renew(pool, vault, [client.actor.organization_id])
        await catch_up(pool, vault)
        assert not any(told["is_error"] for told in await sends)
        assert not (await send(client, web.url("/echo")))["is_error"]


class TestOperators:
    """What the operator sets up is not every organisation's to name."""

    async def test_a_secret_is_the_first_organisations_unless_it_is_said_otherwise(
        self, client: Client, web: Web
    ) -> None:
        assert (await send(client, web.url("/echo"), "HOME_ONLY"))["code"] == "not_found"
        assert not (await send(client, web.url("/echo"), "SHARED"))["is_error"]
        assert web.seen["headers"]["Authorization"] == "Bearer operators-value"

    async def test_the_first_organisation_may_name_it(self, app: FastAPI, database: Database) -> None:
        first: UUID = await database.pool.fetchval("select id from organizations order by created_at, id limit 1")
        doors = await own_doors(app.state.platform.resources.doors, str(first))
        assert await doors["secrets"]("HOME_ONLY", "a.test") == "operators-home-value"
        assert doors["databases"].keys() == {"home", "shared"}
        assert doors["mcp_servers"]["home"]["env"] == {"TOKEN": "operators-mcp-value"}

    async def test_a_database_is_not_named_either(self, client: Client) -> None:
        body: dict[str, Any] = {"arguments": {"sql": "SELECT 1"}, "config": {"database": "home"}}
        told = (await client.post("/api/v1/tools/sql_query:invoke", json=body)).json()
        assert told["code"] == "not_found"
        assert "home" not in told["content"].partition("there are:")[2]

    async def test_nor_is_a_command_for_mcp(self, client: Client) -> None:
        """Abuse 52."""
        body: dict[str, Any] = {"arguments": {}, "config": {"server": "home"}}
        answer = await client.post("/api/v1/tools/mcp:invoke", json=body)
        assert answer.status_code == 403, answer.text

    async def test_an_organisations_own_secret_goes_before_the_operators(self, client: Client, web: Web) -> None:
        await keep(client, web.host, name="SHARED")
        await send(client, web.url("/echo"), "SHARED")
        assert web.seen["headers"]["Authorization"] == f"Bearer {VALUE}"
