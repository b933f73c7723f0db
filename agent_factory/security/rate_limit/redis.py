"""Counters in Redis: one script for all that a process asks at a time, by the server's clock."""

from collections.abc import Sequence

from agent_factory.cache.redis import Redis, Script
from agent_factory.security.rate_limit.counters import Ask
from agent_factory.security.rate_limit.rules import Grant

_TAKE = """
local clock = redis.call('TIME')
local now = clock[1] + clock[2] / 1000000
local given = {}
for i, key in ipairs(KEYS) do
  local at = (i - 1) * 5
  local known, need, extra = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
  local tick, span = tonumber(ARGV[at + 4]), tonumber(ARGV[at + 5])
  local kept = tonumber(redis.call('GET', key) or 0) - now
  local lead = math.max(math.min(kept, span), known, 0)
  local free = math.floor((span - lead) / tick + 0.001)
  local units = math.min(need, free) + math.min(extra, math.max(0, free - need - math.floor(span / tick / 2)))
  lead = lead + units * tick
  if lead > kept then
    redis.call('SET', key, string.format('%.6f', now + lead), 'PX', math.ceil(lead * 1000) + 1000)
  end
  given[2 * i - 1] = units
  given[2 * i] = string.format('%.6f', lead)
end
return given
"""


class RedisCounters:
    """Counters as keys that expire by themselves."""

    _PREFIX = b"{af-limits}:"
    """In braces, so that a cluster keeps them at one place, where one script reaches them."""

    def __init__(self, redis: Redis) -> None:
        """Count in this Redis."""
        self._redis = redis
        self._script = Script(_TAKE)

    async def take(self, asks: Sequence[Ask]) -> Sequence[Grant]:
        """Give what the counters have."""
        arguments = [value for a in asks for value in (a.lead, a.need, a.extra, a.tick, a.span)]
        given = await self._redis.run(self._script, [self._PREFIX + a.key for a in asks], arguments)
        return [Grant(int(units), float(lead)) for units, lead in zip(given[::2], given[1::2], strict=True)]

    async def sweep(self) -> None:
        """Do nothing: Redis forgets by itself."""
