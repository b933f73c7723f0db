"""What a guardrail decides (S58)."""

from typing import Literal

import msgspec

from agent_factory.kit.errors import Kind, Problem

Action = Literal["allow", "block", "redact", "ask"]


class Verdict(msgspec.Struct, frozen=True, omit_defaults=True):
    """What becomes of a text; `text` is the one to go on with."""

    action: Action
    text: str
    reason: str = ""


class GuardrailBlocked(Problem):
    """A rule stopped the turn."""

    kind = Kind.FORBIDDEN
    code = "guardrail_blocked"
    title = "Stopped by a guardrail"
