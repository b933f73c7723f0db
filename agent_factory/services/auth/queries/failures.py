"""The statements that count failures; each counts exactly, however many processes ask at once."""

from collections.abc import Collection
from datetime import timedelta

from sqlalchemy import text

from agent_factory.database.session import ReadSession, Session

_TAKE = text("""
    insert into failed_logins as f (key, failures, since) values (:key, 1, now())
    on conflict (key) do update set
        failures = case when f.since <= now() - cast(:window as interval) then 1 else f.failures + 1 end,
        since = case when f.since <= now() - cast(:window as interval) then now() else f.since end
    where f.since <= now() - cast(:window as interval) or f.failures < :most
    returning 1
""")
_UNTIL = text(
    "select extract(epoch from since + cast(:window as interval) - now()) from failed_logins where key = :key"
)
_GIVE_BACK = text("update failed_logins set failures = failures - 1 where key = :key and failures > 0")
_FORGET = text("delete from failed_logins where key = :key")
_SWEEP = text("""
    delete from failed_logins where key in (
        select key from failed_logins where since <= now() - cast(:window as interval)
        order by since limit 10 for update skip locked)
""")


async def take(session: Session, key: bytes, most: int, window: timedelta) -> bool:
    """Count a failure in advance; false, and nothing is counted, where `most` were counted within the window."""
    return (await session.execute(_TAKE, {"key": key, "most": most, "window": window})).one_or_none() is not None


async def seconds_left(session: ReadSession, key: bytes, window: timedelta) -> float:
    """Tell how long the window of a key still lasts."""
    left = await session.scalar(_UNTIL, {"key": key, "window": window})
    return max(0.0, float(left or 0))


async def give_back(session: Session, keys: Collection[bytes]) -> None:
    """Take back what was counted and was no failure."""
    for key in keys:
        await session.execute(_GIVE_BACK, {"key": key})


async def forget(session: Session, key: bytes) -> None:
    """Begin to count anew."""
    await session.execute(_FORGET, {"key": key})


async def sweep(session: Session, window: timedelta) -> None:
    """Drop a few counts whose window is over: more than a single login adds."""
    await session.execute(_SWEEP, {"window": window})
