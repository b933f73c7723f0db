"""Holds and counts what is used: the one place that does, over any number of processes."""

import asyncio
import time
from collections.abc import AsyncGenerator, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
import structlog

from agent_factory.database.batches import Lane
from agent_factory.database.pool import Pool
from agent_factory.database.seats import hold_seats
from agent_factory.database.session import Session
from agent_factory.enterprise.multitenancy.errors import BudgetExceeded, LimitReached, QuotaExceeded
from agent_factory.enterprise.multitenancy.known import KnownLimits
from agent_factory.enterprise.multitenancy.limits import NOBODY, Amounts, Limit, Metric, Period, Spender, amount
from agent_factory.enterprise.multitenancy.settings import QuotaSettings
from agent_factory.enterprise.multitenancy.statements import CLEAN, HELD, ROLL, SETTLE, SWEEP, TAKE, TELL
from agent_factory.kit.clock import now
from agent_factory.kit.errors import Problem, Unavailable
from agent_factory.kit.ids import uuid7

log = structlog.stdlib.get_logger(__name__)

_PATIENCE_OF_TAKES = 1.0
"""Seconds that a call waits for a database that is away; somebody waits for it."""

_TRIES = 3
"""How often a reservation is ended that may never have come to be."""

_ROLL_SECONDS = 60.0
_CLEAN_SECONDS = 3600.0
_LAG_SECONDS = 300.0
"""Steps that are older than this are committed, for no statement takes as long."""


_ONE_RUN: Amounts = {Metric.RUNS: 1, Metric.TOKENS: 1, Metric.USD: Decimal("1e-8")}
"""What a run takes to start: itself, and a look whether anything is left of what it is going to use."""

_STARTED: Amounts = {Metric.RUNS: 1}


class Call(msgspec.Struct, frozen=True):
    """What is to be known of a call of a model beside its amounts, should nobody learn what it used."""

    model: str
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: Decimal | None = None


class Reservation(msgspec.Struct, frozen=True):
    """What a call holds until it is settled."""

    id: UUID
    organization_id: UUID
    amounts: dict[Metric, Decimal]


class Counted(msgspec.Struct):
    """Whether a run that starts is a new one."""

    new: bool = True


class _Take(msgspec.Struct, frozen=True):
    id: UUID
    spender: Spender
    amounts: dict[Metric, Decimal]
    limits: tuple[Limit, ...]
    path: str | None
    call: Call | None


class _End(msgspec.Struct):
    """How a reservation ends; `used` is None where nobody knows what was used."""

    id: UUID
    used: dict[str, str] | None
    call: Call | None
    told: bool
    tries: int = _TRIES


