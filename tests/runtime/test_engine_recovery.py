"""Runs that outlive their process, and databases that go away (S59, S71)."""

import asyncio
import json
import random
import signal
import sys
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from agent_factory.core.agent import Agent
from agent_factory.core.event import TurnCompleted, TurnFailed
from agent_factory.core.message import ToolCall, ToolResult
from agent_factory.database.embedded import Server
from agent_factory.database.errors import ConnectionLost
from agent_factory.database.migrations import migrate
from agent_factory.database.session import Database
from agent_factory.database.settings import DatabaseSettings
from agent_factory.enterprise.multitenancy.limits import Metric, Period
from agent_factory.kit.errors import Unavailable
from agent_factory.runtime.compile import Resources
from agent_factory.runtime.engine import Engine
from agent_factory.runtime.live import LiveRun, follow
from agent_factory.runtime.settings import EngineSettings
from agent_factory.runtime.statements import OWNED, REAP
from agent_factory.security.auth import Actor
from tests.conftest import FAST
from tests.doubles.fixtures import ROOT, ModelServer
from tests.enterprise.world import World
from tests.runtime.conftest import Make
from tests.runtime.parts import (
    QUICK,
    CountingDatabase,
    Tools,
    all_events,
    asking,
    calling,
    directive,
    new_session,
    row_of,
    said_in,
    worker,
)


class Child:
    """A process with an engine."""

    def __init__(self, process: asyncio.subprocess.Process, acted: Path) -> None:
        self._process = process
        self.acted = acted

    async def begin(self, actor: Actor, session_id: UUID | None, text: str) -> None:
        order = {
            "organization": str(actor.organization_id),
            "session": session_id and str(session_id),
            "text": text,
        }
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        await self._process.stdin.drain()

    async def heard(self) -> dict[str, str]:
        assert self._process.stdout is not None
        return json.loads(await self._process.stdout.readline())

    async def until(self, word: str) -> str:
        while word not in (told := await self.heard()):
            pass
        return told[word]

    async def kill(self) -> list[dict[str, str]]:
        """Kill it without a warning; give what it had said and nobody had read."""
        assert self._process.stdout is not None
        with suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGKILL)
        rest = await self._process.stdout.read()
        await self._process.wait()
        return [json.loads(line) for line in rest.splitlines() if line.endswith(b"}")]

    async def stop(self) -> None:
        """Let it end by itself."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._process.wait()


@pytest.fixture
async def doomed(database_url: str, model_server: ModelServer, tmp_path: Path) -> AsyncGenerator[Child, None]:
    """A process with an engine, for a test to kill."""
    acted = tmp_path / "acted"
    acted.touch()
    command = [sys.executable, "-m", "tests.runtime.child", "--database", database_url]
    command += ["--model-url", model_server.url, "--acted", str(acted)]
    pipe = asyncio.subprocess.PIPE
    made = Child(await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdin=pipe, stdout=pipe), acted)
    try:
        yield made
    finally:
        await made.kill()


@asynccontextmanager
async def reaping(*engines: Engine) -> AsyncGenerator[None, None]:
    tasks = [asyncio.create_task(engine.reap_forever()) for engine in engines]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def end_of(database: Database, actor: Actor, run_id: UUID) -> Any:
    last: Any = None
    async for _, event in follow(database.pool, actor.organization_id, run_id):
        last = event
    return last


async def seen(model_server: ModelServer, key: str, calls: int = 1) -> None:
    """Return when the model server has got a number of calls."""
    while (await model_server.calls(key))["calls"] < calls:  # noqa: ASYNC110 - the server calls nobody back
        await asyncio.sleep(0.01)


@pytest.fixture
def database_url(fresh_database_url: str) -> str:
    """A database of the test's own, for reapers look at every organisation's runs."""
    return fresh_database_url


@pytest.fixture
async def database(database_url: str) -> AsyncGenerator[Database, None]:
    """The test's own database."""
    opened = Database(database_url, DatabaseSettings())
    yield opened
    await opened.close()


@pytest.fixture
def takeover_tools(tools: Tools) -> Tools:
    """The same tools as the child's, but counted, and none hangs."""
    tools.add("act")
    tools.add("hang")
    return tools


async def test_killed_in_a_model_call_the_turn_is_finished_by_another_process(
    *,
    doomed: Child,
    make_engine: Make,
    database: Database,
    actor: Actor,
    session_id: UUID,
    takeover_tools: Tools,
    model_server: ModelServer,
) -> None:
    key = f"mid-model-{session_id}"
    await doomed.begin(actor, session_id, directive(delay=1, say="answered", key=key))
    run_id = UUID(await doomed.until("begun"))
    await seen(model_server, key)
    await doomed.kill()
    async with reaping(await make_engine()):
        end = await end_of(database, actor, run_id)
    assert isinstance(end, TurnCompleted)
    assert end.text == "answered"
    row = await row_of(database, run_id)
    assert (row["status"], row["epoch"]) == ("completed", 2)
    assert [role for role, _ in await said_in(database, session_id)] == ["user", "assistant"]
    assert (await model_server.calls(key))["calls"] == 2


