"""Redis, reached by one small client; whatever goes wrong with it is `Unavailable`."""

from collections.abc import Sequence
from typing import Any, Protocol, cast

from redis.asyncio import Redis as Client
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError

from agent_factory.cache.settings import RedisSettings
from agent_factory.kit.errors import Unavailable


class _Commands(Protocol):
    """The part of the driver's client that we use."""

    async def evalsha(self, sha: str, numkeys: int, *keys_and_args: Any) -> Any: ...  # noqa: ANN401 - the driver's

    async def script_load(self, script: str) -> str: ...

    async def aclose(self) -> None: ...


class Redis:
    """One process's connections to Redis; nothing is connected before the first use."""

    def __init__(self, url: str, settings: RedisSettings | None = None) -> None:
        """Remember where it is."""
        settings = settings or RedisSettings()
        made = Client.from_url(  # pyright: ignore[reportUnknownMemberType] - the driver takes anything
            url,
            socket_connect_timeout=settings.connect_timeout,
            socket_timeout=settings.timeout,
            # one more try on a fresh connection, for those in the pool are stale once Redis was started anew
            retry=Retry(NoBackoff(), 1),
        )
        self._client = cast("_Commands", made)

    async def close(self) -> None:
        """Close every connection."""
        await self._client.aclose()

    async def run(self, script: "Script", keys: Sequence[bytes], arguments: Sequence[object]) -> Any:  # noqa: ANN401 - whatever the script gives
        """Run a script, as one step that nothing comes between; raises `Unavailable`."""
        try:
            if script.sha is None:
                script.sha = await self._client.script_load(script.text)
            try:
                return await self._client.evalsha(script.sha, len(keys), *keys, *arguments)
            except NoScriptError:
                script.sha = await self._client.script_load(script.text)
                return await self._client.evalsha(script.sha, len(keys), *keys, *arguments)
        except (RedisError, OSError, TimeoutError) as error:
            raise _away() from error


class Script:
    """A Lua script, sent once and named by its digest from then on."""

    def __init__(self, text: str) -> None:
        """Keep the text."""
        self.text = text
        self.sha: str | None = None


def _away() -> Unavailable:
    return Unavailable("Redis does not answer; try again in a moment.", retry_after=1)
