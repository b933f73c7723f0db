"""What a run spends: taken from the limits that bind it before each call, settled after it (S207-S209)."""

from collections.abc import Sequence
from decimal import Decimal

import msgspec

from agent_factory.core.model import (
    Embedder,
    Embeddings,
    ModelAuthFailed,
    ModelError,
    ModelRateLimited,
    ModelRejected,
    ModelRequest,
    ModelResponse,
    ModelUnavailable,
    Usage,
)
from agent_factory.enterprise.multitenancy.errors import LimitReached
from agent_factory.enterprise.multitenancy.ledger import Call, Ledger, Reservation
from agent_factory.enterprise.multitenancy.limits import MOST, Amounts, Metric, Spender
from agent_factory.runtime.memory import count_tokens
from agent_factory.runtime.models import ResolvedModel
from agent_factory.runtime.prices import cost

_LONGEST = 16_384
"""Tokens of an answer where neither the request nor the model's window says how long it may be."""

_FEWEST = 256
"""Tokens of an answer below which a call is not worth making with what is left."""

_MARGIN = 1.1
"""Our count of a request leans upwards already; vendors add marks of their own."""

_UNBILLED = (ModelRateLimited, ModelAuthFailed, ModelRejected, ModelUnavailable)
"""Vendors that refuse a request, or are away, bill nothing. Of all others nobody knows."""


class _Bound(msgspec.Struct, frozen=True):
    """The most that a call may use."""

    input_tokens: int
    output_tokens: int
    cost_usd: Decimal | None
    fixed_usd: Decimal

    @property
    def amounts(self) -> dict[Metric, Decimal]:
        found = {Metric.TOKENS: Decimal(self.input_tokens + self.output_tokens)}
        if self.cost_usd:
            found[Metric.USD] = self.cost_usd
        return found

    def fitting(self, rooms: Amounts) -> int:
        """Give how many tokens of an answer still fit."""
        fits = int(rooms.get(Metric.TOKENS, MOST)) - self.input_tokens
        if self.cost_usd and Metric.USD in rooms:
            each = (self.cost_usd - self.fixed_usd) / self.output_tokens
            left = rooms[Metric.USD] - self.fixed_usd
            fits = min(fits, int(left / each) if each else fits if left >= 0 else 0)
        return min(fits, self.output_tokens)


class Bill:
    """One model call that limits apply to: `request` is what may be asked, an end is told exactly once."""

    def __init__(
        self, ledger: Ledger, held: Reservation, request: ModelRequest, model: ResolvedModel, input_tokens: int
    ) -> None:
        """Hold a reservation."""
        self.request = request
        self._input_tokens = input_tokens
        self._ledger = ledger
        self._held = held
        self._model = model

    async def paid(self, response: ModelResponse, *, recorded: bool) -> None:
        """Settle what an answer used; `recorded` says whether a step of the run tells of it."""
        usage = response.usage
        if not usage.total_tokens:  # not every server tells; what it does not tell is estimated
            usage = Usage(self._input_tokens, count_tokens(response.message))
        price = cost(response.model or self.request.model, self._model.provider.name, usage)
        if usage.input_tokens < 0 or usage.output_tokens < 0 or usage.total_tokens > MOST or (price or 0) > MOST:
            await self._ledger.forfeit(self._held)  # a vendor that reports nonsense is believed nothing
            return
        used = {Metric.TOKENS: usage.total_tokens, Metric.USD: price or 0}
        told = None if recorded else Call(self._model.name, usage.input_tokens, usage.output_tokens, price)
        await self._ledger.settle(self._held, used, told=told)

    async def failed(self, error: ModelError) -> None:
        """Settle a call without an answer: for nothing where the vendor bills nothing, else whole."""
        if isinstance(error, _UNBILLED):
            await self._ledger.release(self._held)
        else:
            await self._ledger.forfeit(self._held)

    def lost(self) -> None:
        """Settle a call that is given up, without waiting: whole, for nobody knows how far the model came."""
        self._ledger.settle_soon(self._held, None)


