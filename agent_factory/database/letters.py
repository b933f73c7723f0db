"""The statements behind the mail outbox: each letter is with one process at a time, until it is sent."""

from datetime import datetime, timedelta
from uuid import UUID

import msgspec
from sqlalchemy import text

from agent_factory.database.base import Sealed
from agent_factory.database.pool import Pool
from agent_factory.database.session import Session

_POST = text("insert into mail_outbox (id, letter, due_at, created_at) values (:id, :letter, now(), now())")
_TAKE = """
update mail_outbox set attempts = attempts + 1, due_at = now() + $1
where id = (select id from mail_outbox where due_at <= now() order by due_at limit 1 for update skip locked)
returning id, letter, attempts, created_at
"""
_LATER = "update mail_outbox set due_at = now() + $2 where id = $1"
_DONE = "delete from mail_outbox where id = $1"


class Waiting(msgspec.Struct, frozen=True):
    """A letter that was taken to be sent, for the `attempts`-th time."""

    id: UUID
    letter: bytes
    attempts: int
    created_at: datetime


async def post(session: Session, letter_id: UUID, letter: Sealed) -> None:
    """Put a letter in; it is there once the transaction commits."""
    await session.execute(_POST, {"id": letter_id, "letter": letter})


async def take(pool: Pool, lease: timedelta) -> Waiting | None:
    """Take the letter that is due longest; nobody else gets it for the time of the lease."""
    row = await pool.fetchrow(_TAKE, lease)
    return None if row is None else Waiting(row["id"], row["letter"], row["attempts"], row["created_at"])


async def later(pool: Pool, letter_id: UUID, delay: timedelta) -> None:
    """Let a letter be tried again after a while."""
    await pool.execute(_LATER, letter_id, delay, again=True)


async def done(pool: Pool, letter_id: UUID) -> None:
    """Drop a letter, with all that it held."""
    await pool.execute(_DONE, letter_id, again=True)
