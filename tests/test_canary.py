"""No secret of any kind is found in any place where text may end up (abuse 68, S202).

A product in a process of its own is given canaries: values that nothing else
contains. They go through everything that works and everything that fails, and
then every sink is searched for each of them, in all the ways that it may be
written.
"""

import hashlib
import hmac
import json
import re
from base64 import b64decode, b64encode
from pathlib import Path
from typing import Any, Self
from urllib.parse import unquote, urlsplit

import asyncpg
import httpx2
import msgspec
import psutil
import pytest
from pyotp.totp import TOTP

from agent_factory.database import data_keys, signing_keys
from agent_factory.database.embedded import Server
from agent_factory.database.sealed import sealed_columns, under_old_keys
from agent_factory.database.session import Database
from agent_factory.kit.spellings import forms
from agent_factory.security.encryption import EncryptionSettings, Place, open_vault
from agent_factory.security.encryption.rotation import Progress, catch_up, renew
from agent_factory.services.organizations.service import bootstrap
from tests.conftest import new_database
from tests.doubles import web as doubles
from tests.doubles.fixtures import ModelServer
from tests.doubles.web import Web
from tests.keyfile import KEY_FILE
from tests.serving import served

PASSWORD = "canary-Pass-word-0c1d2e3f"
SECRET = "canary-secret-value-1a2b3c4d"
SECOND = "canary-second-value-5e6f7a8b"
WEBHOOK = "canary-webhook-key-9c0d1e2f"
OPERATOR = "canary-operator-value-3a4b5c6d"
PROVIDER = "canary-provider-key-7e8f9a0b"
DSN_PASSWORD = "canary-dsn-password-1c2d3e4f"
MCP_TOKEN = "canary-mcp-token-5a6b7c8d"
STORAGE = "canary-storage-key-9e0f1a2b"
REFUSED = "canary-refused-value-3c4d5e6f"
SMTP = "canary-smtp-password-7a8b9c0d"
REDIS = "canary-redis-password-1e2f3a4b"


class Seen(msgspec.Struct):
    """What was driven through the product, and all that it gave back."""

    canaries: dict[str, str]
    answers: list[str]
    rows: dict[str, list[str]]
    sealed: dict[str, list[bytes]]
    log: str
    arguments: list[str]
    files: dict[str, bytes]
    rotated: Progress
    left: dict[str, int]


class Driver:
    """A client that keeps every answer, but for the few that show what they made, once."""

    def __init__(self, root: str, key: str, web: Web) -> None:
        self.root = root
        self.web = web
        self.answers: list[str] = []
        self._http = httpx2.AsyncClient(base_url=root, timeout=30)
        self._key = key

    async def ask(
        self, method: str, path: str, body: Any = None, *, once: bool = False, **more: Any
    ) -> httpx2.Response:
        headers = {"Authorization": f"Bearer {self._key}", **more.pop("headers", {})}
        answer = await self._http.request(method, path, json=body, headers=headers, **more)
        if not once:
            where = path.partition("?")[0]
            self.answers.append(f"{method} {where} {answer.status_code} {dict(answer.headers)} {answer.text}")
            if answer.headers.get("content-type", "").startswith("text/event-stream"):
                self.answers.append(_joined(answer.text))
        return answer

    async def made(self, path: str, body: Any) -> dict[str, Any]:
        answer = await self.ask("POST", path, body)
        assert answer.status_code in (200, 201, 202), answer.text
        return answer.json()

    async def run_agent(self, name: str, text: str, **definition: Any) -> dict[str, Any]:
        """Have an agent answer, and read everything that its run left."""
        agent = await self.made("/api/v1/agents", {"name": name, **definition})
        await self.ask("POST", f"/api/v1/agents/{agent['id']}:deploy")
        session = await self.made("/api/v1/sessions", {"agent": agent["id"]})
        await self.ask("POST", f"/api/v1/sessions/{session['id']}/messages", {"content": text})
        newest = (await self.ask("GET", "/api/v1/runs?limit=1")).json()["data"][0]
        return await self._read(newest["id"])

    async def run_workflow(self, name: str, *tasks: dict[str, Any]) -> dict[str, Any]:
        """Run a workflow to its end, and read everything that the run left."""
        workflow = await self.made("/api/v1/workflows", {"name": name, "tasks": list(tasks)})
        await self.ask("POST", f"/api/v1/workflows/{workflow['id']}:deploy")
        started = await self.ask("POST", f"/api/v1/workflows/{workflow['id']}/runs?wait=20", {"input": {}})
        return await self._read(started.json()["id"])

    async def _read(self, run: str) -> dict[str, Any]:
        await self.ask("GET", f"/api/v1/runs/{run}/events")  # its end is the run's
        for below in ("/steps", "/cost"):
            await self.ask("GET", f"/api/v1/runs/{run}{below}")
        return (await self.ask("GET", f"/api/v1/runs/{run}")).json()

    async def invoke(self, tool: str, arguments: dict[str, Any], config: dict[str, Any]) -> dict[str, Any]:
        body = {"arguments": arguments, "config": config}
        return (await self.ask("POST", f"/api/v1/tools/{tool}:invoke", body)).json()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self._http.aclose()