class Ledger:
    """The reservations of one process, in the name of `holder`, which beats in the table of processes.

    Whoever has not beaten for `lease` seconds is dead, and what it held is
    settled by the others. `keep_forever` has to run beside it.
    """

    def __init__(
        self,
        pool: Pool,
        holder: str,
        quotas: QuotaSettings | None = None,
        *,
        lease: float = 10.0,
        patience: float = 10.0,
    ) -> None:
        """Hold nothing; nothing is connected yet."""
        self.holder = holder
        self.quotas = quotas or QuotaSettings()
        self.known = KnownLimits(pool, self.quotas)
        self._pool = pool
        self._lease = lease
        self._takes: Lane[_Take, None] = Lane(self._take, min(_PATIENCE_OF_TAKES, patience))
        self._ends: Lane[_End, bool] = Lane(self._end, patience)
        self._open: set[UUID] = set()
        self._late: dict[UUID, _End] = {}
        self._ending: set[UUID] = set()
        self._working: set[asyncio.Task[None]] = set()
        self._swept: float | None = None
        self._steady = 0.0
        self._rolled = self._cleaned = 0.0

    async def binding(self, spender: Spender) -> tuple[Limit, ...]:
        """Give the limits that apply to somebody now; raises `Unavailable` while the database is away."""
        limits = await self.known.of(spender.organization_id)
        return tuple(limit for limit in limits if limit.binds(spender)) if limits else ()

    async def reserve(
        self, spender: Spender, amounts: Amounts, *, path: str | None = None, call: Call | None = None
    ) -> Reservation | None:
        """Take some amounts from all limits that apply, or from none; None where none applies.

        `path` is the step of the run that is going to tell what was used. Raises
        `BudgetExceeded`, `QuotaExceeded`, `Invalid` for what is no amount, or
        `Unavailable`.
        """
        limits = await self.binding(spender)
        if not limits:
            return None
        wanted = {metric: amount(value) for metric, value in amounts.items() if value}
        limits = tuple(limit for limit in limits if limit.metric in wanted)
        if not limits:
            return None
        take = _Take(uuid7(), spender, wanted, limits, path, call)
        self._open.add(take.id)
        taking = asyncio.create_task(self._takes.submit(take))
        try:
            await asyncio.shield(taking)
        except LimitReached:
            self._open.discard(take.id)
            raise
        except BaseException:
            self._work_on(self._give_back(take.id, taking))
            raise
        return Reservation(take.id, spender.organization_id, wanted)

    @asynccontextmanager
    async def one_run(self, spender: Spender) -> AsyncGenerator[Counted, None]:
        """Count a run that starts within the block; one that does not start does not count.

        Raises as `reserve` does, also where nothing at all is left of what a run is going to use.
        """
        held = await self.reserve(spender, _ONE_RUN)
        counted = Counted()
        try:
            yield counted
        except BaseException:
            if held is not None:
                self.settle_soon(held, {})
            raise
        if held is not None:
            await self.settle(held, _STARTED if counted.new else {})

    async def seats(self, session: Session, organization_id: UUID, wanted: int = 1) -> None:
        """Let people join in the caller's transaction, which has to add them after this.

        Raises `QuotaExceeded` where the organisation has not as many seats left.
        """
        limits = await self.known.of(organization_id)
        for limit in limits:
            if limit.metric is Metric.SEATS:
                left = limit.amount - await hold_seats(session, organization_id)
                if wanted > left:
                    raise QuotaExceeded(
                        f"The organisation's plan allows {limit.words}, of which {max(0, int(left))} are left."
                    )

    async def settle(self, held: Reservation, used: Amounts, *, told: Call | None = None) -> None:
        """Count what was used and free the rest; committed when this returns, or later where the database is away.

        `told` is what the call used, where no step of a run tells it. Raises
        `Invalid` for what is no amount.
        """
        counted = {metric.value: str(amount(value, f"/{metric.value}")) for metric, value in used.items()}
        await self._finish(_End(held.id, counted, told, told=told is not None))

    async def release(self, held: Reservation) -> None:
        """Free what was not used at all."""
        await self._finish(_End(held.id, {}, None, told=False))

    async def forfeit(self, held: Reservation) -> None:
        """Count all of it, for nobody knows what was used."""
        await self._finish(_End(held.id, None, None, told=True))

    def settle_soon(self, held: Reservation, used: Amounts | None, *, told: Call | None = None) -> None:
        """Settle, or forfeit without `used`, for a caller who cannot wait because he is being cancelled."""
        if used is None:
            self._work_on(self._finish(_End(held.id, None, None, told=True)))
        else:
            counted = {metric.value: str(amount(value)) for metric, value in used.items()}
            self._work_on(self._finish(_End(held.id, counted, told, told=told is not None)))

    async def tell(self, spender: Spender, used: Call) -> None:
        """Add a call to the usage of the day that no step of a run tells of and no limit held."""
        await self._pool.execute(
            TELL,
            spender.organization_id,
            spender.agent_id or NOBODY,
            spender.key_id or NOBODY,
            used.model,
            used.input_tokens,
            used.output_tokens,
            used.cost_usd,
        )

    def heard(self, payload: str) -> None:
        """Look at an organisation's limits again, or at all of them for an empty payload: they were changed."""
        with suppress(ValueError):
            self.known.forget(UUID(payload) if payload else None)

    async def idle(self) -> None:
        """Return when nothing is left to be committed."""
        while self._working:
            await asyncio.wait(self._working)
        await self._takes.idle()
        await self._ends.idle()

    async def keep_forever(self) -> None:
        """Settle what dead processes held, and add up usage, until cancelled."""
        while True:
            try:
                await self.sweep()
                await self._keep()
            except Unavailable:
                pass  # this goes on when the database is back
            except Exception:
                log.exception("the ledger stumbled; it tries again")
            await asyncio.sleep(self._lease / 2)

    async def sweep(self) -> int:
        """End what nobody holds any more, and give how many reservations that were.

        Only who has been looking for a whole lease himself believes that others
        are dead: after an outage of the database nobody has beaten for a while.
        """
        for end in list(self._late.values()):
            await self._again(end)
        moment = time.monotonic()
        if self._swept is None or moment - self._swept > self._lease:
            self._steady = moment
        sure = moment - self._steady >= self._lease
        # A reservation is open before it is committed, so one that is committed and not open was lost, or has ended.
        held = [row["id"] for row in await self._pool.fetch(HELD, self.holder, again=True)]
        lost = [each for each in held if each not in self._open]
        swept: int = await self._pool.fetchval(SWEEP, self.holder, lost, sure, self._lease, again=True)
        self._swept = moment
        if swept:
            log.info("reservations were settled that nobody held any more", reservations=swept)
        return swept

    async def roll(self, lag: float = _LAG_SECONDS) -> None:
        """Add what steps and runs tell that are older than `lag` seconds to the usage by day."""
        while await self._pool.fetchval(ROLL, lag, again=True):
            pass

    async def _keep(self) -> None:
        moment = time.monotonic()
        if moment - self._rolled >= _ROLL_SECONDS:
            self._rolled = moment
            await self.roll()
        if moment - self._cleaned >= _CLEAN_SECONDS:
            self._cleaned = moment
            await self._pool.execute(CLEAN, again=True)

    # What the two lines commit.

    async def _take(self, ops: Sequence[_Take], again: bool) -> Sequence[LimitReached | None]:  # noqa: ARG002 - what is taken is not taken twice
        rows = await self._pool.fetch(TAKE, msgspec.json.encode([self._written(op) for op in ops]).decode())
        granted = {row["id"]: row for row in rows}
        return [None if granted[op.id]["granted"] else _refusal(op, granted[op.id]) for op in ops]

    def _written(self, op: _Take) -> dict[str, Any]:
        spender, call = op.spender, op.call
        return {
            "id": op.id,
            "organization_id": spender.organization_id,
            "holder": self.holder,
            "run_id": spender.run_id,
            "path": op.path,
            "agent_id": spender.agent_id,
            "key_id": spender.key_id,
            "model": call and call.model,
            "input_tokens": call.input_tokens if call else 0,
            "output_tokens": call.output_tokens if call else 0,
            "cost_usd": call and call.cost_usd,
            "takes": [
                {
                    "key": limit.key(spender),
                    "metric": limit.metric,
                    "period": limit.period,
                    "run_id": spender.run_id if limit.period is Period.RUN else None,
                    "amount": op.amounts[limit.metric],
                    "most": limit.amount,
                }
                for limit in op.limits
            ],
        }

    async def _end(self, ops: Sequence[_End], again: bool) -> Sequence[bool]:  # noqa: ARG002 - what has ended does not end twice
        body = [
            {
                "id": op.id,
                "used": op.used,
                "told": op.told,
                "input_tokens": op.call.input_tokens if op.call else 0,
                "output_tokens": op.call.output_tokens if op.call else 0,
                "cost_usd": op.call and op.call.cost_usd,
            }
            for op in ops
        ]
        rows = await self._pool.fetch(SETTLE, msgspec.json.encode(body).decode())
        ended = {row[0] for row in rows}
        return [op.id in ended for op in ops]

    # How a reservation comes to its end.

    def _work_on(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._working.add(task)
        task.add_done_callback(self._working.discard)

    async def _give_back(self, reservation_id: UUID, taking: asyncio.Task[None]) -> None:
        """Free what was asked for by somebody who has left: it may be taken already, or be taken yet."""
        try:
            await taking
        except LimitReached:
            self._open.discard(reservation_id)
            return
        except Problem:
            pass  # nobody knows
        await self._finish(_End(reservation_id, {}, None, told=False))

    async def _finish(self, end: _End) -> None:
        self._late[end.id] = end  # until it is committed, whoever waits for it may be cancelled
        await asyncio.shield(asyncio.ensure_future(self._again(end)))

    async def _again(self, end: _End) -> None:
        if end.id in self._ending:
            return
        self._ending.add(end.id)
        try:
            ended = await self._ends.submit(end)
        except Unavailable:
            return  # the next sweep tries again
        except Exception:
            log.exception("a reservation could not be settled; it is going to count as its step says, or whole")
            ended = True
        finally:
            self._ending.discard(end.id)
        end.tries -= 1
        if ended or end.tries <= 0 or end.used:
            self._late.pop(end.id, None)
            self._open.discard(end.id)


def _refusal(op: _Take, row: Any) -> LimitReached:  # noqa: ANN401 - a row of the driver
    left: dict[str, str] = msgspec.json.decode(row["rooms"])
    by_key = {limit.key(op.spender): limit for limit in op.limits}
    rooms: dict[Metric, Decimal] = {}
    for key, room in left.items():
        metric = by_key[key].metric
        rooms[metric] = min(Decimal(room), rooms.get(metric, Decimal(room)))
    limit = by_key[row["full_key"]]
    room = Decimal(left[row["full_key"]])
    kind = QuotaExceeded if limit.budget_id is None else BudgetExceeded
    whose = "The organisation's plan allows" if limit.budget_id is None else f"The budget{_whose(limit)} is"
    need = f"{op.amounts[limit.metric].normalize():f}"
    return kind(
        f"{whose} {limit.words}, of which {room.normalize():f} are left; this may need {need}.{_again_at(limit)}", rooms
    )


def _whose(limit: Limit) -> str:
    if limit.agent is not None:
        return f" of the agent {limit.agent!r}"
    return " of the API key" if limit.key_id is not None else ""


def _again_at(limit: Limit) -> str:
    today = now().replace(hour=0, minute=0, second=0, microsecond=0)
    if limit.period is Period.DAY:
        following = today + timedelta(days=1)
    elif limit.period is Period.MONTH:
        following = (today.replace(day=1) + timedelta(days=32)).replace(day=1)
    else:
        return " Raise it, or use less."
    return f" It starts again on {following:%Y-%m-%d} (UTC)."
