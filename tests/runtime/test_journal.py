"""Group commit, fences and statements whose answer was lost."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from decimal import Decimal
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_factory.core.agent import Agent
from agent_factory.core.event import TurnCompleted
from agent_factory.core.journal import Entry
from agent_factory.database.batches import Lane
from agent_factory.database.errors import ConnectionLost
from agent_factory.database.session import Database
from agent_factory.kit.clock import now
from agent_factory.kit.errors import Invalid, Problem, Unavailable
from agent_factory.kit.ids import uuid7
from agent_factory.runtime.journal import Begin, Fenced, Put, RunJournal, SessionMoved, Settle, Writer, to_json
from agent_factory.runtime.statements import BEGIN, PUT, SETTLE
from agent_factory.security.auth import Actor
from tests.runtime.conftest import Make
from tests.runtime.parts import (
    CountingDatabase,
    Tools,
    asking,
    calling,
    message,
    new_session,
    row_of,
    said_in,
    worker,
)


def entry(path: str, name: str = "m") -> Entry:
    return Entry(path, "tool", name, msgspec.Raw(b"{}"), msgspec.Raw(b'"out"'), cost_usd="0.00000001")


def begin(actor: Actor, session_id: UUID | None = None, revision: int | None = None) -> Begin:
    return Begin(
        id=uuid7(),
        organization_id=actor.organization_id,
        source="api",
        agent_id=None,
        agent_version=None,
        session_id=session_id,
        revision=revision,
        snapshot="d" * 64,
        input="{}",
        created_by=None,
        created_at=now(),
        message=message("hi"),
        definition="{}",
    )


def settle(of: Begin, epoch: int = 1, seq: int = 1) -> Settle:
    return Settle(
        id=of.id,
        organization_id=of.organization_id,
        epoch=epoch,
        session_id=of.session_id,
        seq=seq,
        status="completed",
        output="{}",
        error=None,
        input_tokens=1,
        output_tokens=2,
        cost_usd=Decimal("0.1"),
        duration_ms=3,
        at=now(),
        messages=(message("there"),),
        summary=None,
        entries=[(1, entry("tool/0/0"))],
    )


@pytest.fixture
def writer(counting: CountingDatabase) -> Writer:
    return Writer(counting.pool, "me", 2.0)


async def test_a_session_is_compared_and_swapped(writer: Writer, database: Database, actor: Actor) -> None:
    session_id = await new_session(database, actor)
    first = begin(actor, session_id, 0)
    assert await writer.begin(first) == 1
    for revision in (0, 1, 2):
        with pytest.raises(SessionMoved):
            await writer.begin(begin(actor, session_id, revision))
    await writer.settle(settle(first))
    with pytest.raises(SessionMoved):
        await writer.begin(begin(actor, session_id, 0))
    assert await writer.begin(begin(actor, session_id, 2)) == 3


async def test_a_foreign_session_is_never_begun(
    writer: Writer, database: Database, actor: Actor, other_actor: Actor
) -> None:
    session_id = await new_session(database, actor)
    with pytest.raises(SessionMoved):
        await writer.begin(begin(other_actor, session_id, 0))
    assert await said_in(database, session_id) == []


async def test_who_lost_the_run_writes_nothing(writer: Writer, database: Database, actor: Actor) -> None:
    session_id = await new_session(database, actor)
    begun = begin(actor, session_id, 0)
    await writer.begin(begun)
    await database.pool.execute("update runs set owner = 'heir', epoch = 2 where id = $1", begun.id)
    with pytest.raises(Fenced):
        await writer.put(Put(begun.id, actor.organization_id, 1, [(1, entry("tool/0/0"))]))
    with pytest.raises(Fenced):
        await writer.settle(settle(begun))
    with pytest.raises(Fenced):
        await writer.settle(settle(begun, epoch=2))
    assert await database.pool.fetch("select 1 from run_steps where run_id = $1", begun.id) == []
    assert await said_in(database, session_id) == [("user", "hi")]


async def test_an_ended_run_takes_no_more_steps(writer: Writer, actor: Actor) -> None:
    begun = begin(actor)
    await writer.begin(begun)
    await writer.settle(settle(begun))
    with pytest.raises(Fenced):
        await writer.put(Put(begun.id, actor.organization_id, 1, [(2, entry("tool/1/0"))]))
    with pytest.raises(Fenced):
        await writer.settle(settle(begun))


async def test_one_bad_row_fails_alone(writer: Writer, database: Database, actor: Actor) -> None:
    begins = [begin(actor) for _ in range(5)]
    await asyncio.gather(*(writer.begin(b) for b in begins))
    names = ["good", "good", "bad\x00", "good", "good"]
    puts = [
        writer.put(Put(b.id, actor.organization_id, 1, [(1, entry("tool/0/0", name))]))
        for b, name in zip(begins, names, strict=True)
    ]
    outcomes = await asyncio.gather(*puts, return_exceptions=True)
    assert [isinstance(o, Invalid) for o in outcomes] == [name != "good" for name in names]
    kept = await database.pool.fetch("select run_id from run_steps where run_id = any($1)", [b.id for b in begins])
    assert {row["run_id"] for row in kept} == {b.id for b, name in zip(begins, names, strict=True) if name == "good"}


@pytest.mark.parametrize("statement", [BEGIN, PUT, SETTLE])
async def test_a_statement_whose_answer_was_lost_takes_effect_once(
    *,
    make_engine: Make,
    counting: CountingDatabase,
    database: Database,
    actor: Actor,
    tools: Tools,
    session_id: UUID,
    statement: str,
) -> None:
    """The connection breaks after the commit: the repetition finds what was done, and the turn goes on."""
    tools.add("act")
    lost: list[str] = []

    async def lose(sql: str) -> None:
        if sql == statement and not lost:
            lost.append(sql)
            raise ConnectionLost("cut")

    counting.pool.after = lose
    engine = await make_engine(over=counting)
    run = await engine.start(asking(actor, worker("act"), calling("act"), session_id=session_id))
    end = await run.wait()
    assert isinstance(end, TurnCompleted)
    assert lost
    assert (await row_of(database, run.id))["status"] == "completed"
    assert [role for role, _ in await said_in(database, session_id)] == ["user", "assistant", "tool", "assistant"]
    steps = await database.pool.fetch("select ord from run_steps where run_id = $1 order by ord", run.id)
    assert [s["ord"] for s in steps] == [1, 2, 3]
    assert tools.calls == {"act": 1}


async def test_a_begin_of_a_database_that_stays_away_is_refused_soon(
    make_engine: Make, counting: CountingDatabase, actor: Actor, agent: Agent
) -> None:
    engine = await make_engine(over=counting)
    await (await engine.start(asking(actor, agent, "warm"))).wait()

    async def away(sql: str) -> None:
        raise Unavailable("away")

    counting.pool.before = away
    with pytest.raises(Unavailable):
        await engine.start(asking(actor, agent, "hello"))


async def test_entries_that_need_not_be_durable_wait_for_the_next_that_must(
    writer: Writer, counting: CountingDatabase, database: Database, actor: Actor
) -> None:
    begun = begin(actor)
    await writer.begin(begun)
    journal = RunJournal(writer, begun.id, actor.organization_id, 1)
    counting.pool.statements.clear()
    await journal.put(entry("model/0"), durable=False)
    await journal.put(entry("model/1"), durable=False)
    assert counting.pool.statements == []
    await journal.put(entry("tool/1/0"), durable=True)
    assert len(counting.pool.statements) == 1
    rows = await database.pool.fetch("select path, ord from run_steps where run_id = $1 order by ord", begun.id)
    assert [(r["path"], r["ord"]) for r in rows] == [("model/0", 1), ("model/1", 2), ("tool/1/0", 3)]
    await journal.flush()
    assert len(counting.pool.statements) == 1


async def test_no_entry_overtakes_an_earlier_one(writer: Writer, counting: CountingDatabase, actor: Actor) -> None:
    """Parallel tools: one that need not be durable is told only after the durable one before it."""
    begun = begin(actor)
    await writer.begin(begun)
    journal = RunJournal(writer, begun.id, actor.organization_id, 1)
    gate, told = asyncio.Event(), []

    async def hold(sql: str) -> None:
        if sql == PUT:
            await gate.wait()

    counting.pool.before = hold

    async def put(path: str, *, durable: bool) -> None:
        await journal.put(entry(path), durable=durable)
        told.append(path)

    tasks = [asyncio.create_task(put("tool/0/0", durable=True)), asyncio.create_task(put("tool/0/1", durable=False))]
    await asyncio.sleep(0)
    assert told == []
    gate.set()
    await asyncio.gather(*tasks)
    assert told == ["tool/0/0", "tool/0/1"]


async def test_entries_that_could_not_be_written_are_written_with_the_end(
    writer: Writer, counting: CountingDatabase, actor: Actor
) -> None:
    begun = begin(actor)
    await writer.begin(begun)
    journal = RunJournal(writer, begun.id, actor.organization_id, 1)

    async def away(sql: str) -> None:
        raise Unavailable("away")

    counting.pool.before = away
    with pytest.raises(Unavailable):
        await journal.put(entry("tool/0/0"), durable=True)
    assert isinstance(journal.broken, Unavailable)
    assert [e.path for _, e in journal.take()] == ["tool/0/0"]


def lane(execute: Callable[[Sequence[int], bool], Awaitable[Sequence[int | Problem]]]) -> Lane[int, int]:
    return Lane(execute, 0.2)


async def test_what_waits_goes_out_together_and_in_order() -> None:
    batches: list[list[int]] = []

    async def execute(ops: Sequence[int], again: bool) -> Sequence[int | Problem]:
        batches.append(list(ops))
        await asyncio.sleep(0)
        return [op * 2 for op in ops]

    line = lane(execute)
    assert await asyncio.gather(*(line.submit(i) for i in range(600))) == [i * 2 for i in range(600)]
    assert [op for batch in batches for op in batch] == list(range(600))
    assert len(batches) == 3


async def test_a_caller_who_leaves_undoes_nothing() -> None:
    done: list[int] = []
    gate = asyncio.Event()

    async def execute(ops: Sequence[int], again: bool) -> Sequence[int | Problem]:
        await gate.wait()
        done.extend(ops)
        return list(ops)

    line = lane(execute)
    leaving = asyncio.create_task(line.submit(1))
    await asyncio.sleep(0)
    leaving.cancel()
    gate.set()
    await line.idle()
    assert done == [1]


async def test_an_operation_is_repeated_while_patience_lasts_and_told_so() -> None:
    attempts: list[bool] = []

    async def execute(ops: Sequence[int], again: bool) -> Sequence[int | Problem]:
        attempts.append(again)
        if len(attempts) < 3:
            raise Unavailable("away")
        return list(ops)

    assert await lane(execute).submit(7) == 7
    assert attempts == [False, True, True]


async def test_patience_ends() -> None:
    async def execute(ops: Sequence[int], again: bool) -> Sequence[int | Problem]:
        raise Unavailable("away")

    with pytest.raises(Unavailable):
        await lane(execute).submit(7)


@given(st.text(st.characters(codec="utf-8")))
def test_text_is_stored_as_json_without_nul(text: str) -> None:
    told = msgspec.json.decode(to_json({"text": text}))
    assert told == {"text": text.replace("\x00", "�")}
