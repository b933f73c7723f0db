"""News for the rooms above, in the transaction in which it happened."""

from uuid import UUID

import pytest
from sqlalchemy import text

from agent_factory.database.session import Database, Session
from agent_factory.kit.errors import Conflict
from agent_factory.runtime.news import News
from agent_factory.security.auth import Actor

_NAME = text("select name from organizations")


class Renamed(str):
    """A piece of news."""

    __slots__ = ()


async def test_news_is_told_to_those_who_asked_for_its_kind_in_their_order(database: Database, actor: Actor) -> None:
    news = News()
    heard: list[tuple[str, str, UUID]] = []

    def hear_as(name: str, kind: type) -> None:
        async def hear(_session: Session, by: Actor, what: str) -> None:
            heard.append((name, what, by.user_id))

        news.on(kind, hear)

    hear_as("first", Renamed)
    hear_as("other", str)
    hear_as("second", Renamed)
    async with database.write(actor.organization_id) as session:
        await news.tell(session, actor, Renamed("acme"))
        await news.tell(session, actor, 3)
    assert heard == [("first", "acme", actor.user_id), ("second", "acme", actor.user_id)]


async def test_who_cannot_follow_the_news_undoes_what_has_happened(database: Database, actor: Actor) -> None:
    news = News()

    async def refuse(_session: Session, _by: Actor, _what: Renamed) -> None:
        raise Conflict("Not this one.")

    news.on(Renamed, refuse)
    async with database.read(actor.organization_id) as session:
        before = await session.scalar(_NAME)

    async def rename() -> None:
        async with database.write(actor.organization_id) as session:
            await session.execute(text("update organizations set name = 'other'"))
            await news.tell(session, actor, Renamed("other"))

    with pytest.raises(Conflict):
        await rename()
    async with database.read(actor.organization_id) as session:
        assert await session.scalar(_NAME) == before
