"""The names that expressions of a running flow see, level upon level, and the large values behind them (S97)."""

from collections.abc import Iterable
from typing import Any, Protocol

import msgspec

from agent_factory.runtime.flow.outcome import FlowLimit, TaskError


class Ref(msgspec.Struct, frozen=True, omit_defaults=True, rename={"digest": "$payload"}):
    """A large value that lies in the store; `bytes` is the size of its JSON, `total` with all that lies behind it.

    With `items` the value is a list, some of whose items are references again.
    """

    digest: str
    bytes: int
    preview: str = ""
    items: bool = False
    total: int = 0


class Items(list[Any]):
    """A list, some of whose items may be references."""


class Record(dict[str, Any]):
    """What later tasks see of a task: output, status and error."""


class Payloads(Protocol):
    """Where large values lie, by the name of their content."""

    async def put(self, data: bytes) -> str:
        """Store JSON and return its digest; storing the same again changes nothing."""
        ...

    async def get(self, digest: str) -> bytes:
        """Return what was stored; `NotFound` where it is gone."""
        ...


class MemoryPayloads:
    """A store for runs without one."""

    def __init__(self) -> None:
        """Start empty."""
        self.values: dict[str, bytes] = {}

    async def put(self, data: bytes) -> str:
        """Keep JSON in memory."""
        digest = f"memory-{len(self.values)}"
        self.values[digest] = data
        return digest

    async def get(self, digest: str) -> bytes:
        """Return what was kept."""
        return self.values[digest]


class Shelf:
    """The payload store as a flow uses it: small values stay where they are, large ones are loaded when named."""

    def __init__(self, payloads: Payloads, inline_bytes: int, load_bytes: int, preview: int = 200) -> None:
        """Keep values up to `inline_bytes` inline; never load more than `load_bytes` for one name."""
        self._payloads = payloads
        self._inline = inline_bytes
        self._most = load_bytes
        self._preview = preview

    async def keep(self, value: Any) -> tuple[Any, bytes]:  # noqa: ANN401 - any JSON value
        """Return the value, or a `Ref` in its place, and the JSON of what is returned."""
        data = to_json(value)
        if len(data) <= self._inline:
            return value, data
        ref = await self.store(data)
        return ref, msgspec.json.encode(ref)

    async def store(self, data: bytes, *, items: bool = False, total: int = 0) -> Ref:
        """Store JSON, whatever its size."""
        preview = data[: self._preview].decode(errors="ignore")
        return Ref(await self._payloads.put(data), len(data), preview, items, total or len(data))

    async def load(self, value: Any, *, deep: bool = True) -> Any:  # noqa: ANN401 - any JSON value
        """Return a value with everything behind its references; without `deep`, a list keeps those of its items."""
        if isinstance(value, Items):
            refs = [v for v in value if isinstance(v, Ref)]
            if not refs or not deep:
                return value
            self._check(sum(r.total for r in refs))
            return [await self.load(v) for v in value]
        if not isinstance(value, Ref):
            return value
        self._check(value.total if deep else value.bytes)
        loaded = msgspec.json.decode(await self._payloads.get(value.digest))
        return await self.load(Items(map(as_item, loaded)), deep=deep) if value.items else loaded

    def _check(self, size: int) -> None:
        if size > self._most:
            raise FlowLimit(
                f"An expression names a value of {size} bytes; at most {self._most} are loaded at once. "
                "Use a map over it, or name a part of it earlier."
            )


def to_json(value: Any) -> bytes:  # noqa: ANN401 - any JSON value
    """Write a value of a run as JSON; what cannot be written is a `TaskError`."""
    try:
        return msgspec.json.encode(value)
    except RecursionError:
        raise TaskError("The value is nested too deeply.") from None
    except (TypeError, ValueError) as error:
        raise TaskError(f"This is no JSON value: {error}.") from None


def as_item(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    """Read an item of a stored list: values that look like a reference were themselves stored, so this is one."""
    return msgspec.convert(value, Ref) if looks_stored(value) else value


def looks_stored(value: Any) -> bool:  # noqa: ANN401 - any JSON value
    """Tell whether a value of a stranger's looks like a reference, so that it must not stand in a stored list."""
    return isinstance(value, dict) and "$payload" in value


class Variables:
    """The values of one level over those around it."""

    __slots__ = ("outer", "values")

    def __init__(self, values: dict[str, Any], outer: "Variables | None" = None) -> None:
        """Begin a level."""
        self.values = values
        self.outer = outer

    def get(self, key: str, default: Any = None) -> Any:  # noqa: ANN401 - any JSON value
        """Look a name up, inside out."""
        level: Variables | None = self
        while level is not None:
            values = level.values
            if key in values:
                return values[key]
            level = level.outer
        return default

    def inside(self, values: dict[str, Any] | None = None) -> "Variables":
        """Begin a level inside this one."""
        return Variables({} if values is None else values, self)

    async def loaded(self, names: Iterable[str], shelf: Shelf) -> "Variables":
        """Give a level in which the named values are at hand; itself where none lies in the store."""
        found: dict[str, Any] | None = None
        for name in names:
            value = self.get(name)
            if isinstance(value, Record):
                if isinstance(value["output"], Ref):
                    found = found or {}
                    found[name] = {**value, "output": await shelf.load(value["output"])}
            elif isinstance(value, Ref | Items):
                found = found or {}
                found[name] = await shelf.load(value)
        return self if found is None else Variables(found, self)


SKIPPED = Record(output=None, status="skipped", error=None)
