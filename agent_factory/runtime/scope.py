"""What every part of a running turn shares."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import msgspec

from agent_factory.core.event import ApprovalNeeded, TurnCompleted, TurnEvent, TurnFailed
from agent_factory.core.journal import Entry, Journal
from agent_factory.core.message import Message, Summary
from agent_factory.core.model import ModelSettings, ToolSpec
from agent_factory.kit.errors import Problem
from agent_factory.runtime.compile import Compiled
from agent_factory.runtime.limits import Meter

if TYPE_CHECKING:
    from agent_factory.runtime.spending import Spending  # which needs a database, as scripts do not

Emit = Callable[[TurnEvent], None]
TurnEnd = TurnCompleted | TurnFailed | ApprovalNeeded


class TurnContext(msgspec.Struct, frozen=True):
    """Whose turn it is, and what the caller sets for this one turn.

    `settings` go over the agent's own where they are set; `output` is a JSON
    Schema for an agent that has none; `client_tools` are offered to the model,
    but run by the caller: the turn ends with `finish="tool_calls"`. `prefix` is
    where in the run's journal the turn stands, when another agent asked for it.
    `on_failure` is given the problem that ends the turn, with all that its
    `TurnFailed` does not say. By `spending` the turn is held against the limits
    of whoever lets it run.
    """

    run_id: str = ""
    organization_id: str = ""
    prefix: str = ""
    stream: bool = True
    depth: int = 0
    summary: Summary | None = None
    settings: ModelSettings | None = None
    output: dict[str, object] | None = None
    client_tools: tuple[ToolSpec, ...] = ()
    on_failure: Callable[[Problem], None] | None = None
    spending: "Spending | None" = None


class Scope(msgspec.Struct, frozen=True):
    """One turn in progress; `below` conducts the turn of another agent under a path of this one."""

    compiled: Compiled
    context: TurnContext
    journal: Journal
    meter: Meter
    emit: Emit
    below: "Callable[[Scope, str, str, Message], Awaitable[TurnEnd]]"


class Waiting(BaseException):
    """Carries a person's question up to the turn, which ends with it.

    No error, so that a tool's own `except Exception` lets it pass.
    """

    def __init__(self, needed: ApprovalNeeded) -> None:
        """Keep the question."""
        super().__init__(needed.path)
        self.needed = needed


class SubJournal:
    """A run's journal as an agent below it sees it: the same entries under a prefix."""

    def __init__(self, journal: Journal, prefix: str) -> None:
        """Put `prefix/` before every path."""
        self._journal = journal
        self._prefix = prefix

    def get(self, path: str) -> Entry | None:
        """Return the entry of a step below the prefix, if any."""
        return self._journal.get(f"{self._prefix}/{path}")

    async def put(self, entry: Entry, *, durable: bool) -> None:
        """Record a step below the prefix."""
        await self._journal.put(msgspec.structs.replace(entry, path=f"{self._prefix}/{entry.path}"), durable=durable)

    async def flush(self) -> None:
        """Return when every earlier entry of the run is committed."""
        await self._journal.flush()


def decision(scope: Scope, path: str) -> bool | None:
    """Return what a person decided at a path, or `None` where nobody has yet.

    The entry of a decision is of kind `approval`, its output `{"approved": true}` or `false`.
    """
    entry = scope.journal.get(path)
    if entry is None:
        return None
    return bool(msgspec.json.decode(entry.output, type=dict[str, bool]).get("approved"))
