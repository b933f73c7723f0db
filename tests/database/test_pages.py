"""Pages of rows, by their time-ordered ids."""

from uuid import UUID

import pytest

from agent_factory.database.base import owned_by
from agent_factory.database.models import TeamRow
from agent_factory.database.pages import newest
from agent_factory.database.session import Database
from agent_factory.kit.ids import uuid7
from agent_factory.kit.pages import read_cursor
from agent_factory.security.auth import Actor


async def _teams(database: Database, actor: Actor, count: int) -> list[UUID]:
    rows = [TeamRow(id=uuid7(), organization_id=actor.organization_id, name=f"team-{n}") for n in range(count)]
    async with database.write(actor.organization_id) as session:
        session.add_all(rows)
    return [row.id for row in rows]


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 6, 100])
async def test_following_the_pages_meets_every_row_once_and_the_newest_first(
    database: Database, actor: Actor, limit: int
) -> None:
    made = await _teams(database, actor, 5)
    met: list[UUID] = []
    after: UUID | None = None
    async with database.read(actor.organization_id) as session:
        while True:
            found = await newest(session, owned_by(actor, TeamRow), TeamRow, limit, after)
            assert len(found.data) <= limit
            met += [row.id for row in found.data]
            after = read_cursor(found.next_cursor)
            assert found.has_more == (after is not None)
            if after is None:
                break
    assert met == made[::-1]


async def test_a_page_after_a_row_of_others_holds_ones_own(
    database: Database, actor: Actor, other_actor: Actor
) -> None:
    (mine,) = await _teams(database, actor, 1)
    (theirs,) = await _teams(database, other_actor, 1)
    async with database.read(actor.organization_id) as session:
        found = await newest(session, owned_by(actor, TeamRow), TeamRow, 10, theirs)
    assert [row.id for row in found.data] == [mine]


async def test_no_rows_are_a_page_without_a_next_one(database: Database, actor: Actor) -> None:
    async with database.read(actor.organization_id) as session:
        found = await newest(session, owned_by(actor, TeamRow), TeamRow, 10, None)
    assert (found.data, found.next_cursor, found.has_more) == ([], None, False)
