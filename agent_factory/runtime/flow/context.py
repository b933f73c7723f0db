"""What a running flow is given, and what it gives each task."""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from agent_factory.core.agent import Agent, Strict
from agent_factory.core.event import TurnEvent
from agent_factory.core.graph import Node
from agent_factory.core.journal import Entry, Journal
from agent_factory.core.workflow import Flow
from agent_factory.runtime.compile import Resources
from agent_factory.runtime.flow.fires import FireDoor, NoFires
from agent_factory.runtime.flow.made import Made
from agent_factory.runtime.flow.outcome import Outcome, WaitFor
from agent_factory.runtime.flow.variables import MemoryPayloads, Payloads, Shelf, Variables

if TYPE_CHECKING:
    from agent_factory.runtime.spending import Spending  # which needs a database, as scripts do not


class FlowLimits(msgspec.Struct, frozen=True):
    """How large a run may become.

    `running` is how many tasks of one level run at once, `steps` how many
    tasks a run has in all, `depth` how deep workflows run in each other.
    Waits up to `sleep_seconds` are spent in the process.
    """

    map_items: int = 50_000
    steps: int = 1_000_000
    running: int = 256
    depth: int = 10
    inline_bytes: int = 32_768
    load_bytes: int = 64_000_000
    preview_bytes: int = 4_096
    sleep_seconds: float = 1.0


class WaitDoor(Protocol):
    """Where waits are told to people and timers."""

    async def register(self, wait: WaitFor) -> bool:
        """Make a wait known at once; the first of a path counts. Tells whether it is new."""
        ...


class EventDoor(Protocol):
    """Where a flow's own events go."""

    async def emit(self, event_type: str, data: Any, key: str) -> str:  # noqa: ANN401 - any JSON value
        """Publish an event once for each key, and return its id."""
        ...


class Slot(Protocol):
    """Gives a turn to tasks with effects, so that tenants share a worker fairly."""

    def __call__(self, context: "FlowContext", /) -> AbstractAsyncContextManager[None]:
        """Wait for a turn; it ends with the block, and the clock of the task's `timeout` runs in it alone."""
        ...


class NoWaits:
    """A door for runs that nobody watches: waits are only returned."""

    async def register(self, wait: WaitFor) -> bool:  # noqa: ARG002 - nobody is told
        """Tell nobody."""
        return True


class Steps(msgspec.Struct):
    """How many tasks a run has begun."""

    count: int = 0


def _silent(_event: TurnEvent) -> None:
    """Tell nobody."""


class FlowContext(msgspec.Struct, frozen=True, kw_only=True):
    """One run: whose it is, its memory, and what its tasks may reach.

    `agents` and `flows` are what was pinned when the run started, by
    `core.workflow.pinned_name`. `stack` are the workflows around this one,
    outermost first, and itself. `made` holds what its tasks share. By `spending`
    its turns are held against the limits of whoever lets the run run.
    """

    journal: Journal
    run_id: str = ""
    organization_id: str = ""
    emit: Callable[[TurnEvent], None] = _silent
    payloads: Payloads = msgspec.field(default_factory=MemoryPayloads)
    resources: Resources | None = None
    agents: Mapping[str, Agent] = {}
    flows: Mapping[str, Flow] = {}
    spending: "Spending | None" = None
    waits: WaitDoor = msgspec.field(default_factory=NoWaits)
    fires: FireDoor = msgspec.field(default_factory=NoFires)
    events: EventDoor | None = None
    sandbox: Any = None
    slots: Slot | None = None
    limits: FlowLimits = FlowLimits()
    leaves: "Mapping[str, Leaf]" = {}
    stack: tuple[str, ...] = ()
    steps: Steps = msgspec.field(default_factory=Steps)
    made: Made = msgspec.field(default_factory=Made)

    @property
    def shelf(self) -> Shelf:
        """The payload store with this run's limits."""
        return Shelf(self.payloads, self.limits.inline_bytes, self.limits.load_bytes)


class TaskCall(msgspec.Struct, frozen=True):
    """One attempt at a task.

    `config` is the shape of its type, written out; `variables` are the names
    around it with `args` at hand. `path` is where its end is recorded; what
    belongs to this attempt alone goes below `place`, which differs from the
    second attempt on.
    """

    context: FlowContext
    node: Node
    path: str
    place: str
    attempt: int
    variables: Variables
    config: Strict

    @property
    def key(self) -> str:
        """Name the effect of this task, whatever the attempt: its idempotency key."""
        return f"{self.context.run_id}/{self.path}"

    def fired(self, path: str) -> Outcome | None:
        """Return what ended a wait, if it has ended."""
        entry = self.context.journal.get(path)
        return None if entry is None else read_outcome(entry)


Leaf = Callable[[TaskCall], Awaitable[Any]]
"""Does one task and returns its output, any JSON value.

It raises a `Problem` for what goes wrong, and `Suspended` when it has to wait;
then it is called again when the wait has fired. What it does below its path is
its own to record. It may return `Chosen` or `Ended`, too.
"""

_decode = msgspec.json.Decoder(Outcome).decode


def read_outcome(entry: Entry) -> Outcome:
    """Read how a recorded task ended; a reference in its output stays a plain object."""
    return _decode(entry.output)
