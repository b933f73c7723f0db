"""How often may be asked: per address, person, key and endpoint, exact over all processes (S20, S28, S191 to S195)."""

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
