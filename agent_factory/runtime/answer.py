"""One model call of a turn: streamed or not, guarded, retried by error class, journaled."""

import asyncio
import random
import time
from contextlib import aclosing
from typing import TYPE_CHECKING

import msgspec

from agent_factory.core.event import ApprovalNeeded, ModelFinished, ReasoningPiece, Retrying, TextPiece
from agent_factory.core.guardrail import GuardrailBlocked, Verdict
from agent_factory.core.journal import Entry
from agent_factory.core.model import (
    ContentFiltered,
    Done,
    ModelError,
    ModelProtocolError,
    ModelRequest,
    ModelResponse,
    ReasoningDelta,
    TextDelta,
)
from agent_factory.runtime.counting import counted
from agent_factory.runtime.guardrails.guards import Gate
from agent_factory.runtime.masking import masked_response, thought_of, with_words
from agent_factory.runtime.prices import check_priced, price_of
from agent_factory.runtime.scope import Scope, Waiting, decision

if TYPE_CHECKING:
    from agent_factory.runtime.spending import Bill  # which needs a database, as scripts do not

_LONGEST_PAUSE = 60.0
"""Seconds; a vendor that asks for a longer one has failed for this turn."""

_decode = msgspec.json.Decoder(ModelResponse).decode


async def ask_model(scope: Scope, path: str, request: ModelRequest, *, show: bool) -> ModelResponse:
    """Call the turn's model, or take the recorded answer of an earlier attempt.

    With `show`, words leave as events while they arrive, once the output
    guardrails have passed them. Raises the last `ModelError` when all attempts
    failed, and at once when one fails after words have left.
    """
    recorded = scope.journal.get(path)
    if recorded is not None:
        response = _decode(recorded.output)
        scope.meter.add(response.usage, price_of(scope.compiled.model, response.usage, response.model))
        if show and response.message.text:
            scope.emit(TextPiece(response.message.text))
        return response
    started = time.monotonic()
    response = await _attempts(scope, path, request, show=show)
    price = price_of(scope.compiled.model, response.usage, response.model)
    elapsed = int((time.monotonic() - started) * 1000)
    spent = None if price is None else f"{price:f}"
    # Durable only once somebody else is about to act on it: the settling of the turn writes what is last.
    await scope.journal.put(
        Entry(
            path=path,
            kind="model",
            name=scope.compiled.model.name,
            input=msgspec.Raw(b"null"),
            output=msgspec.Raw(msgspec.json.encode(response)),
            duration_ms=elapsed,
            input_tokens=response.usage.input_tokens,
            output_tokens=response.usage.output_tokens,
            cost_usd=spent,
        ),
        durable=False,
    )
    scope.emit(
        ModelFinished(
            path=path,
            message=response.message,
            usage=response.usage,
            model=response.model or request.model,
            provider=scope.compiled.model.provider.name,
            cost_usd=spent,
            duration_ms=elapsed,
        )
    )
    return response


async def _attempts(scope: Scope, path: str, request: ModelRequest, *, show: bool) -> ModelResponse:
    retry = scope.compiled.agent.retry
    if scope.compiled.agent.limits.usd is not None:
        check_priced(scope.compiled.model)
    for attempt in range(1, retry.attempts + 1):
        tap = _Tap(scope, show=show)
        bill = await _billed(scope, path, request)
        try:
            asked = request if bill is None else bill.request
            response = counted(asked, await _once(scope, asked, tap))
        except ModelError as error:
            if bill is not None:
                error.begun = error.begun or tap.begun
                await bill.failed(error)
            pause = _pause(error, retry.backoff, attempt)
            if not error.retryable or attempt == retry.attempts or tap.shown or pause > _most(scope):
                raise
            scope.emit(Retrying(path=path, code=error.code, attempt=attempt, delay=pause))
            await asyncio.sleep(pause)
        except BaseException:
            if bill is not None:
                bill.lost()
            raise
        else:
            return await _passed(scope, path, response, tap, bill)
    raise AssertionError  # the last attempt returns or raises


async def _billed(scope: Scope, path: str, request: ModelRequest) -> "Bill | None":
    spending = scope.context.spending
    return None if spending is None else await spending.bill(path, request, scope.compiled.model)


async def _passed(scope: Scope, path: str, response: ModelResponse, tap: "_Tap", bill: "Bill | None") -> ModelResponse:
    """Give the answer as it may go on; whether it may or not, it is paid for."""
    kept = False
    try:
        if response.finish == "content_filter":
            raise ContentFiltered("The vendor's filter stopped the answer; nothing of it was kept.")
        passed = await _guarded(scope, path, response, tap)
        kept = True
    finally:
        model = scope.compiled.model
        scope.meter.add(response.usage, price_of(model, response.usage, response.model))
        if bill is not None:
            await bill.paid(response, recorded=kept)
    return passed