async def test_killed_in_a_model_call_what_it_held_is_counted_whole_and_the_other_processs_call_by_itself(
    *,
    doomed: Child,
    make_engine: Make,
    database: Database,
    actor: Actor,
    session_id: UUID,
    takeover_tools: Tools,
    model_server: ModelServer,
) -> None:
    """S207-S209: nobody knows what the dead one's call used, so all of it counts."""
    budget = await World(database, actor).budget(Metric.TOKENS, Period.TOTAL, 1_000_000)
    key = f"mid-budget-{session_id}"
    await doomed.begin(actor, session_id, directive(delay=1, say="answered", usage=[50, 7], key=key))
    run_id = UUID(await doomed.until("begun"))
    await seen(model_server, key)
    held = await database.pool.fetchval("select sum(held) from meters where key = $1", f"budget/{budget}")
    await doomed.kill()
    engine = await make_engine()
    async with reaping(engine):
        assert isinstance(await end_of(database, actor, run_id), TurnCompleted)
        world = World(database, actor)
        while await world.held():
            await engine.ledger.sweep()
            await asyncio.sleep(0.05)  # a dead process has to have been silent for a lease
    assert held > 0
    assert await world.used(f"budget/{budget}") == held + 57
    assert (await world.told())[0] == held + 57


async def test_killed_in_a_tool_call_the_recorded_model_call_is_not_made_again(
    *,
    doomed: Child,
    make_engine: Make,
    database: Database,
    actor: Actor,
    session_id: UUID,
    takeover_tools: Tools,
    model_server: ModelServer,
) -> None:
    key = f"mid-tool-{session_id}"
    await doomed.begin(actor, session_id, calling("hang", say="answered", key=key))
    run_id = UUID(await doomed.until("begun"))
    await doomed.until("acted")
    await doomed.kill()
    assert (await model_server.calls(key))["calls"] == 1
    async with reaping(await make_engine()):
        end = await end_of(database, actor, run_id)
    assert isinstance(end, TurnCompleted)
    assert end.text == "answered"
    assert (await model_server.calls(key))["calls"] == 2
    assert takeover_tools.calls == {"hang": 1}


async def test_killed_after_a_tool_call_the_tool_is_not_run_again(
    *,
    doomed: Child,
    make_engine: Make,
    database: Database,
    actor: Actor,
    session_id: UUID,
    takeover_tools: Tools,
    model_server: ModelServer,
) -> None:
    key = f"after-tool-{session_id}"
    steps = [{"call": [{"name": "act", "arguments": {}}]}, {"delay": 1, "say": "answered"}]
    await doomed.begin(actor, session_id, directive(steps=steps, key=key))
    run_id = UUID(await doomed.until("begun"))
    await seen(model_server, key, 2)
    await doomed.kill()
    assert doomed.acted.read_text().splitlines() == ["act"]
    async with reaping(await make_engine()):
        end = await end_of(database, actor, run_id)
    assert isinstance(end, TurnCompleted)
    assert takeover_tools.calls == {}
    assert (await model_server.calls(key))["calls"] == 3
    calls = [p.id for m in end.messages for p in m.parts if isinstance(p, ToolCall)]
    results = [p.call_id for m in end.messages for p in m.parts if isinstance(p, ToolResult)]
    assert calls == results


@pytest.mark.parametrize("round_", range(3))
async def test_killed_at_any_moment_nothing_that_was_acknowledged_is_lost(
    *,
    doomed: Child,
    make_engine: Make,
    database: Database,
    actor: Actor,
    takeover_tools: Tools,
    model_server: ModelServer,
    round_: int,
) -> None:
    """Whatever statement the process dies between: each begun turn ends once, with a whole conversation."""
    chance = random.Random(round_)  # noqa: S311 - chooses a moment
    sessions = [await new_session(database, actor) for _ in range(24)]
    steps = [{"call": [{"name": "act", "arguments": {}}]}, {"say": "answered"}]
    begun: dict[UUID, UUID] = {}
    ended: set[UUID] = set()
    for session_id in sessions:
        await doomed.begin(actor, session_id, directive(steps=steps, key=f"any-{session_id}"))
    told: list[dict[str, str]] = [await doomed.heard() for _ in range(chance.randrange(1, 60))]
    told += await doomed.kill()
    for word in told:
        if "begun" in word:
            run_id = UUID(word["begun"])
            begun[run_id] = (await row_of(database, run_id))["session_id"]
        if "ended" in word:
            ended.add(UUID(word["ended"]))
    for run_id in ended:
        assert (await row_of(database, run_id))["status"] == "completed"
    async with reaping(await make_engine()):
        for run_id, session_id in begun.items():
            end = await end_of(database, actor, run_id)
            assert isinstance(end, TurnCompleted)
            roles = [role for role, _ in await said_in(database, session_id)]
            assert roles == ["user", "assistant", "tool", "assistant"]
    for run_id in ended:
        assert (await model_server.calls(f"any-{begun[run_id]}"))["calls"] == 2


