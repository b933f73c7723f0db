"""What a run remembers of its steps, so that a restart repeats none that is recorded."""

from typing import Literal, Protocol

import msgspec


class Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One finished step of a run.

    `path` names the step inside the run (`model/0`, `tool/0/1`, `summary/0`,
    in a workflow `fetch` or `each[3]/fetch`) and is unique in it. `input` and
    `output` are JSON; `output` is what a replay uses instead of doing the step
    again. A `wait` is something that came for a run that waited, a `resume`
    the place where somebody let a run go on that had ended.
    """

    path: str
    kind: Literal["model", "tool", "approval", "summary", "task", "wait", "resume"]
    name: str
    input: msgspec.Raw
    output: msgspec.Raw
    is_error: bool = False
    duration_ms: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: str | None = None


class Journal(Protocol):
    """The memory of one run."""

    def get(self, path: str) -> Entry | None:
        """Return what an earlier attempt recorded for a step, if any."""
        ...

    async def put(self, entry: Entry, *, durable: bool) -> None:
        """Record a step.

        With `durable` it returns when the entry, and every earlier one, is
        committed; without, the entry may be written together with the next.
        Raises `Fenced` when another process has taken the run over.
        """
        ...

    async def flush(self) -> None:
        """Return when every earlier entry is committed."""
        ...


class MemoryJournal:
    """A journal for runs without a database."""

    def __init__(self) -> None:
        """Start empty."""
        self.entries: dict[str, Entry] = {}

    def get(self, path: str) -> Entry | None:
        """Return the entry of a step, if any."""
        return self.entries.get(path)

    async def put(self, entry: Entry, *, durable: bool) -> None:  # noqa: ARG002 - memory is as durable as it gets
        """Record a step."""
        self.entries[entry.path] = entry

    async def flush(self) -> None:
        """Return at once."""
