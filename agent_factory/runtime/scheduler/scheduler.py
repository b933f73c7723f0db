"""The loop that fires schedules: any number of processes run it, and each tick fires once (S72, S90)."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import structlog

from agent_factory.database.driver import Connection, Row
from agent_factory.database.session import Database
from agent_factory.kit import clock
from agent_factory.kit.errors import Invalid, Problem, Unavailable
from agent_factory.runtime.scheduler.misfires import Misfire, spread, to_fire
from agent_factory.runtime.scheduler.naming import named
from agent_factory.runtime.scheduler.settings import SchedulerSettings
from agent_factory.runtime.scheduler.statements import CLAIM, MOVE, NEXT, RECORD
from agent_factory.runtime.scheduler.zoned import read_schedule

log = structlog.stdlib.get_logger(__name__)

_TICKS_AT_ONCE = 10
"""Ticks of one trigger that are fired before it is moved on: who is killed leaves no more to be looked at again."""


class Tick(msgspec.Struct, frozen=True):
    """A moment at which a schedule fires; `run_id` is the same whoever fires it."""

    trigger_id: UUID
    organization_id: UUID
    workflow_id: UUID
    user_id: UUID | None
    key_id: UUID | None
    at: datetime
    run_id: UUID
    config: dict[str, Any]


Fire = Callable[[Tick], Awaitable[None]]
"""Starts a tick's run. It may be called again for a tick whose process died: the id of the run has to be the tick's."""


class _Fired(msgspec.Struct):
    """What came of one trigger that was due; it stays due where `moved` is false."""

    trigger: Row
    ticks: list[tuple[datetime, UUID | None]]
    next_at: datetime | None = None
    moved: bool = True


class Scheduler:
    """Fires due schedules; `run_forever` has to run.

    A trigger is locked while its ticks are fired, and moved on in the same
    transaction. Who dies in between leaves it due to others at once: they
    fire the same ticks, by the same ids, which start nothing a second time.
    """

    def __init__(
        self,
        database: Database,
        fire: Fire,
        settings: SchedulerSettings | None = None,
        now: Callable[[], datetime] = clock.now,
    ) -> None:
        """Remember what fires; nothing is connected yet."""
        self._pool = database.pool
        self._fire = fire
        self._settings = settings or SchedulerSettings()
        self._now = now

    async def run_forever(self) -> None:
        """Fire what is due, until cancelled."""
        while True:
            try:
                more = await self.look()
                pause = 0.0 if more else await self._pause()
            except Unavailable:
                pause = self._settings.poll
            except Exception:
                log.exception("the scheduler stumbled; it tries again")
                pause = self._settings.poll
            await asyncio.sleep(pause)

    async def look(self) -> bool:
        """Fire what is due now, and tell whether more may be."""
        moment = self._now()
        async with self._pool.transaction() as connection:
            rows = await connection.fetch(CLAIM, moment, self._settings.at_once)
            if not rows:
                return False
            fired = await asyncio.gather(*(self._serve(row, moment) for row in rows))
            await self._record(connection, fired, moment)
        moved = [each for each in fired if each.moved]
        left = any(each.next_at is not None and each.next_at <= moment for each in moved)
        return left or (len(rows) == self._settings.at_once and bool(moved))

    async def _serve(self, row: Row, moment: datetime) -> _Fired:
        """Fire what is due of one trigger; nothing is raised."""
        fired = _Fired(row, [])
        try:
            config = msgspec.json.decode(row["config"], type=dict[str, Any])
            schedule = read_schedule(config["cron"], row["timezone"])
            later = spread(row["id"], config.get("jitter", 0))
            grace = timedelta(seconds=self._settings.grace)
            ticks = to_fire(schedule, row["next_at"] - later, moment - later, Misfire(row["misfire"]), grace)
            following = schedule.after(moment - later)
        except (Invalid, LookupError, ValueError):
            log.exception("a schedule cannot be read; it fires no more until it is changed", trigger_id=str(row["id"]))
            return fired
        if len(ticks) > _TICKS_AT_ONCE:
            following = ticks[_TICKS_AT_ONCE]
        fired.next_at = following and following + later
        for at in ticks[:_TICKS_AT_ONCE]:
            tick = Tick(
                trigger_id=row["id"],
                organization_id=row["organization_id"],
                workflow_id=row["workflow_id"],
                user_id=row["created_by"],
                key_id=row["key_id"],
                at=at,
                run_id=named(at, row["id"], at.isoformat()),
                config=config,
            )
            try:
                fired.ticks.append((at, await self._started(tick)))
            except Unavailable:
                fired.moved = False
                break
        return fired

    async def _started(self, tick: Tick) -> UUID | None:
        """Start a tick's run; None for one that cannot be started, which is not tried again."""
        try:
            await self._fire(tick)
        except Unavailable:
            raise
        except Problem as problem:
            log.warning("a tick started no run", trigger_id=str(tick.trigger_id), reason=problem.detail)
        except Exception:
            log.exception("a tick started no run", trigger_id=str(tick.trigger_id))
        else:
            return tick.run_id
        return None

    @staticmethod
    async def _record(connection: Connection, fired: list[_Fired], moment: datetime) -> None:
        moved = [each for each in fired if each.moved]
        ticks = [(each.trigger, at, run_id) for each in moved for at, run_id in each.ticks]
        await connection.execute(
            RECORD,
            [trigger["organization_id"] for trigger, _, _ in ticks],
            [trigger["id"] for trigger, _, _ in ticks],
            [at for _, at, _ in ticks],
            [run_id for _, _, run_id in ticks],
            moment,
        )
        await connection.execute(
            MOVE,
            [each.trigger["id"] for each in moved],
            [each.next_at for each in moved],
            [each.ticks[-1][0] if each.ticks else None for each in moved],
        )

    async def _pause(self) -> float:
        following: datetime | None = await self._pool.fetchval(NEXT, again=True)
        if following is None:
            return self._settings.poll
        return min(self._settings.poll, max(0.01, (following - self._now()).total_seconds()))
