"""Who may ask how often: every limit that fits a request has to have a unit for it (merge 16)."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from uuid import UUID

from agent_factory.kit.errors import Kind, Problem
from agent_factory.security.addresses import subscriber
from agent_factory.security.auth import Actor
from agent_factory.security.rate_limit.bucket import Bucket
from agent_factory.security.rate_limit.counters import Counters
from agent_factory.security.rate_limit.rules import Rate, parse
from agent_factory.security.rate_limit.settings import LimitsSettings
from agent_factory.security.rate_limit.supply import Clock, Supply

_MOST_CALLERS = 50_000
"""Callers and routes that a process remembers at a time; the idle ones are forgotten anyway."""
_TIGHTEST_FOR = 1.0
"""Seconds between two looks at which of a caller's limits is nearest to its end."""
_SWEEP_EVERY = 30.0


class RateLimited(Problem):
    """More requests than a limit allows."""

    kind = Kind.LIMITED
    code = "rate_limit_exceeded"
    title = "Too many requests"
    retryable = True


class Standing:
    """How one caller stands with all limits that fit its requests to a route."""

    __slots__ = ("_limiter", "_tightest", "_tightest_until", "buckets", "policy")

    def __init__(self, limiter: "Limiter", buckets: tuple[Bucket, ...]) -> None:
        """Join the counters; `policy` is the value of the field RateLimit-Policy."""
        self._limiter = limiter
        self._tightest: Bucket | None = None
        self._tightest_until = 0.0
        self.buckets = buckets
        self.policy = ",".join(f'"{b.name}";q={b.rate.count};w={int(b.rate.span)}' for b in buckets).encode()

    async def admit(self) -> None:
        """Use a unit of every limit, or raise `RateLimited`."""
        now = self._limiter.clock()
        while lacking := [b for b in self.buckets if not b.holds(now)]:
            self.bar(now)
            await self._limiter.supply.fill(lacking)
            now = self._limiter.clock()
        for bucket in self.buckets:
            bucket.stock -= 1

    def bar(self, now: float | None = None) -> None:
        """Raise `RateLimited` if the caller is known to have to wait; uses nothing, asks nobody."""
        if now is None:
            now = self._limiter.clock()
        if refusing := [b for b in self.buckets if b.refuses(now)]:
            self._tightest = max(refusing, key=lambda b: b.refused_until)
            self._tightest_until = now + _TIGHTEST_FOR
            raise _limited(self._tightest, now)

    def state(self) -> bytes:
        """Give the value of the field RateLimit: the limit that is nearest to its end."""
        now = self._limiter.clock()
        bucket = self._tightest
        if bucket is None or now >= self._tightest_until:
            bucket = self._tightest = min(self.buckets, key=lambda b: b.left(now))
            self._tightest_until = now + _TIGHTEST_FOR
        return b'"%b";r=%d;t=%d' % (bucket.name.encode(), bucket.left(now), math.ceil(bucket.reset(now)))


def _limited(bucket: Bucket, now: float) -> RateLimited:
    seconds = bucket.refused_until - now
    return RateLimited(
        f"The limit of {bucket.rate.count} requests a {bucket.rate.period} ({bucket.name}) is used up; "
        f"try again in {max(1, math.ceil(seconds))} s.",
        retry_after=seconds,
    )


class Limiter:
    """The limits of one process, exact over all processes that share its counters.

    Units are taken from the counters before they are handed out, together for
    all requests that wait, and some ahead for callers who ask often; so a
    total is never passed, and a request seldom waits for another machine.
    While the counters are away, each process gives its share of what flows
    back, and nothing else; once they answer again, they count on.
    """

    def __init__(
        self, settings: LimitsSettings, counters: Counters, *, processes: int = 1, clock: Clock = time.monotonic
    ) -> None:
        """Begin with nothing at hand; `processes` is how many share the counters."""
        self.clock = clock
        self.supply = Supply(counters, processes=settings.processes or processes, clock=clock)
        self._settings = settings
        self._counters = counters
        self._address, self._user, self._key = (parse(t) for t in (settings.address, settings.user, settings.key))
        self._endpoint = parse(settings.endpoint)
        self._endpoints = {path: parse(text) for path, text in settings.endpoints.items()}
        self._buckets: dict[tuple[str, str, Rate], Bucket] = {}
        self._standings: dict[tuple[UUID | None, UUID | None, str, str], Standing] = {}

    def standing(self, actor: Actor | None, address: str, route: str = "") -> Standing:
        """Give how a caller stands; without an actor only its address counts, without a route no endpoint."""
        known = (actor.user_id, actor.key_id, address, route) if actor is not None else (None, None, address, route)
        found = self._standings.get(known)
        if found is None:
            if len(self._standings) >= _MOST_CALLERS:
                self.forget()
            found = self._standings[known] = Standing(self, tuple(self._limits(actor, address, route)))
        return found

    def _limits(self, actor: Actor | None, address: str, route: str) -> Iterable[Bucket]:
        if not self._settings.enabled:
            return
        network = subscriber(address)
        yield from self._named("address", network, self._address)
        who = network
        if actor is not None:
            who = str(actor.user_id)
            yield from self._named("user", who, self._user)
            if actor.key_id is not None:
                yield from self._named("key", str(actor.key_id), self._key)
        if route:
            path, rates = _endpoint(route, self._endpoints, self._endpoint)
            yield from self._named("endpoint", f"{who} {path}", rates)

    def _named(self, kind: str, identity: str, rates: Iterable[Rate]) -> Iterable[Bucket]:
        for rate in rates:
            found = self._buckets.get((kind, identity, rate))
            if found is None:
                found = Bucket(f"{kind}-{rate.period}", f"{kind} {identity}", rate)
                self._buckets[kind, identity, rate] = found
            yield found

    def forget(self) -> None:
        """Forget callers that have nothing at hand and nothing to wait for; all, if they are too many."""
        now = self.clock()
        self._buckets = {k: b for k, b in self._buckets.items() if not b.idle(now)}
        if len(self._buckets) >= _MOST_CALLERS * 4:
            self._buckets = {}
        self._standings = {}

    async def sweep_forever(self, count_processes: Callable[[], Awaitable[int]]) -> None:
        """Forget what is whole again, here and in the counters, and see who else counts; ends when cancelled."""
        while True:
            with suppress(Problem):
                if self._settings.processes is None:
                    self.supply.processes = max(1, await count_processes())
                await self._counters.sweep()
            await asyncio.sleep(_SWEEP_EVERY)
            self.forget()

    async def close(self) -> None:
        """Stop asking."""
        await self.supply.close()


def _endpoint(
    route: str, endpoints: Mapping[str, tuple[Rate, ...]], other: tuple[Rate, ...]
) -> tuple[str, tuple[Rate, ...]]:
    """Give the longest configured path that a route is or lies below, with its limits; else the route itself."""
    fitting = [p for p in endpoints if route == p or route.startswith((f"{p}/", f"{p}:"))]
    if not fitting:
        return route, other
    path = max(fitting, key=len)
    return path, endpoints[path]