async def test_a_run_that_kills_every_process_is_given_up(
    make_engine: Make, database: Database, actor: Actor, agent: Agent, session_id: UUID
) -> None:
    first = await make_engine()
    run = await first.start(asking(actor, agent, directive(hang=True), session_id=session_id))
    await database.pool.execute("update runs set epoch = 3, owner = 'nobody' where id = $1", run.id)
    async with reaping(await make_engine()):
        end = await end_of(database, actor, run.id)
    assert isinstance(end, TurnFailed)
    assert end.problem["code"] == "run_interrupted"
    assert (await row_of(database, run.id))["status"] == "failed"
    after = await first.start(asking(actor, agent, "next", session_id=session_id))
    assert isinstance(await after.wait(), TurnCompleted)


@pytest.mark.parametrize("statement", [OWNED, REAP])
async def test_a_reaper_leaves_a_run_alone_that_begins_while_it_looks(
    *,
    make_engine: Make,
    counting: CountingDatabase,
    database: Database,
    actor: Actor,
    agent: Agent,
    statement: str,
) -> None:
    engine = await make_engine(EngineSettings(lease=3600, beat=0.01), counting)
    begun: list[LiveRun] = []
    looked = asyncio.Event()

    async def begin(sql: str) -> None:
        if sql == statement and not begun:
            begun.append(await engine.start(asking(actor, agent, directive(delay=0.3, say="mine"))))

    async def has_looked(sql: str) -> None:
        if sql == REAP and begun:
            looked.set()

    counting.pool.before, counting.pool.after = begin, has_looked
    async with reaping(engine):
        await looked.wait()
        assert isinstance(await begun[0].wait(), TurnCompleted)
    assert (await row_of(database, begun[0].id))["epoch"] == 1


async def test_a_takeover_whose_answer_was_lost_is_found_again(
    *, make_engine: Make, counting: CountingDatabase, database: Database, database_url: str, actor: Actor, agent: Agent
) -> None:
    first = await make_engine()
    run = await first.start(asking(actor, agent, directive(hang=True)))
    await database.pool.execute("update runs set owner = 'dead', input = $2 where id = $1", run.id, _HELLO)
    lost: list[str] = []

    async def lose(sql: str) -> None:
        if sql == REAP and not lost:
            lost.append(sql)
            raise ConnectionLost("cut")

    counting.pool.after = lose
    async with reaping(await make_engine(over=counting)):
        end = await end_of(database, actor, run.id)
    assert lost
    assert isinstance(end, TurnCompleted)


_HELLO = '{"message": {"role": "user", "parts": [{"type": "text", "text": "hello"}]}}'


async def test_a_process_that_was_taken_for_dead_writes_nothing_more(
    make_engine: Make, database: Database, actor: Actor, tools: Tools, session_id: UUID
) -> None:
    """The fence: the zombie's steps and its end are dropped, and its watchers follow the run to its new home."""
    tools.add("slow", held=True)
    agent = worker("slow")
    zombie, heir = await make_engine(), await make_engine()
    run = await zombie.start(asking(actor, agent, calling("slow"), session_id=session_id))
    await tools.entered.wait()
    await database.pool.execute("update runs set owner = 'somebody-dead' where id = $1", run.id)
    async with reaping(heir):
        while heir.live(run.id) is None:  # noqa: ASYNC110 - the reaper comes by itself
            await asyncio.sleep(0.01)
        tools.gate.set()
        end = await run.wait()
    assert isinstance(end, TurnCompleted)
    row = await row_of(database, run.id)
    assert (row["status"], row["epoch"]) == ("completed", 2)
    assert [role for role, _ in await said_in(database, session_id)] == ["user", "assistant", "tool", "assistant"]
    steps = await database.pool.fetch("select ord from run_steps where run_id = $1 order by ord", run.id)
    assert [s["ord"] for s in steps] == [1, 2, 3]


