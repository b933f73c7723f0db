"""Where the units of all processes are counted: one question for many counters, answered at once."""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from agent_factory.security.rate_limit.rules import Grant


class Ask(msgspec.Struct, frozen=True):
    """A process's question about one counter: `need` units, and up to `extra` to keep at hand.

    `lead` is what the process knows the counter to be ahead at least, so that
    counters that were lost are put right by those who remember.
    """

    key: bytes
    lead: float
    need: int
    extra: int
    tick: float
    span: float


class Counters(Protocol):
    """What the processes share; every method raises `Unavailable` while it is away."""

    async def take(self, asks: Sequence[Ask]) -> Sequence[Grant]:
        """Give what the counters have, in the order asked; no two asks are about the same counter."""
        ...

    async def sweep(self) -> None:
        """Forget counters that are whole again."""
        ...
