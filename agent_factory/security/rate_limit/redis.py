"""Counters in Redis: one script for all that a process asks at a time, by the server's clock."""

from collections.abc import Sequence
from typing import Any

from agent_factory.cache.redis import Redis, Script
from agent_factory.security.rate_limit.counters import Ask
from agent_factory.security.rate_limit.rules import Grant
from agent_factory.security.rate_limit.uses import Uses

_TAKE = """
local clock = redis.call('TIME')
local now = clock[1] + clock[2] / 1000000
local info, run, since = redis.pcall('INFO', 'server'), '', nil
if type(info) == 'string' then run = string.match(info, 'run_id:(%w+)') or '' end
local of, at = string.match(redis.call('GET', KEYS[1]) or '', '^(%w*) ([%d.]+)$')
if at and of == run then since = tonumber(at) end
if not since and ARGV[1] == '' then return false end
if not since or since > now then
  since = now - (since and 0 or ARGV[1])
  redis.call('SET', KEYS[1], string.format('%s %.6f', run, since))
end
local given = {}
for i = 2, #KEYS do
  local at = (i - 2) * 5 + 1
  local known, need, extra = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
  local tick, span = tonumber(ARGV[at + 4]), tonumber(ARGV[at + 5])
  local kept = tonumber(redis.call('GET', KEYS[i]) or 0) - now
  local lead = math.max(math.min(kept, span), known, span - (now - since), 0)
  local free = math.floor((span - lead) / tick + 0.001)
  local units = math.min(need, free) + math.min(extra, math.max(0, free - need - math.floor(span / tick / 2)))
  lead = lead + units * tick
  if lead > kept or kept > span + 1 then
    redis.call('SET', KEYS[i], string.format('%.6f', now + lead), 'PX', math.ceil(lead * 1000) + 1000)
  end
  given[#given + 1] = units
  given[#given + 1] = string.format('%.6f', lead)
end
return given
"""
# The first key says since when this run of Redis remembers everything; what was used before that may be forgotten, and
# counts as used up at that moment. It is missing where Redis was emptied, and is another run's where Redis was started
# with what it had saved some time ago, or another server took over; the script then gives nothing until it is told how
# long nobody can have used a limit. A moment that lies ahead was written before the clock was set back.


class RedisCounters:
    """Counters as keys that expire by themselves."""

    _PREFIX = b"{af-limits}:"
    """In braces, so that a cluster keeps them at one place, where one script reaches them."""

    def __init__(self, redis: Redis, uses: Uses) -> None:
        """Count in this Redis."""
        self._redis = redis
        self._uses = uses
        self._script = Script(_TAKE)

    async def take(self, asks: Sequence[Ask]) -> Sequence[Grant]:
        """Give what the counters have."""
        given = await self._run(asks, "")
        if given is None:
            given = await self._run(asks, await self._uses.ago())
        if not self._uses.noted:
            # Not before Redis knows since when it remembers: others that find it empty go by this note.
            await self._uses.note()
        return [Grant(int(units), float(lead)) for units, lead in zip(given[::2], given[1::2], strict=True)]

    async def _run(self, asks: Sequence[Ask], unused_for: float | str) -> Any:  # noqa: ANN401 - units and leads by turns
        keys = [self._PREFIX + b"since", *(self._PREFIX + a.key for a in asks)]
        arguments = [value for a in asks for value in (a.lead, a.need, a.extra, a.tick, a.span)]
        return await self._redis.run(self._script, keys, [unused_for, *arguments])

    async def sweep(self) -> None:
        """Note that limits are in use; Redis forgets by itself."""
        if self._uses.noted:
            await self._uses.note()