async def test_a_graceful_stop_lets_turns_end(make_engine: Make, actor: Actor, agent: Agent) -> None:
    engine = await make_engine()
    run = await engine.start(asking(actor, agent, directive(delay=0.3, say="in time")))
    await engine.close(10)
    end = await run.wait()
    assert isinstance(end, TurnCompleted)


async def test_a_graceful_stop_hands_over_what_is_left_at_once(
    make_engine: Make, database: Database, actor: Actor, tools: Tools, session_id: UUID
) -> None:
    """A hand-over is no crash: it costs the run none of its attempts, and no lease has to pass."""
    tools.add("slow", held=True)
    agent = worker("slow")
    leaving, staying = await make_engine(), await make_engine(EngineSettings(lease=3600, beat=0.1))
    run = await leaving.start(asking(actor, agent, calling("slow"), session_id=session_id))
    await tools.entered.wait()
    async with reaping(staying):
        await leaving.close(0)
        tools.gate.set()
        end = await end_of(database, actor, run.id)
    assert isinstance(end, TurnCompleted)
    assert (await row_of(database, run.id))["epoch"] == 1


async def test_a_watcher_of_another_process_sees_every_fact(
    make_engine: Make, database: Database, actor: Actor, tools: Tools
) -> None:
    tools.add("slow", held=True)
    agent = worker("slow")
    here = await make_engine()
    run = await here.start(asking(actor, agent, calling("slow")))
    await tools.entered.wait()
    watching = asyncio.create_task(_all(follow(database.pool, actor.organization_id, run.id)))
    tools.gate.set()
    end = await run.wait()
    from_afar = await watching
    here_too = [(at, event) for at, event in await all_events(run) if at.minor == 0]
    assert [at for at, _ in from_afar] == [at for at, _ in here_too]
    assert [type(e) for _, e in from_afar] == [type(e) for _, e in here_too]
    assert from_afar[-1][1] == end
    for seen_last, _ in from_afar:
        rest = await _all(follow(database.pool, actor.organization_id, run.id, seen_last))
        assert [at for at, _ in rest] == [at for at, _ in from_afar if at > seen_last]


async def _all(events: Any) -> list[Any]:
    return [pair async for pair in events]


@pytest.fixture
async def own_server() -> AsyncGenerator[tuple[Server, str], None]:
    """A PostgreSQL that a test may stop."""
    with tempfile.TemporaryDirectory(prefix="af-away-") as folder:
        server = Server(Path(folder) / "postgres", FAST)
        url = await server.start()
        await migrate(url)
        try:
            yield server, url
        finally:
            await server.stop()


@pytest.mark.timeout(120)
async def test_a_database_that_goes_away_in_a_turn_costs_a_clear_error_and_the_turn_is_finished_later(
    own_server: tuple[Server, str], resources: Resources, actor: Actor, tools: Tools
) -> None:
    server, url = own_server
    database = Database(url, DatabaseSettings(connect_timeout=1, pool_timeout=1))
    tools.add("slow", held=True)
    agent = worker("slow")
    engine = Engine(database, resources, QUICK)
    try:
        async with reaping(engine):
            run = await engine.start(asking(actor, agent, calling("slow")))
            await tools.entered.wait()
            await server.stop()
            tools.gate.set()
            end = await run.wait()
            assert isinstance(end, TurnFailed)
            assert end.problem["code"] == "unavailable"
            with pytest.raises(Unavailable):
                await engine.start(asking(actor, agent, "anybody?"))
            await server.start()
            finished = await _ended(database, actor, run)
            assert isinstance(finished, TurnCompleted)
            again = await engine.start(asking(actor, agent, "back"))
            assert isinstance(await again.wait(), TurnCompleted)
    finally:
        await engine.close(0)
        await database.close()


async def test_a_short_outage_is_not_noticed_by_a_turn(
    own_server: tuple[Server, str], resources: Resources, actor: Actor, agent: Agent
) -> None:
    server, url = own_server
    database = Database(url, DatabaseSettings(connect_timeout=1, pool_timeout=1))
    engine = Engine(database, resources, EngineSettings(patience=30))
    try:
        run = await engine.start(asking(actor, agent, directive(delay=1, say="fine")))
        await server.stop()
        await server.start()
        end = await run.wait()
        assert isinstance(end, TurnCompleted)
        assert (await row_of(database, run.id))["status"] == "completed"
    finally:
        await engine.close(0)
        await database.close()


async def _ended(database: Database, actor: Actor, run: LiveRun) -> Any:
    while True:
        try:
            return await end_of(database, actor, run.id)
        except Unavailable:
            await asyncio.sleep(0.05)  # the database is coming back
