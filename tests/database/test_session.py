"""Sessions see one organisation, commit at a clean exit, and say plainly what went wrong."""

import pytest
from sqlalchemy import select

from agent_factory.database.base import owned_by
from agent_factory.database.models import AgentRow
from agent_factory.database.session import Database
from agent_factory.kit.errors import Conflict
from agent_factory.security.auth import Actor


async def test_what_is_written_in_one_transaction_is_read_in_the_next(database: Database, actor: Actor) -> None:
    async with database.write(actor.organization_id) as session:
        session.add(AgentRow(organization_id=actor.organization_id, name="support"))
    async with database.read(actor.organization_id) as session:
        row = (await session.scalars(owned_by(actor, AgentRow))).one()
    assert row.name == "support"
    assert row.status == "draft"
    assert row.created_at.tzinfo is not None


async def test_an_error_inside_rolls_the_transaction_back(database: Database, actor: Actor) -> None:
    async def fail() -> None:
        async with database.write(actor.organization_id) as session:
            session.add(AgentRow(organization_id=actor.organization_id, name="support"))
            await session.flush()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    async with database.read(actor.organization_id) as session:
        assert (await session.scalars(select(AgentRow))).all() == []


async def test_a_taken_name_is_a_conflict_that_says_what_to_do(database: Database, actor: Actor) -> None:
    async with database.write(actor.organization_id) as session:
        session.add(AgentRow(organization_id=actor.organization_id, name="support"))
    with pytest.raises(Conflict, match="choose another name"):
        async with database.write(actor.organization_id) as session:
            session.add(AgentRow(organization_id=actor.organization_id, name="support"))
