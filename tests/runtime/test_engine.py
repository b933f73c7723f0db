"""Turns through the engine, over real PostgreSQL and the model server."""

import asyncio
from uuid import UUID

import pytest

from agent_factory.core.agent import Agent, AgentStatus, ToolUse
from agent_factory.core.event import ApprovalNeeded, ModelFinished, ToolFinished, TurnCompleted, TurnFailed
from agent_factory.core.message import ToolCall, ToolResult, user
from agent_factory.database.models import AgentRow
from agent_factory.database.session import Database
from agent_factory.kit.errors import Unavailable
from agent_factory.kit.ids import uuid7
from agent_factory.runtime.engine import Engine
from agent_factory.runtime.errors import RunEnded, RunNotWaiting, SessionBusy
from agent_factory.runtime.history import SessionNotFound
from agent_factory.runtime.journal import VersionMoved
from agent_factory.runtime.rows import RunNotFound
from agent_factory.runtime.settings import EngineSettings
from agent_factory.security.auth import Actor
from tests.doubles.fixtures import ModelServer
from tests.runtime.conftest import Make
from tests.runtime.parts import (
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


async def test_a_turn_answers_and_is_kept(
    engine: Engine, database: Database, actor: Actor, agent: Agent, session_id: UUID
) -> None:
    run = await engine.start(asking(actor, agent, "hello", session_id=session_id))
    end = await run.wait()
    assert isinstance(end, TurnCompleted)
    assert end.text == "You said: hello"
    row = await row_of(database, run.id)
    assert (row["status"], row["owner"], row["epoch"]) == ("completed", None, 1)
    assert await said_in(database, session_id) == [("user", "hello"), ("assistant", "You said: hello")]


async def test_a_plain_turn_is_two_statements(
    make_engine: Make, counting: CountingDatabase, actor: Actor, agent: Agent, session_id: UUID
) -> None:
    engine = await make_engine(over=counting)
    await (await engine.start(asking(actor, agent, "warm up", session_id=session_id))).wait()
    counting.pool.statements.clear()
    end = await (await engine.start(asking(actor, agent, "again", session_id=session_id))).wait()
    assert isinstance(end, TurnCompleted)
    assert len(counting.pool.statements) == 2


async def test_the_model_sees_what_was_said_before(
    make_engine: Make, actor: Actor, agent: Agent, session_id: UUID, model_server: ModelServer
) -> None:
    """S59, S61: the conversation is the same in a process that has never seen it."""
    first, second = await make_engine(), await make_engine()
    await (await first.start(asking(actor, agent, "one", session_id=session_id))).wait()
    await (await second.start(asking(actor, agent, "two", session_id=session_id))).wait()
    key = f"history-{session_id}"
    run = await first.start(asking(actor, agent, directive(say="three", key=key), session_id=session_id))
    assert isinstance(await run.wait(), TurnCompleted)
    (request,) = await model_server.requests(key)
    texts = [m["content"] for m in request["body"]["messages"]]
    assert texts[:4] == ["one", "You said: one", "two", "You said: two"]


async def test_what_begun_is_committed_before_start_returns(
    engine: Engine, database: Database, actor: Actor, agent: Agent, session_id: UUID
) -> None:
    run = await engine.start(asking(actor, agent, directive(hang=True), session_id=session_id))
    row = await row_of(database, run.id)
    assert (row["status"], row["owner"]) == ("running", engine.owner)
    assert [role for role, _ in await said_in(database, session_id)] == ["user"]
    await engine.cancel(actor.organization_id, run.id)


async def test_a_second_turn_of_a_session_is_refused_while_one_is_under_way(
    make_engine: Make, database: Database, actor: Actor, agent: Agent, session_id: UUID
) -> None:
    here, there = await make_engine(), await make_engine()
    run = await here.start(asking(actor, agent, directive(hang=True), session_id=session_id))
    for engine in (here, there):
        with pytest.raises(SessionBusy):
            await engine.start(asking(actor, agent, "me too", session_id=session_id))
    await here.cancel(actor.organization_id, run.id)
    end = await (await there.start(asking(actor, agent, "now", session_id=session_id))).wait()
    assert isinstance(end, TurnCompleted)
    assert [text for _, text in await said_in(database, session_id)][-2:] == ["now", "You said: now"]


async def test_of_many_turns_at_once_in_one_session_exactly_one_begins(
    engine: Engine, database: Database, actor: Actor, agent: Agent, session_id: UUID
) -> None:
    starts = [engine.start(asking(actor, agent, directive(delay=0.3), session_id=session_id)) for _ in range(20)]
    done = await asyncio.gather(*starts, return_exceptions=True)
    begun = [run for run in done if not isinstance(run, BaseException)]
    assert len(begun) == 1
    assert all(isinstance(e, SessionBusy) for e in done if isinstance(e, BaseException))
    await begun[0].wait()
    assert len(await said_in(database, session_id)) == 2


async def test_a_foreign_session_is_not_found(
    engine: Engine, actor: Actor, other_actor: Actor, agent: Agent, session_id: UUID
) -> None:
    await (await engine.start(asking(actor, agent, "mine", session_id=session_id))).wait()
    with pytest.raises(SessionNotFound):
        await engine.start(asking(other_actor, agent, "yours", session_id=session_id))


async def test_a_foreign_run_is_neither_cancelled_nor_decided(
    engine: Engine, actor: Actor, other_actor: Actor, agent: Agent
) -> None:
    run = await engine.start(asking(actor, agent, directive(hang=True)))
    with pytest.raises(RunNotFound):
        await engine.cancel(other_actor.organization_id, run.id)
    with pytest.raises(RunNotFound):
        await engine.decide(other_actor.organization_id, run.id, approve=True)
    await engine.cancel(actor.organization_id, run.id)


async def test_a_turn_without_a_session_keeps_its_messages_with_the_run(
    engine: Engine, database: Database, actor: Actor, agent: Agent
) -> None:
    run = await engine.start(asking(actor, agent, "now", history=(user("before"),)))
    end = await run.wait()
    assert isinstance(end, TurnCompleted)
    again = await all_events(run)
    assert again[-1][1] == end


async def test_every_step_of_a_tool_turn_is_recorded_in_order(
    engine: Engine, database: Database, actor: Actor, tools: Tools, session_id: UUID
) -> None:
    """S98: each step has its output, duration, error flag."""
    tools.add("look")
    tools.add("act")
    agent = worker("look", "act")
    run = await engine.start(asking(actor, agent, calling("look", "act"), session_id=session_id))
    end = await run.wait()
    assert isinstance(end, TurnCompleted)
    steps = await database.pool.fetch("select path, ord, kind, is_error from run_steps where run_id = $1", run.id)
    told = sorted((s["ord"], s["path"].split("/")[0], s["is_error"]) for s in steps)
    assert told == [(1, "model", False), (2, "tool", False), (3, "tool", False), (4, "model", False)]
    assert [role for role, _ in await said_in(database, session_id)] == ["user", "assistant", "tool", "assistant"]
    assert tools.calls == {"look": 1, "act": 1}


async def test_a_model_that_is_down_fails_the_run_with_a_typed_error(
    engine: Engine, database: Database, actor: Actor, agent: Agent, session_id: UUID
) -> None:
    """S62: the error is stored with the run, and the session goes on."""
    quick = Agent.model_validate({**agent.to_dict(), "retry": {"attempts": 1}})
    run = await engine.start(asking(actor, quick, directive(status=503), session_id=session_id))
    end = await run.wait()
    assert isinstance(end, TurnFailed)
    row = await row_of(database, run.id)
    assert row["status"] == "failed"
    assert '"model_unavailable"' in row["error"]
    after = await (await engine.start(asking(actor, agent, "again", session_id=session_id))).wait()
    assert isinstance(after, TurnCompleted)


@pytest.mark.parametrize("elsewhere", [False, True])
async def test_a_cancelled_turn_leaves_a_valid_history(
    *, make_engine: Make, database: Database, actor: Actor, tools: Tools, session_id: UUID, elsewhere: bool
) -> None:
    """The call that was under way has a result that says so, wherever the cancelling process is."""
    tools.add("slow", held=True)
    agent = worker("slow")
    here, there = await make_engine(), await make_engine()
    reaping = [asyncio.create_task(engine.reap_forever()) for engine in (here, there)]
    try:
        run = await here.start(asking(actor, agent, calling("slow"), session_id=session_id))
        await tools.entered.wait()
        await (there if elsewhere else here).cancel(actor.organization_id, run.id)
        end = await run.wait()
    finally:
        for task in reaping:
            task.cancel()
        await asyncio.gather(*reaping, return_exceptions=True)
    assert isinstance(end, TurnFailed)
    assert end.problem["code"] == "run_cancelled"
    assert (await row_of(database, run.id))["status"] == "cancelled"
    conversation = await there._conversations.read(actor.organization_id, session_id, fresh=True)
    calls = [p.id for m in conversation.messages for p in m.parts if isinstance(p, ToolCall)]
    results = [p.call_id for m in conversation.messages for p in m.parts if isinstance(p, ToolResult)]
    assert calls == results
    assert calls
    again = await (await there.start(asking(actor, agent, "go on", session_id=session_id))).wait()
    assert isinstance(again, TurnCompleted)


async def test_an_ended_run_cannot_be_cancelled_but_a_cancelled_one_again(
    engine: Engine, actor: Actor, agent: Agent
) -> None:
    done = await engine.start(asking(actor, agent, "quick"))
    await done.wait()
    with pytest.raises(RunEnded):
        await engine.cancel(actor.organization_id, done.id)
    hanging = await engine.start(asking(actor, agent, directive(hang=True)))
    await engine.cancel(actor.organization_id, hanging.id)
    await engine.cancel(actor.organization_id, hanging.id)


@pytest.mark.parametrize("approve", [True, False])
async def test_a_run_waits_for_a_person_and_goes_on_in_any_process(
    *, make_engine: Make, database: Database, actor: Actor, tools: Tools, session_id: UUID, approve: bool
) -> None:
    tools.add("pay")
    agent = Agent(name="cashier", model="double:echo", tools=(ToolUse(use="pay", permission="ask"),))
    here, there = await make_engine(), await make_engine()
    run = await here.start(asking(actor, agent, calling("pay"), session_id=session_id))
    question = await run.wait()
    assert isinstance(question, ApprovalNeeded)
    assert question.name == "pay"
    assert here.live(run.id) is None
    assert (await row_of(database, run.id))["status"] == "waiting"
    with pytest.raises(SessionBusy):
        await there.start(asking(actor, agent, "hurry", session_id=session_id))
    end = await (await there.decide(actor.organization_id, run.id, approve=approve)).wait()
    assert isinstance(end, TurnCompleted)
    assert tools.calls["pay"] == int(approve)
    kinds = await database.pool.fetch("select kind from run_steps where run_id = $1 order by ord", run.id)
    assert [k["kind"] for k in kinds] == ["model", "approval", "tool", "model"]
    with pytest.raises(RunNotWaiting):
        await here.decide(actor.organization_id, run.id, approve=approve)


async def test_of_two_decisions_at_once_one_counts(make_engine: Make, actor: Actor, tools: Tools) -> None:
    tools.add("pay")
    agent = Agent(name="cashier", model="double:echo", tools=(ToolUse(use="pay", permission="ask"),))
    here, there = await make_engine(), await make_engine()
    run = await here.start(asking(actor, agent, calling("pay")))
    await run.wait()
    both = await asyncio.gather(
        here.decide(actor.organization_id, run.id, approve=True),
        there.decide(actor.organization_id, run.id, approve=False),
        return_exceptions=True,
    )
    assert [isinstance(b, RunNotWaiting) for b in both].count(True) == 1
    for live in both:
        if not isinstance(live, BaseException):
            assert isinstance(await live.wait(), TurnCompleted)


async def test_a_waiting_run_can_be_cancelled(
    engine: Engine, database: Database, actor: Actor, tools: Tools, session_id: UUID
) -> None:
    tools.add("pay")
    agent = Agent(name="cashier", model="double:echo", tools=(ToolUse(use="pay", permission="ask"),))
    run = await engine.start(asking(actor, agent, calling("pay"), session_id=session_id))
    await run.wait()
    await engine.cancel(actor.organization_id, run.id)
    assert (await row_of(database, run.id))["status"] == "cancelled"
    after = await (await engine.start(asking(actor, agent, "next", session_id=session_id))).wait()
    assert isinstance(after, TurnCompleted)
    assert tools.calls["pay"] == 0


async def test_what_a_guardrail_takes_out_is_not_kept(
    engine: Engine, database: Database, actor: Actor, session_id: UUID
) -> None:
    """S58: neither the session nor the run remembers what was redacted."""
    guard = {"use": "pii", "on": ["input"], "action": "redact"}
    agent = Agent.model_validate({"name": "careful", "model": "double:echo", "guardrails": [guard]})
    run = await engine.start(asking(actor, agent, "I am ann@example.com", session_id=session_id))
    assert isinstance(await run.wait(), TurnCompleted)
    said = await said_in(database, session_id)
    assert "ann@example.com" not in str(said)
    assert "ann@example.com" not in (await row_of(database, run.id))["input"]


async def test_a_message_that_a_guardrail_blocks_is_not_kept(
    engine: Engine, database: Database, actor: Actor, session_id: UUID
) -> None:
    guard = {"use": "pii", "on": ["input"], "action": "block"}
    agent = Agent.model_validate({"name": "strict", "model": "double:echo", "guardrails": [guard]})
    run = await engine.start(asking(actor, agent, "I am ann@example.com", session_id=session_id))
    end = await run.wait()
    assert isinstance(end, TurnFailed)
    assert end.problem["code"] == "guardrail_blocked"
    assert "ann@example.com" not in str(await said_in(database, session_id))


async def test_a_turn_of_another_version_than_the_deployed_one_is_refused(
    engine: Engine, database: Database, actor: Actor, agent: Agent
) -> None:
    agent_id = uuid7()
    async with database.write(actor.organization_id) as session:
        session.add(
            AgentRow(
                id=agent_id,
                organization_id=actor.organization_id,
                name="helper",
                status=AgentStatus.DEPLOYED,
                latest_version=2,
                deployed_version=2,
            )
        )
    start = {"agent_id": agent_id, "deployed": True}
    with pytest.raises(VersionMoved):
        await engine.start(asking(actor, agent, "hi", agent_version=1, **start))
    run = await engine.start(asking(actor, agent, "hi", agent_version=2, **start))
    assert isinstance(await run.wait(), TurnCompleted)


async def test_nul_characters_and_strange_text_survive(
    engine: Engine, database: Database, actor: Actor, agent: Agent, session_id: UUID
) -> None:
    text = 'a\x00b \\u0000 "quoted" \U0001f600'
    run = await engine.start(asking(actor, agent, text, session_id=session_id))
    assert isinstance(await run.wait(), TurnCompleted)
    said = await said_in(database, session_id)
    assert said[0][1] == text.replace("\x00", "�")


async def test_a_deleted_session_gains_nothing_from_a_turn_that_ends_later(
    engine: Engine, database: Database, actor: Actor, agent: Agent, session_id: UUID
) -> None:
    run = await engine.start(asking(actor, agent, directive(delay=0.3, say="late"), session_id=session_id))
    await database.pool.execute("delete from sessions where id = $1", session_id)
    await database.pool.execute("delete from messages where session_id = $1", session_id)
    assert isinstance(await run.wait(), TurnCompleted)
    assert await said_in(database, session_id) == []
    with pytest.raises(SessionNotFound):
        await engine.start(asking(actor, agent, "anyone?", session_id=session_id))


async def test_events_come_in_order_with_facts_and_deltas(engine: Engine, actor: Actor, tools: Tools) -> None:
    tools.add("look")
    agent = worker("look")
    run = await engine.start(asking(actor, agent, calling("look", say="one two three")))
    seen = await all_events(run)
    ids = [at for at, _ in seen]
    assert ids == sorted(set(ids))
    facts = [type(event) for at, event in seen if at.minor == 0]
    assert facts == [ModelFinished, ToolFinished, ModelFinished, TurnCompleted]


async def test_a_stopping_engine_starts_nothing(make_engine: Make, actor: Actor, agent: Agent) -> None:
    engine = await make_engine()
    await engine.close(0)
    with pytest.raises(Unavailable):
        await engine.start(asking(actor, agent, "hello"))


async def test_turns_of_many_sessions_share_their_statements(
    make_engine: Make, counting: CountingDatabase, database: Database, actor: Actor, agent: Agent
) -> None:
    """64 turns at once: each is whole, and the statements are far fewer than two a turn."""
    engine = await make_engine(EngineSettings(), counting)
    sessions = [await new_session(database, actor) for _ in range(64)]
    await (await engine.start(asking(actor, agent, "warm up"))).wait()
    counting.pool.statements.clear()
    runs = await asyncio.gather(
        *(engine.start(asking(actor, agent, f"number {i}", session_id=s)) for i, s in enumerate(sessions))
    )
    ends = await asyncio.gather(*(run.wait() for run in runs))
    assert all(isinstance(end, TurnCompleted) for end in ends)
    for i, session in enumerate(sessions):
        assert await said_in(database, session) == [("user", f"number {i}"), ("assistant", f"You said: number {i}")]
    reads = 64  # each session is read once
    assert len(counting.pool.statements) - reads < 64


async def test_agents_below_are_pinned_with_the_run(engine: Engine, database: Database, actor: Actor) -> None:
    below = Agent(name="below", model="double:echo")
    above = Agent(name="above", model="double:echo")
    run = await engine.start(asking(actor, above, "hi", agents={"below": below}))
    await run.wait()
    row = await row_of(database, run.id)
    kept = await database.pool.fetch(
        "select definition::text as d from run_snapshots where digest = $1 and organization_id = $2",
        row["snapshot"],
        actor.organization_id,
    )
    assert '"below"' in kept[0]["d"]
