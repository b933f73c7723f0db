"""What a guardrail decides, and the shape of one (S58)."""

from typing import Literal, Protocol

import msgspec

from agent_factory.kit.errors import Kind, Problem

Place = Literal["input", "output", "tools"]
Action = Literal["allow", "block", "redact", "ask"]


class Verdict(msgspec.Struct, frozen=True, omit_defaults=True):
    """What becomes of a text; `text` is the one to go on with."""

    action: Action
    text: str
    reason: str = ""


class Guardrail(Protocol):
    """A compiled rule.

    `holdback` is the number of characters that a stream must keep back so that
    no match can have left before it is whole; `None` means that the rule has
    to see the whole text.
    """

    name: str
    holdback: int | None

    async def check(self, text: str, place: Place) -> Verdict:
        """Decide on a text; never raises for what the text says."""
        ...


class GuardrailBlocked(Problem):
    """A rule stopped the turn."""

    kind = Kind.FORBIDDEN
    code = "guardrail_blocked"
    title = "Stopped by a guardrail"