def bound(host: str, name: str, **more: str) -> dict[str, Any]:
    return {"secrets": [{"secret": name, "host": host, **more}]}


async def keep_and_use(driver: Driver) -> None:
    """Secrets that work, and that do not."""
    web, host = driver.web, driver.web.host
    kept = {"name": "CANARY", "value": SECRET, "hosts": [host]}
    made = await driver.made("/api/v1/secrets", kept)
    await driver.ask("POST", "/api/v1/secrets", kept)
    await driver.ask("POST", "/api/v1/secrets", {**kept, "name": "OTHER"}, headers={"Idempotency-Key": "one"})
    await driver.ask("POST", "/api/v1/secrets", {"name": "BAD", "value": REFUSED + "\n", "hosts": ["*"]})
    await driver.ask("POST", "/api/v1/secrets", {"name": REFUSED + "!", "value": [REFUSED], "x": REFUSED, "hosts": 1})
    await driver.ask("PUT", f"/api/v1/secrets/{made['id']}", {"value": SECOND})
    for more in ({}, {"query": "key"}, {"format": "Basic {base64}"}, {"header": "X-Key", "format": "{}"}):
        told = await driver.invoke("http_request", {"url": web.url("/echo")}, bound(host, "CANARY", **more))
        assert told["is_error"] is False
    assert SECOND in str(web.asked), "it was sent indeed"
    for path in ("/redirect?to=/echo", "/gzip", "/binary", "/drip"):
        config = {**bound(host, "CANARY"), "timeout": 0.5}
        await driver.invoke("http_request", {"url": web.url(path)}, config)
    await driver.invoke("http_request", {"url": "https://nowhere.invalid/"}, bound("nowhere.invalid", "CANARY"))
    await driver.invoke("http_request", {"url": web.url("/echo")}, bound(host, "OPERATOR"))
    await driver.invoke("openapi", {}, {"url": web.url("/echo"), **bound(host, "CANARY")})
    await driver.invoke("mcp", {}, {"url": web.url("/echo"), "timeout": 2, **bound(host, "CANARY")})
    await driver.invoke("mcp", {}, {"server": "broken", "timeout": 2})
    await driver.invoke("web_search", {"query": "x"}, {"engines": ["serper"], "secret": "OPERATOR"})
    for database in ("away", "broken", "odd"):
        await driver.invoke("sql_query", {"sql": "SELECT 1"}, {"database": database})


