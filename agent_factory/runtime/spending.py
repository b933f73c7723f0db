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
from agent_factory.runtime.counting import MOST_OF_A_CALL, believed, request_tokens, text_tokens
from agent_factory.runtime.models import ResolvedModel
from agent_factory.runtime.prices import check_priced, price_of

_LONGEST = 16_384
"""Tokens of an answer where neither the request nor the model's window says how long it may be."""

_FEWEST = 256
"""Tokens of an answer below which a call is not worth making with what is left."""

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
    """One model call: `request` is what may be asked, an end is told exactly once.

    What no step of the run tells of is told here, whether a limit applies or not.
    """

    def __init__(
        self, ledger: Ledger, spender: Spender, held: Reservation | None, request: ModelRequest, model: ResolvedModel
    ) -> None:
        """Hold a reservation, or nothing where no limit applies."""
        self.request = request
        self._ledger = ledger
        self._spender = spender
        self._held = held
        self._model = model

    async def paid(self, response: ModelResponse, *, recorded: bool) -> None:
        """Settle what an answer used; `recorded` says whether a step of the run tells of it."""
        usage = response.usage
        price = price_of(self._model, usage, response.model)
        used = Call(self._model.name, usage.input_tokens, usage.output_tokens, price)
        if self._held is not None:
            amounts = {Metric.TOKENS: usage.total_tokens, Metric.USD: price or 0}
            await self._ledger.settle(self._held, amounts, told=None if recorded else used)
        elif not recorded:
            await self._ledger.tell(self._spender, used)

    async def failed(self, error: ModelError) -> None:
        """Settle a call without an answer: for nothing where the vendor bills nothing, else whole."""
        if self._held is None:
            return
        if _unbilled(error):
            await self._ledger.release(self._held)
        else:
            await self._ledger.forfeit(self._held)

    def lost(self) -> None:
        """Settle a call that is given up, without waiting: whole, for nobody knows how far the model came."""
        if self._held is not None:
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

    async def bill(self, path: str | None, request: ModelRequest, model: ResolvedModel) -> Bill:
        """Take the most that a call may use; `path` is the step that is going to tell of it, if any.

        Where too little is left for the longest answer, a shorter one is asked
        for. Raises `BudgetExceeded` or `QuotaExceeded`, and `ModelUnpriced` for
        what no limit of money could hold.
        """
        metrics = {limit.metric for limit in await self._ledger.binding(self._spender)}
        if Metric.USD in metrics:
            check_priced(model)
        if metrics.isdisjoint((Metric.TOKENS, Metric.USD)):
            return Bill(self._ledger, self._spender, None, request, model)
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

    async def _taken(self, path: str | None, request: ModelRequest, model: ResolvedModel, bound: _Bound) -> Bill:
        call = Call(model.name, bound.input_tokens, bound.output_tokens, bound.cost_usd)
        place = None if path is None else self._prefix + path
        held = await self._ledger.reserve(self._spender, bound.amounts, path=place, call=call)
        if held is not None:
            settings = request.settings.model_copy(update={"max_tokens": bound.output_tokens})
            request = msgspec.structs.replace(request, settings=settings)
        return Bill(self._ledger, self._spender, held, request, model)


async def embed(
    ledger: Ledger, spender: Spender, model: ResolvedModel, texts: Sequence[str], dimensions: int | None
) -> Embeddings:
    """Turn texts into vectors, held against the limits of whoever asks.

    Raises `ModelError`, `BudgetExceeded`, `QuotaExceeded` or `ModelUnpriced`;
    the model's provider has to be an `Embedder`.
    """
    assert isinstance(model.provider, Embedder)
    if any(limit.metric is Metric.USD for limit in await ledger.binding(spender)):
        check_priced(model)
    tokens = text_tokens(*texts)
    most = Call(model.name, tokens, 0, price_of(model, Usage(tokens)))
    held = await ledger.reserve(spender, {Metric.TOKENS: tokens, Metric.USD: most.cost_usd or 0}, call=most)
    try:
        made = await model.provider.embed(model.model, texts, dimensions)
    except BaseException as error:
        if held is not None:
            ledger.settle_soon(held, {} if _unbilled(error) else None)
        raise
    sent = believed(made.tokens) or tokens
    used = Call(model.name, sent, 0, price_of(model, Usage(sent), made.model))
    if held is None:
        await ledger.tell(spender, used)
    else:
        await ledger.settle(held, {Metric.TOKENS: sent, Metric.USD: used.cost_usd or 0}, told=used)
    return made


def _unbilled(error: BaseException) -> bool:
    return isinstance(error, _UNBILLED) and not error.begun


def _longest(request: ModelRequest, model: ResolvedModel) -> int:
    asked = request.settings.max_tokens or min(_LONGEST, model.window or _LONGEST)
    return min(asked, MOST_OF_A_CALL)


def _bound(request: ModelRequest, model: ResolvedModel, output_tokens: int) -> _Bound:
    tokens = request_tokens(request)
    whole, fixed = (_most_usd(model, tokens, out) for out in (output_tokens, 0))
    return _Bound(tokens, output_tokens, whole, fixed or Decimal(0))


def _most_usd(model: ResolvedModel, tokens: int, output_tokens: int) -> Decimal | None:
    """Give the price of a call, or of one that also fills a cache if that is dearer; None where it is unknown."""
    usages = Usage(tokens, output_tokens), Usage(tokens, output_tokens, cache_write_tokens=tokens)
    prices = [price_of(model, usage) for usage in usages]
    return max((price for price in prices if price is not None), default=None)
