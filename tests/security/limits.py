"""Counters in memory, a clock that stands still, and callers, for tests of limits."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

from agent_factory.kit.errors import Unavailable
from agent_factory.kit.ids import uuid7
from agent_factory.security.auth import Actor
from agent_factory.security.rate_limit import Limiter, LimitsSettings, RateLimited
from agent_factory.security.rate_limit.counters import Ask
from agent_factory.security.rate_limit.rules import Grant, grant

HERE = "192.0.2.1"
Crowd = Callable[..., Awaitable[list[int]]]
Meanwhile = Callable[[], Coroutine[Any, Any, None]]


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class KeptCounters:
    """Counters in memory by a clock of the test's; they can be away, and can forget."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.whole_at: dict[bytes, float] = {}
        self.away = False
        self.questions = 0

    async def take(self, asks: Sequence[Ask]) -> Sequence[Grant]:
        self.questions += 1
        await asyncio.sleep(0)
        if self.away:
            raise Unavailable("away")
        assert len({a.key for a in asks}) == len(asks)
        given = [
            grant(max(self.whole_at.get(a.key, 0.0) - self.clock(), a.lead), a.need, a.extra, a.tick, a.span)
            for a in asks
        ]
        for ask, one in zip(asks, given, strict=True):
            self.whole_at[ask.key] = self.clock() + one.lead
        return given

    async def sweep(self) -> None:
        pass


def only(**limits: Any) -> LimitsSettings:
    """Settings with no limits but these."""
    none: dict[str, Any] = {"address": "", "user": "", "key": "", "endpoint": "", "endpoints": {}}
    return LimitsSettings.model_validate({**none, **limits})


def someone(**more: Any) -> Actor:
    return Actor(organization_id=uuid7(), user_id=uuid7(), role="viewer", **more)


async def lets_in(limiter: Limiter, actor: Actor | None, address: str = HERE, route: str = "/x") -> bool:
    try:
        await limiter.standing(actor, address, route).admit()
    except RateLimited:
        return False
    return True


async def at_once(limiter: Limiter, actor: Actor | None, count: int, route: str = "/x") -> int:
    return sum(await asyncio.gather(*(lets_in(limiter, actor, route=route) for _ in range(count))))


def ask(key: bytes, need: int, extra: int = 0, *, lead: float = 0, count: int = 100, span: float = 86_400) -> Ask:
    return Ask(key, lead, need, extra, span / count, span)