async def run_things(driver: Driver, model: str) -> None:
    """Agents and workflows that use secrets, and fail with them in their hands."""
    web, host = driver.web, driver.web.host
    use = {"use": "http_request", "config": bound(host, "CANARY")}
    call = {"call": [{"name": "http_request", "arguments": {"url": web.url("/echo")}}]}
    ended = await driver.run_agent("asks", f"Please {json.dumps(call)}", model=model, tools=[use])
    assert ended["status"] == "completed", ended
    for number, status in enumerate((400, 401, 500)):
        refusal = {"error": {"message": f"no such header as Authorization: Bearer {PROVIDER} and {SECOND}"}}
        web.answers["/v1/chat/completions"] = (
            status,
            {"Content-Type": "application/json"},
            json.dumps(refusal).encode(),
        )
        retry = {"attempts": 1}
        failed = await driver.run_agent(f"fails-{number}", "hello", model="echoing:x", retry=retry)
        assert failed["status"] == "failed", failed
    http = {"id": "fetch", "type": "http", "config": {"url": web.url("/echo"), "secret": "CANARY"}}
    assert (await driver.run_workflow("fetches", http))["status"] == "completed"
    web.answers["/broken"] = (500, {"Content-Type": "text/plain"}, f"you sent Bearer {SECOND}".encode())
    broken = {"id": "fetch", "type": "http", "config": {"url": web.url("/broken"), "secret": "CANARY"}}
    assert (await driver.run_workflow("breaks", broken))["status"] == "failed"
    large = json.dumps({"said": [SECOND] * 20_000}).encode()
    web.answers["/large"] = (200, {"Content-Type": "application/json"}, large)
    stored = {"id": "fetch", "type": "http", "config": {"url": web.url("/large"), "secret": "CANARY"}}
    assert (await driver.run_workflow("stores", stored))["status"] == "completed"


def unseen(directive: dict[str, Any]) -> str:
    """Write a directive so that nothing in it is known on the way to the model, which reads it all the same."""
    return json.dumps(directive).replace(SECOND, "".join(f"\\u{ord(c):04x}" for c in SECOND))


async def say_things(driver: Driver, model: str) -> None:
    """A model that says a secret, to every door at which answers stream."""
    text = unseen({"say": f"It is {SECOND}, I was told.", "reasoning": f"Is it {SECOND}?", "pieces": 30})
    agent = await driver.made("/api/v1/agents", {"name": "says", "model": model})
    await driver.ask("POST", f"/api/v1/agents/{agent['id']}:deploy")
    session = await driver.made("/api/v1/sessions", {"agent": agent["id"]})
    streaming = {"Accept": "text/event-stream"}
    call = {"name": "ask_says", "arguments": {"message": text}}
    rpc = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call}
    named = "agent:says"
    for path, body, headers in (
        ("/api/v1/runs", {"agent": agent["id"], "input": text}, streaming),
        ("/api/v1/runs?wait=20", {"agent": agent["id"], "input": text}, {}),
        (f"/api/v1/sessions/{session['id']}/messages", {"content": text}, streaming),
        ("/v1/chat/completions", {"model": named, "messages": [{"role": "user", "content": text}]}, {}),
        ("/v1/chat/completions", {"model": named, "messages": [{"role": "user", "content": text}], "stream": True}, {}),
        ("/v1/responses", {"model": named, "input": text}, {}),
        ("/v1/responses", {"model": named, "input": text, "stream": True}, {}),
        ("/mcp", rpc, {"Accept": "application/json, text/event-stream", "MCP-Protocol-Version": "2025-06-18"}),
    ):
        answer = await driver.ask("POST", path, body, headers=headers)
        assert answer.status_code in (200, 201), f"{path}: {answer.text}"
        assert "I was told" in _joined(answer.text), f"{path}: {answer.text}"
    for run in (await driver.ask("GET", "/api/v1/runs?limit=8")).json()["data"]:
        await driver.ask("GET", f"/api/v1/runs/{run['id']}/events", headers=streaming)
        await driver.ask("GET", f"/api/v1/runs/{run['id']}/steps")
    await driver.ask("GET", f"/api/v1/sessions/{session['id']}/messages")


