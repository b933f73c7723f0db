"""Turns through the engine, over real PostgreSQL and the model server."""

from uuid import UUID

from agent_factory.core.agent import Agent
from agent_factory.core.event import TurnCompleted
from agent_factory.database.session import Database
from agent_factory.runtime.engine import Engine
from agent_factory.security.auth import Actor
from tests.runtime.parts import all_events, asking


async def test_a_turn_answers_and_is_kept(
    engine: Engine, database: Database, actor: Actor, agent: Agent, session_id: UUID
) -> None:
    run = await engine.start(asking(actor, agent, "hello", session_id=session_id))
    end = await run.wait()
    assert isinstance(end, TurnCompleted)
    assert end.text == "You said: hello"
    row = (await database.pool.fetch("select * from runs where id = $1", run.id))[0]
    assert (row["status"], row["owner"], row["epoch"]) == ("completed", None, 1)
    said = await database.pool.fetch("select role, seq from messages where session_id = $1 order by seq", session_id)
    assert [(m["role"], m["seq"]) for m in said] == [("user", 1), ("assistant", 2)]