class Spending:
    """What one run uses, in the name of the agents at work in it."""

    def __init__(self, ledger: Ledger, spender: Spender, prefix: str = "") -> None:
        """Name the spender; `prefix` is where in the run's journal its steps stand."""
        self._ledger = ledger
        self._spender = spender
        self._prefix = prefix

    def of(self, *names: str) -> "Spending":
        """Give the same for an agent that joins in the run's work; `names` are all that it is called there."""
        agents = tuple(dict.fromkeys((*self._spender.agents, *names)))
        return Spending(self._ledger, msgspec.structs.replace(self._spender, agents=agents), self._prefix)

    def at(self, prefix: str) -> "Spending":
        """Give the same for steps that stand below a path of the run's journal."""
        return Spending(self._ledger, self._spender, prefix)

    async def bill(self, path: str, request: ModelRequest, model: ResolvedModel) -> Bill | None:
        """Take the most that a call may use; None where no limit applies.

        Where too little is left for the longest answer, a shorter one is asked
        for. Raises `BudgetExceeded` or `QuotaExceeded`.
        """
        limits = await self._ledger.binding(self._spender)
        if not any(limit.metric in (Metric.TOKENS, Metric.USD) for limit in limits):
            return None
        bound = _bound(request, model, _longest(request, model))
        try:
            return await self._taken(path, request, model, bound)
        except LimitReached as reached:
            fits = bound.fitting(reached.rooms)
            if fits < min(_FEWEST, bound.output_tokens) or fits == bound.output_tokens:
                raise
        return await self._taken(path, request, model, _bound(request, model, fits))

    async def calls(self, path: str, count: int) -> None:
        """Count calls of tools; raises `BudgetExceeded` where not all of them may be made."""
        held = await self._ledger.reserve(self._spender, {Metric.TOOL_CALLS: count}, path=self._prefix + path)
        if held is not None:
            await self._ledger.settle(held, held.amounts)

    async def _taken(self, path: str, request: ModelRequest, model: ResolvedModel, bound: _Bound) -> Bill | None:
        call = Call(model.name, bound.input_tokens, bound.output_tokens, bound.cost_usd)
        held = await self._ledger.reserve(self._spender, bound.amounts, path=self._prefix + path, call=call)
        if held is None:
            return None
        settings = request.settings.model_copy(update={"max_tokens": bound.output_tokens})
        bounded = msgspec.structs.replace(request, settings=settings)
        return Bill(self._ledger, held, bounded, model, bound.input_tokens)


async def embed(
    ledger: Ledger, spender: Spender, model: ResolvedModel, texts: Sequence[str], dimensions: int | None
) -> Embeddings:
    """Turn texts into vectors, held against the limits of whoever asks.

    Raises `ModelError`, `BudgetExceeded` or `QuotaExceeded`; the model's
    provider has to be an `Embedder`.
    """
    assert isinstance(model.provider, Embedder)
    tokens = int(sum(map(count_tokens, texts)) * _MARGIN) + 1
    most = Call(model.name, tokens, 0, cost(model.model, model.provider.name, Usage(tokens)))
    held = await ledger.reserve(spender, {Metric.TOKENS: tokens, Metric.USD: most.cost_usd or 0}, call=most)
    try:
        made = await model.provider.embed(model.model, texts, dimensions)
    except BaseException as error:
        if held is not None:
            ledger.settle_soon(held, {} if isinstance(error, _UNBILLED) else None)
        raise
    if held is not None:
        counted = made.tokens or tokens
        used = Call(model.name, counted, 0, cost(made.model, model.provider.name, Usage(counted)))
        await ledger.settle(held, {Metric.TOKENS: counted, Metric.USD: used.cost_usd or 0}, told=used)
    return made


def _longest(request: ModelRequest, model: ResolvedModel) -> int:
    return request.settings.max_tokens or min(_LONGEST, model.window or _LONGEST)


def _bound(request: ModelRequest, model: ResolvedModel, output_tokens: int) -> _Bound:
    carried = msgspec.json.encode((request.tools, request.output)).decode()
    counted = count_tokens(request.instructions) + count_tokens(carried) + sum(map(count_tokens, request.messages))
    tokens = int(counted * _MARGIN) + 1
    whole, fixed = (_most_usd(request, model, tokens, out) for out in (output_tokens, 0))
    return _Bound(tokens, output_tokens, whole, fixed or Decimal(0))


def _most_usd(request: ModelRequest, model: ResolvedModel, tokens: int, output_tokens: int) -> Decimal | None:
    """Give the price of a call, or of one that also fills a cache if that is dearer; None where it is unknown."""
    usages = Usage(tokens, output_tokens), Usage(tokens, output_tokens, cache_write_tokens=tokens)
    prices = [cost(request.model, model.provider.name, usage) for usage in usages]
    return max((price for price in prices if price is not None), default=None)