def _joined(answer: str) -> str:
    """Put the pieces of a stream together, for a secret may have come in parts."""
    pieces = re.findall(r'"(?:text|delta|content|reasoning)":\s*"((?:[^"\\]|\\.)*)"', answer)
    return "".join(pieces)


async def sign_webhooks(driver: Driver) -> str:
    """A webhook whose sender made the key, and one whose key is made here; gives that one."""
    task = {"id": "greet", "type": "transform", "config": {"value": "hi"}}
    workflow = await driver.made("/api/v1/workflows", {"name": "hooked", "tasks": [task]})
    await driver.ask("POST", f"/api/v1/workflows/{workflow['id']}:deploy")
    config = {"path": "/webhook/canary", "signature": "github"}
    hook = {"workflow": "hooked", "type": "webhook", "config": config, "secret": WEBHOOK}
    trigger = await driver.made("/api/v1/triggers", hook)
    signed = hmac.new(WEBHOOK.encode(), b"{}", hashlib.sha256).hexdigest()
    for signature in (signed, "0" * 64):
        answer = await driver._http.post(
            "/webhook/canary",
            content=b"{}",
            headers={"X-Hub-Signature-256": f"sha256={signature}", "Content-Type": "application/json"},
        )
        driver.answers.append(answer.text)
        assert (answer.status_code == 202) == (signature == signed), answer.text
    rotated = await driver.ask("POST", f"/api/v1/triggers/{trigger['id']}:rotate-secret", once=True)
    await driver.ask("GET", f"/api/v1/triggers/{trigger['id']}")
    return rotated.json()["secret"]


async def sign_in(driver: Driver) -> dict[str, str]:
    """A password, a second factor, sessions; gives what was made on the way."""
    await driver.ask("POST", "/api/v1/auth/password", {"password": PASSWORD})
    email = (await driver.ask("GET", "/api/v1/auth/account")).json()["email"]
    login = {"email": email, "password": PASSWORD}
    first = (await driver.ask("POST", "/api/v1/auth/login", login, once=True)).json()
    await driver.ask("POST", "/api/v1/auth/login", {**login, "password": PASSWORD + "x"})
    await driver.ask("POST", "/api/v1/auth/login", {**login, "pasword": PASSWORD})
    mine = {"Authorization": f"Bearer {first['access_token']}"}
    await driver.ask("GET", "/api/v1/auth/me", headers=mine)
    await driver.ask("GET", "/api/v1/auth/me", headers={"Authorization": f"Bearer {first['access_token']}x"})
    await driver.ask("POST", "/api/v1/auth/forgot-password", {"email": email})
    enrolled = (
        await driver.ask("POST", "/api/v1/auth/second-factor", {"password": PASSWORD}, once=True, headers=mine)
    ).json()
    assert "secret" in enrolled, enrolled
    code = {"otp": TOTP(enrolled["secret"]).now()}
    confirmed = await driver.ask("POST", "/api/v1/auth/second-factor:confirm", code, once=True, headers=mine)
    refreshed = (
        await driver.ask("POST", "/api/v1/auth/refresh", {"refresh_token": first["refresh_token"]}, once=True)
    ).json()
    await driver.ask("POST", "/api/v1/auth/refresh", {"refresh_token": first["refresh_token"]})
    return {
        "access token": first["access_token"],
        "refresh token": first["refresh_token"],
        "second refresh token": refreshed["refresh_token"],
        "device": first["device"],
        "otp seed": enrolled["secret"],
        "recovery code": confirmed.json()["recovery_codes"][0],
    }