def _most(scope: Scope) -> float:
    return min(_LONGEST_PAUSE, scope.meter.seconds_left)


def _pause(error: ModelError, backoff: float, attempt: int) -> float:
    # Full jitter over the upper half keeps callers apart that failed together.
    wait = backoff * 2.0 ** (attempt - 1) * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, guards nothing
    return max(wait, error.retry_after or 0.0)


async def _once(scope: Scope, request: ModelRequest, tap: "_Tap") -> ModelResponse:
    provider = scope.compiled.model.provider
    if not scope.context.stream:
        return _masked(scope, await provider.inference(request))
    async with aclosing(provider.stream(request)) as events:
        async for event in events:
            tap.begun = True
            match event:
                case TextDelta(text):
                    await tap.text(text)
                case ReasoningDelta(text):
                    await tap.reasoning(text)
                case Done(response):
                    return await tap.finish(_masked(scope, response))
                case _:
                    pass
    raise ModelProtocolError("The stream ended without a response.")


def _masked(scope: Scope, response: ModelResponse) -> ModelResponse:
    return masked_response(scope.compiled.resources.redactor, scope.context.organization_id, response)


class _Way:
    """One kind of words on their way out: masked first, so that guardrails judge what would be seen."""

    def __init__(self, scope: Scope) -> None:
        guards = scope.compiled.guards
        self._masking = scope.compiled.resources.redactor.stream(scope.context.organization_id)
        self._gate: Gate | None = guards.gate() if guards.has_output else None

    async def feed(self, text: str) -> str:
        if self._masking is not None:
            text = self._masking.feed(text)
        return text if self._gate is None or not text else await self._gate.feed(text)

    async def finish(self, *, answer: bool) -> str:
        """Give the rest."""
        rest = "" if self._masking is None else self._masking.feed("", last=True)
        return rest if self._gate is None else await self._gate.feed(rest) + await self._gate.finish(answer=answer)


class _Tap:
    """Lets a stream's words leave without known secrets, and as soon as the guardrails have passed them."""

    def __init__(self, scope: Scope, *, show: bool) -> None:
        guards = scope.compiled.guards
        self._emit = scope.emit
        self.wanted = show
        self._open = show and not guards.output_asks
        self._guarded = guards.has_output
        self._text = _Way(scope)
        self._reasoning = _Way(scope)
        self._passed: list[str] = []
        self._thought: list[str] = []
        self.settled = False
        self.begun = False
        """Whether anything of an answer has come."""

    @property
    def shown(self) -> bool:
        """Whether words have left."""
        return bool(self._passed)

    async def text(self, text: str) -> None:
        if self._open:
            self._leave(await self._text.feed(text))

    async def reasoning(self, text: str) -> None:
        if self._open:
            self._think(await self._reasoning.feed(text))

    async def finish(self, response: ModelResponse) -> ModelResponse:
        """Let the rest leave, and return the response with the words that did."""
        if not self._open:
            return response
        answer = not response.message.tool_calls
        self._leave(await self._text.finish(answer=answer))
        self._think(await self._reasoning.finish(answer=False))
        if not self._guarded:
            return response
        self.settled = True
        return with_words(response, "".join(self._passed), "".join(self._thought))

    def _leave(self, text: str) -> None:
        if text:
            self._passed.append(text)
            self._emit(TextPiece(text))

    def _think(self, text: str) -> None:
        if text:
            self._thought.append(text)
            self._emit(ReasoningPiece(text))


async def _guarded(scope: Scope, path: str, response: ModelResponse, tap: _Tap) -> ModelResponse:
    """Pass an answer through the output guardrails that has not passed them while it streamed."""
    guards = scope.compiled.guards
    if guards.has_output and not tap.settled:
        answer = not response.message.tool_calls
        text = response.message.text
        if text:
            text = await _pass(scope, path, text, await guards.output(text, answer=answer))
        thought = thought_of(response)
        if thought:
            verdict = await guards.output(thought, answer=False)
            thought = verdict.text if verdict.action in ("allow", "redact") else ""
        response = with_words(response, text, thought)
    text = response.message.text
    if tap.wanted and text and not tap.shown:
        scope.emit(TextPiece(text))
    return response


async def _pass(scope: Scope, path: str, text: str, verdict: Verdict) -> str:
    if verdict.action == "block":
        raise GuardrailBlocked(verdict.reason)
    if verdict.action == "ask":
        said = decision(scope, f"{path}/approval")
        if said is None:
            raise Waiting(ApprovalNeeded(path=f"{path}/approval", reason=verdict.reason, name="output"))
        if not said:
            raise GuardrailBlocked("A person refused to let the answer out.")
        return text
    return verdict.text
