"""All rules of an agent, asked in one place (S58, S74)."""

import asyncio
from collections.abc import Sequence
from copy import copy

from agent_factory.core.guardrail import Action, GuardrailBlocked, Verdict
from agent_factory.runtime.guardrails import documents
from agent_factory.runtime.guardrails.rule import Judge, Rule, Seat
from agent_factory.runtime.guardrails.scanner import Armed, Scanner

_LONG = 100_000
"""Characters from which a scan may take long enough to leave the event loop to others."""

_STRICTEST: tuple[Action, ...] = ("block", "ask", "redact")


class Guards:
    """The compiled rules of one agent.

    Each method gives the combined verdict of all rules at its place: block
    before ask before redact before allow. Its `text` is the one to go on with,
    and its `reason` names rules and kinds, never what was found.
    """

    def __init__(self, rules: Sequence[Rule], judge: Judge | None = None) -> None:
        """Sort the rules by seat; `judge` is who is asked by those that ask."""
        self._rules = tuple(rules)
        self._judge = judge
        self._armed: dict[Seat, tuple[Armed, ...]] = {
            seat: tuple(
                Armed(rule.name, rule.actions[seat], finder)
                for rule in self._rules
                for finder in rule.finders.get(seat, ())
            )
            for seat in ("input", "tool_call", "tool_result", "output")
        }
        self.has_input = self._has("input")
        self.has_tools = self._has("tool_call") or self._has("tool_result")
        self.has_output = self._has("output")
        self.output_asks = any(rule.actions.get("output") == "ask" for rule in self._rules)
        """Whether a person may have to see an output before anything of it leaves."""
        self.asks_judge = any(rule.asks_judge for rule in self._rules)
        """Whether a model may have to be asked."""

    def judged_by(self, judge: Judge) -> "Guards":
        """Give the same rules with somebody else to ask."""
        other = copy(self)
        other._judge = judge  # noqa: SLF001 - its own class
        return other

    def _has(self, seat: Seat) -> bool:
        return any(seat in rule.actions for rule in self._rules)

    @property
    def holdback(self) -> int | None:
        """Characters of output that are kept back at most while it streams; `None` means all of them."""
        each = [rule.holdback for rule in self._rules if "output" in rule.actions]
        return None if None in each else max((h for h in each if h is not None), default=0)

    async def input(self, text: str) -> Verdict:
        """Decide on what a user says."""
        return await self._decide("input", "", text) if self.has_input else Verdict("allow", text)

    async def tool_call(self, name: str, arguments: str) -> Verdict:
        """Decide on the arguments of a call, JSON text that stays JSON."""
        return await self._decide("tool_call", name, arguments) if self.has_tools else Verdict("allow", arguments)

    async def tool_result(self, name: str, content: str) -> Verdict:
        """Decide on what a tool answered; a JSON document stays one."""
        return await self._decide("tool_result", name, content) if self.has_tools else Verdict("allow", content)

    async def output(self, text: str, *, answer: bool = True) -> Verdict:
        """Decide on what the model says; `answer` is false for thoughts and for words beside a tool call."""
        return await self._decide("output", "", text, answer=answer) if self.has_output else Verdict("allow", text)

    def gate(self) -> "Gate":
        """Open a gate for one streamed output."""
        return Gate(self, Scanner(self._armed["output"]) if self.holdback else None)

    async def _decide(self, seat: Seat, tool: str, text: str, *, answer: bool = True) -> Verdict:
        """Ask the patterns first, so that a judge never sees what they take out."""
        if len(text) > _LONG:
            scanner, text = await asyncio.to_thread(self._scan, seat, text)
        else:
            scanner, text = self._scan(seat, text)
        reasons: dict[Action, list[str]] = {action: list(found) for action, found in scanner.hits.items()}
        for rule in self._rules:
            if reasons.get("block"):
                break
            check = rule.checks.get(seat)
            if check is None or not text or (rule.answers_only and not answer):
                continue
            verdict = await check(tool, text, self._judge)
            text = verdict.text
            if verdict.action != "allow":
                reasons.setdefault(verdict.action, []).append(verdict.reason)
        for action in _STRICTEST:
            if action in reasons:
                return Verdict(action, text, "; ".join(reasons[action]))
        return Verdict("allow", text)

    def _scan(self, seat: Seat, text: str) -> tuple[Scanner, str]:
        armed = self._armed[seat]
        scanner = Scanner(armed)
        if not armed:
            return scanner, text
        document = documents.read(text) if seat in ("tool_call", "tool_result") else None
        if document is None:
            return scanner, scanner.feed(text, last=True)

        def change(value: str) -> str:
            inner = Scanner(armed)
            out = inner.feed(value, last=True)
            scanner.hits.update({a: {**scanner.hits.get(a, {}), **found} for a, found in inner.hits.items()})
            return out

        changed = documents.rewrite(document, change)
        return scanner, text if changed == document else documents.write(changed)


class Gate:
    """Lets a streamed output through, without anything that must be blocked or redacted."""

    def __init__(self, guards: Guards, scanner: Scanner | None) -> None:
        """Choose between passing, holding back a little by a scanner, and holding everything."""
        self._guards = guards
        self._scanner = scanner
        self._whole = guards.holdback is None
        self._held: list[str] = []

    async def feed(self, text: str) -> str:
        """Give what may leave now; raises `GuardrailBlocked`."""
        if self._whole:
            self._held.append(text)
            return ""
        return text if self._scanner is None else self._passed(self._scanner, text, last=False)

    async def finish(self, *, answer: bool = True) -> str:
        """Give the rest; raises `GuardrailBlocked`, also where a person would have to be asked.

        `answer` is false for thoughts and for words beside a tool call.
        """
        if not self._whole:
            return "" if self._scanner is None else self._passed(self._scanner, "", last=True)
        verdict = await self._guards.output("".join(self._held), answer=answer)
        if verdict.action in ("block", "ask"):
            raise GuardrailBlocked(verdict.reason)
        return verdict.text

    def _passed(self, scanner: Scanner, text: str, *, last: bool) -> str:
        out = scanner.feed(text, last=last)
        if "block" in scanner.hits:
            raise GuardrailBlocked("; ".join(scanner.hits["block"]))
        return out