async def break_things(driver: Driver, database: Database) -> None:
    """Faults of the caller, and one of ours."""
    for path in (f"/api/v1/agents?limit={REFUSED}", f"/api/v1/nowhere?token={REFUSED}", f"/v1/models?key={REFUSED}"):
        await driver.ask("GET", path)
    answer = await driver._http.post(
        "/api/v1/secrets",
        content=f'{{"name": "X", "value": "{REFUSED}'.encode(),
        headers={"Content-Type": "application/json", "Authorization": f"Bearer {driver._key}"},
    )
    driver.answers.append(answer.text)
    await driver.ask("GET", "/api/v1/agents", headers={"Authorization": f"Bearer {REFUSED}"})
    await driver.ask("GET", "/api/v1/agents", headers={"Cookie": f"session={REFUSED}"})
    moved = "update secrets set value = (select value from secrets where name = 'CANARY') where name = 'OTHER'"
    await database.pool.execute(moved)
    told = await driver.invoke("http_request", {"url": driver.web.url("/echo")}, bound(driver.web.host, "OTHER"))
    assert told["is_error"] is True


async def read_all(driver: Driver) -> None:
    """Everything that can be listed, exported and measured."""
    document = (await driver.ask("GET", "/openapi.json")).json()
    for path, item in document["paths"].items():
        if "get" in item and "{" not in path and path != "/api/v1/audit-events:export":
            await driver.ask("GET", path)
    for path in ("/metrics", "/ready", "/api/v1/audit-events:export"):
        await driver.ask("GET", path)


async def replace_keys(driver: Driver, database: Database, folder: Path) -> tuple[Progress, dict[str, int]]:
    """Replace every data key beside the running product; tell what is still under an old one, column by column."""
    vault = open_vault(EncryptionSettings(key_file=KEY_FILE), database.pool, folder)
    await renew(database.pool, vault)
    rotated = await catch_up(database.pool, vault)
    left = {f"{c.table}.{c.column}": len(await under_old_keys(database.pool, c)) for c in sealed_columns()}
    told = await driver.invoke("http_request", {"url": driver.web.url("/echo")}, bound(driver.web.host, "CANARY"))
    assert told["is_error"] is False
    return rotated, left


async def opened_keys(database: Database, folder: Path) -> dict[str, str]:
    """The keys that seal and sign: that of the file, those of organisations, those of tokens."""
    vault = open_vault(EncryptionSettings(key_file=KEY_FILE), database.pool, folder)
    lines = KEY_FILE.read_text().splitlines()
    kek = next(line for line in lines if line.startswith("af-kek-1:")).partition(":")[2]
    keys = {"key of the file": kek, "key of the file, in hex": b64decode(kek).hex()}
    for organization in await data_keys.organizations(database.pool):
        found = await data_keys.active(database.pool, organization)
        assert found is not None
        plain = await vault.unwrap(found)
        who = organization or "the installation"
        keys |= {f"data key of {who}": b64encode(plain).decode(), f"data key of {who}, in hex": plain.hex()}
    for key in await signing_keys.every(database.pool):
        if key.private is not None:
            opened = await vault.decrypt(None, Place("signing_keys", "private", key.kid), key.private)
            keys[f"signing key {key.number}"] = json.loads(opened)["d"]
    return keys


async def statements(url: str) -> list[str]:
    """What PostgreSQL shows its owner of the statements that run, or ran last."""
    connection = await asyncpg.connect(url)
    try:
        return [row["query"] for row in await connection.fetch("select query from pg_stat_activity")]
    finally:
        await connection.close()


async def dumped(url: str) -> tuple[dict[str, list[str]], dict[str, list[bytes]]]:
    """Every row of every table as text, and what is in the columns of sealed values."""
    connection = await asyncpg.connect(url)
    try:
        tables = await connection.fetch(
            "select c.oid::regclass::text as name from pg_class c join pg_namespace n on n.oid = c.relnamespace"
            " where c.relkind = 'r' and n.nspname = 'public'"
        )
        for table in tables:  # its owner sees every row then; the database is dropped afterwards
            await connection.execute(f"alter table {table['name']} no force row level security")
        rows = {
            table["name"]: [r[0] for r in await connection.fetch(f"select to_jsonb(t)::text from {table['name']} t")]  # noqa: S608 - names from the catalogue
            for table in tables
        }
        sealed = {
            f"{c.table}.{c.column}": [
                r[0]
                for r in await connection.fetch(f"select {c.column} from {c.table} where {c.column} is not null")  # noqa: S608 - as above
            ]
            for c in sealed_columns()
        }
    finally:
        await connection.close()
    return rows, sealed


