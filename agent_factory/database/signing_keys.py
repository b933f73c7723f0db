"""The statements behind the keys that sign tokens."""

from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec

from agent_factory.database.pool import Pool

_EVERY = "select number, kid, public, private, created_at, signs_from from signing_keys order by number"
_ADD = """
insert into signing_keys (number, kid, public, private, created_at, signs_from)
values ($1, $2, $3, $4, $5, $6) on conflict (number) do nothing
"""
_FORGET = "delete from signing_keys where number < $1"
_TIDY = """
with gone as (delete from signing_keys where number = any($1::int[]))
update signing_keys set private = null where number = any($2::int[]) and number <> all($1::int[])
"""


class SigningKey(msgspec.Struct, frozen=True):
    """A key: its public part as a JWK, and its private part sealed, while it is needed."""

    number: int
    kid: str
    public: Mapping[str, str]
    private: bytes | None
    created_at: datetime
    signs_from: datetime


async def every(pool: Pool) -> list[SigningKey]:
    """List the keys, oldest first."""
    return [
        SigningKey(
            number=row["number"],
            kid=row["kid"],
            public=msgspec.json.decode(row["public"]),
            private=row["private"],
            created_at=row["created_at"],
            signs_from=row["signs_from"],
        )
        for row in await pool.fetch(_EVERY, again=True)
    ]


async def add(pool: Pool, key: SigningKey) -> bool:
    """Keep a key; False where another process has made the one with its number."""
    public = msgspec.json.encode(key.public).decode()
    made = await pool.execute(_ADD, key.number, key.kid, public, key.private, key.created_at, key.signs_from)
    return made.endswith(" 1")


async def forget_before(pool: Pool, number: int) -> None:
    """Delete the keys before one."""
    await pool.execute(_FORGET, number, again=True)


async def tidy(pool: Pool, dead: Sequence[int], silent: Sequence[int]) -> None:
    """Delete the dead keys, and the private parts of those that sign no more."""
    await pool.execute(_TIDY, list(dead), list(silent), again=True)
