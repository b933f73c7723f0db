"""What a compiled rule is, whatever it looks for."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal

import msgspec

from agent_factory.core.agent import GuardrailUse
from agent_factory.core.guardrail import Action, Verdict
from agent_factory.kit.errors import FieldError, Invalid
from agent_factory.runtime.guardrails.finder import Finder

Seat = Literal["input", "tool_call", "tool_result", "output"]
"""Where a rule sits: `tools` of a definition is both what goes to a tool and what comes back."""

SEATS: dict[str, tuple[Seat, ...]] = {
    "input": ("input",),
    "tools": ("tool_call", "tool_result"),
    "output": ("output",),
}

Judge = Callable[[str, dict[str, Any]], Awaitable[dict[str, Any]]]
"""Asks a model: a prompt and the JSON Schema of the answer; raises when there is none."""

Check = Callable[[str, str, Judge | None], Awaitable[Verdict]]
"""Decides on a whole text; the first argument is the tool's name, empty elsewhere, the last one who may be asked."""


class Rule(msgspec.Struct, frozen=True):
    """A rule at its seats: spans to find, or a decision over the whole text, with the action of each seat."""

    name: str
    actions: Mapping[Seat, Action]
    finders: Mapping[Seat, tuple[Finder, ...]] = {}
    checks: Mapping[Seat, Check] = {}
    answers_only: bool = False
    """Whether only the final answer is meant, not words beside a tool call nor thoughts."""
    asks_judge: bool = False

    @property
    def holdback(self) -> int | None:
        """Characters that a stream of output has to keep back; `None` means all of them."""
        if "output" in self.checks or self.actions.get("output") == "ask":
            return None
        return max((f.longest for f in self.finders.get("output", ())), default=0)


def actions(use: GuardrailUse, defaults: Mapping[Seat, Action]) -> dict[Seat, Action]:
    """Give the action at each seat: where `on` says, else where the rule makes sense by default."""
    seats: list[Seat] = list(defaults) if use.on is None else [seat for place in use.on for seat in SEATS[place]]
    return {seat: use.action or defaults[seat] for seat in seats if seat in defaults}


def refuse_redact(use: GuardrailUse, at: str) -> None:
    """Refuse `redact` for a rule that judges a text as a whole."""
    if use.action == "redact":
        raise Invalid(
            f"The guardrail {use.use!r} cannot redact.",
            errors=[FieldError(f"{at}/action", "this rule judges the whole text: use `block` or `ask`")],
        )