def environment(url: str, folder: Path, web: Web, model: ModelServer) -> dict[str, str]:
    endpoints = {
        "echoing": {"url": web.url("/v1"), "api_key": PROVIDER},
        "double": {"url": model.url, "api_key": PROVIDER},
    }
    databases = {
        "away": f"postgresql://canary:{DSN_PASSWORD}@127.0.0.1:1/x",
        "broken": f"mysql://canary:{DSN_PASSWORD}@127.0.0.1:1/x",
        "odd": f"weird://canary:{DSN_PASSWORD}@127.0.0.1/x",
    }
    return {
        "AF_DATABASE__URL": url,
        "AF_DATABASE__DATA_DIR": str(folder),
        "AF_LOGGING__LEVEL": "debug",
        "AF_MODELS__ENDPOINTS": json.dumps(endpoints),
        "OPENAI_API_KEY": PROVIDER,
        "AF_TOOLS__PRIVATE_HOSTS": json.dumps([web.host]),
        "AF_TOOLS__SECRETS": json.dumps({"OPERATOR": OPERATOR}),
        "AF_TOOLS__DATABASES": json.dumps(databases),
        "AF_TOOLS__MCP_SERVERS": json.dumps({"broken": {"command": "false", "env": {"TOKEN": MCP_TOKEN}}}),
        "AF_TOOLS__SEARCH_URLS": json.dumps({"serper": web.url("/echo")}),
        "AF_STORAGE__OPTIONS": json.dumps({"unused": STORAGE}),
        "AF_MAIL__URL": f"smtp://canary:{SMTP}@127.0.0.1:1",
        "AF_MAIL__POLL": "0.2",
        "AF_REDIS__URL": f"redis://canary:{REDIS}@127.0.0.1:1/0",
    }


