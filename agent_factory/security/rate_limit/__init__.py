"""How often may be asked: per address, person, key and endpoint, exact over all processes (S20, S28, S191 to S195)."""

from typing import TYPE_CHECKING

from agent_factory.kit.exports import exported

if TYPE_CHECKING:
    from agent_factory.security.rate_limit.counters import Counters
    from agent_factory.security.rate_limit.limiter import Limiter, RateLimited, Standing
    from agent_factory.security.rate_limit.opening import limiting
    from agent_factory.security.rate_limit.postgres import PostgresCounters
    from agent_factory.security.rate_limit.redis import RedisCounters
    from agent_factory.security.rate_limit.settings import LimitsSettings

__all__ = [
    "Counters",
    "Limiter",
    "LimitsSettings",
    "PostgresCounters",
    "RateLimited",
    "RedisCounters",
    "Standing",
    "limiting",
]

__getattr__ = exported(
    __name__,
    {
        "Counters": "counters",
        "Limiter": "limiter",
        "LimitsSettings": "settings",
        "PostgresCounters": "postgres",
        "RateLimited": "limiter",
        "RedisCounters": "redis",
        "Standing": "limiter",
        "limiting": "opening",
    },
)
