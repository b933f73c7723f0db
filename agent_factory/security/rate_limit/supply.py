"""Brings units from the counters to the buckets of one process: all that is asked for at a time in one question."""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress

import structlog

from agent_factory.kit.errors import Problem
from agent_factory.security.rate_limit.bucket import Bucket
from agent_factory.security.rate_limit.counters import Ask, Counters
from agent_factory.security.rate_limit.share import Share

_log = structlog.stdlib.get_logger("agent_factory.limits")
_MOST_ASKS = 1024
"""Counters of one question."""
_HEAL_AFTER, _HEAL_EVERY = 0.1, 1.0
"""Seconds until the first look whether the counters are back, and at most between two."""
_PROBE = Ask(b"probe", 0.0, 1, 0, 0.001, 1.0)
"""A question like any other, for what answers something simpler may still refuse to count."""

Clock = Callable[[], float]


class Supply:
    """Asks the counters and, while they are away, gives this process's share alone.

    Once they answer again, they are charged with what was given without them.
    """

    def __init__(self, counters: Counters, *, processes: int, clock: Clock) -> None:
        """Begin with the counters; `processes` is how many share them."""
        self.processes = processes
        self._counters = counters
        self._clock = clock
        self._short: dict[bytes, Bucket] = {}
        self._answered: asyncio.Future[None] | None = None
        self._asking: asyncio.Task[None] | None = None
        self._share: Share | None = None
        self._healing: asyncio.Task[None] | None = None
        self._owed: dict[bytes, tuple[Bucket, int]] = {}
        self._refused: set[Bucket] = set()

    @property
    def alone(self) -> bool:
        """Whether the counters are away."""
        return self._share is not None

    async def fill(self, lacking: Iterable[Bucket]) -> None:
        """Wait until the counters were asked for a unit for each of these; what they gave shows in the buckets."""
        for bucket in lacking:
            bucket.wanted += 1
            # Of two with one key, for one may have been forgotten meanwhile, the other asks again by itself.
            self._short[bucket.key] = bucket
        if self._answered is None:
            self._answered = asyncio.get_running_loop().create_future()
        if self._asking is None:
            self._asking = asyncio.create_task(self._work(), name="rate limits")
        await asyncio.shield(self._answered)

    async def close(self) -> None:
        """Stop asking."""
        for task in (self._asking, self._healing):
            if task is not None:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task

    async def _work(self) -> None:
        """Ask for whatever is short until nothing is."""
        try:
            while self._short:
                short, answered = list(self._short.values()), self._answered
                self._short, self._answered = {}, None
                assert answered is not None, "whoever is short waits for the answer"
                await self._answer(short, answered)
        finally:
            self._asking = None

    async def _answer(self, short: list[Bucket], answered: asyncio.Future[None]) -> None:
        try:
            for start in range(0, len(short), _MOST_ASKS):
                await self._ask(short[start : start + _MOST_ASKS])
        except asyncio.CancelledError:
            answered.cancel()
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to those who wait for it
            answered.set_exception(error)
            answered.exception()  # they may have left
        else:
            answered.set_result(None)

    async def _ask(self, short: list[Bucket]) -> None:
        sent_at = self._clock()
        asks = [bucket.ask(sent_at) for bucket in short]
        if self._share is None:
            try:
                grants = await self._counters.take(asks)
            except Problem as problem:
                if not problem.retryable:
                    raise
                self._part(problem)
            else:
                now = self._clock()
                for bucket, ask, given in zip(short, asks, grants, strict=True):
                    bucket.receive(ask, given, sent_at, now)
                return
        assert self._share is not None, "it is there from the moment at which the counters went away"
        self._give(self._share, short, asks)

    def _give(self, share: Share, short: list[Bucket], asks: list[Ask]) -> None:
        """Give what this process has by itself."""
        now = self._clock()
        for bucket, ask in zip(short, asks, strict=True):
            given = share.take(ask)
            bucket.add(given.units, now)
            if given.units:
                self._owed[ask.key] = (bucket, given.units + self._owed.get(ask.key, (bucket, 0))[1])
            if given.units < ask.need:
                bucket.refused_until = now + share.wait(ask, given)
                self._refused.add(bucket)

    def _part(self, problem: Problem) -> None:
        """Go on alone until the counters answer again."""
        _log.warning("the counters of the rate limits are away; each process limits alone", reason=problem.detail)
        self._share = Share(self.processes, self._clock)
        self._healing = asyncio.create_task(self._heal(), name="rate limits heal")

    async def _heal(self) -> None:
        pause = _HEAL_AFTER
        while self._share is not None:
            await asyncio.sleep(pause)
            pause = min(2 * pause, _HEAL_EVERY)
            try:
                await self._counters.take([_PROBE])
                while self._owed:
                    await self._settle()
            except Problem:
                continue
            except Exception:  # noqa: BLE001 - a fault of ours must not leave the process alone for ever
                _log.exception("the counters of the rate limits could not be asked")
                continue
            self._share = None
        for bucket in self._refused:
            bucket.refused_until = 0.0
        self._refused.clear()
        _log.warning("the counters of the rate limits are back")

    async def _settle(self) -> None:
        """Have the counters count what was given without them, by others as well, who may tell of it only later."""
        some = dict(list(self._owed.items())[:_MOST_ASKS])
        now = self._clock()
        await self._counters.take([bucket.owing(units * self.processes, now) for bucket, units in some.values()])
        for key, (bucket, units) in some.items():
            rest = self._owed[key][1] - units
            if rest:
                self._owed[key] = (bucket, rest)
            else:
                del self._owed[key]