@pytest.fixture(scope="module")
async def seen(
    postgres: Server, template: str, model_server: ModelServer, tmp_path_factory: pytest.TempPathFactory
) -> Seen:
    """All that a product leaves behind that had every canary in its hands."""
    folder = tmp_path_factory.mktemp("state")
    log = folder / "log"
    async with new_database(postgres.url, f"TEMPLATE {template}") as url, doubles.running() as web:
        database = Database(url)
        try:
            founded = await bootstrap(database)
            assert founded is not None
            with log.open("wb") as file:
                async with (
                    served(environment(url, folder, web, model_server), file) as root,
                    Driver(root, founded.secret, web) as driver,
                ):
                    await keep_and_use(driver)
                    await run_things(driver, "double:x")
                    await say_things(driver, "double:x")
                    made_here = await sign_webhooks(driver)
                    tokens = await sign_in(driver)
                    await break_things(driver, database)
                    await read_all(driver)
                    arguments = [*_arguments(), *await statements(url)]
                    keys = await opened_keys(database, folder)
                    rotated, left = await replace_keys(driver, database, folder)
        finally:
            await database.close()
        rows, sealed = await dumped(url)
    canaries = {
        "password": PASSWORD,
        "secret": SECRET,
        "second value": SECOND,
        "webhook key": WEBHOOK,
        "webhook key made here": made_here,
        "operator's secret": OPERATOR,
        "provider's key": PROVIDER,
        "password of a DSN": DSN_PASSWORD,
        "token of an MCP server": MCP_TOKEN,
        "storage key": STORAGE,
        "refused value": REFUSED,
        "password of the mail server": SMTP,
        "password of Redis": REDIS,
        "password of the database": unquote(urlsplit(url).password or ""),
        "API key": founded.secret.rpartition("_")[2] if founded.secret.count("_") == 2 else founded.secret[-40:],
        **tokens,
        **keys,
    }
    assert all(canaries.values()), canaries
    files = {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    return Seen(
        canaries, driver.answers, rows, sealed, log.read_text(errors="replace"), arguments, files, rotated, left
    )


def _arguments() -> list[str]:
    """The command lines of the product and of all that it started."""
    me = psutil.Process()
    return [" ".join(p.cmdline()) for p in me.children(recursive=True) if p.status() != psutil.STATUS_ZOMBIE]


def spellings(value: str) -> list[str]:
    """The ways in which a value may be written."""
    raw = value.encode()
    return [*forms(value), raw.hex(), b64encode(raw).decode(), value.upper() if value.islower() else value]


def found_in(text: str, canaries: dict[str, str]) -> dict[str, str]:
    """The canaries that a text holds, with what is around them."""
    hits: dict[str, str] = {}
    for name, value in canaries.items():
        for spelling in spellings(value):
            place = text.find(spelling)
            if place >= 0:
                hits[name] = re.sub(re.escape(spelling), "<<HERE>>", text[max(0, place - 200) : place + 300])
    return hits


def test_no_table_holds_a_canary(seen: Seen) -> None:
    assert len(seen.rows) > 30
    assert sum(map(len, seen.rows.values())) > 100
    hits = {table: found_in("\n".join(rows), seen.canaries) for table, rows in seen.rows.items()}
    assert {table: found for table, found in hits.items() if found} == {}


def test_sealed_columns_hold_what_was_kept_and_show_nothing_of_it(seen: Seen) -> None:
    assert len(seen.sealed["secrets.value"]) == 2
    assert seen.sealed["triggers.sealed_secret"]
    for values in seen.sealed.values():
        for value in values:
            assert value[0] == 1
            assert not [name for name, canary in seen.canaries.items() if canary.encode() in value]


def test_every_kind_of_sealed_value_is_sealed_anew_when_keys_are_replaced(seen: Seen) -> None:
    """Whoever seals a value names its place as a rotation will: table, column and primary key."""
    assert seen.rotated.failed == 1, "the one that was moved to another row on purpose"
    assert {column: left for column, left in seen.left.items() if left} == {"secrets.value": 1}
    assert {column for column, values in seen.sealed.items() if values} >= {
        "accounts.otp_seed",
        "secrets.value",
        "signing_keys.private",
        "triggers.sealed_secret",
    }


def test_no_log_line_holds_a_canary(seen: Seen) -> None:
    """Debug lines, tracebacks, request lines, lines of libraries."""
    assert seen.log.count("\n") > 20
    assert found_in(seen.log, seen.canaries) == {}


def test_no_answer_holds_a_canary(seen: Seen) -> None:
    """Errors, runs, steps, events, exports, metrics, the API's document."""
    assert len(seen.answers) > 100
    said = "\n".join(seen.answers)
    assert "[redacted]" in said, "what the other servers echoed came this far"
    assert found_in(said, seen.canaries) == {}


def test_no_file_of_the_state_folder_holds_a_canary(seen: Seen) -> None:
    """S202: the object store has the large values of runs."""
    assert any(name.startswith("objects") for name in seen.files), "nothing was large enough to be stored there"
    for name, content in seen.files.items():
        assert found_in(content.decode("utf-8", "replace"), seen.canaries) == {}, name


def test_no_process_shows_a_canary_in_its_arguments_or_its_statements(seen: Seen) -> None:
    assert any("granian" in line for line in seen.arguments)
    assert any("update" in line or "insert" in line for line in seen.arguments), "statements of the product are seen"
    assert found_in("\n".join(seen.arguments), seen.canaries) == {}


def test_the_search_finds_what_is_there() -> None:
    """A search that finds nothing, ever, would prove nothing."""
    for spelling in spellings(SECRET):
        assert found_in(f"x{spelling}y", {"it": SECRET})
