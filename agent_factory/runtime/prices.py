"""What a model call costs."""

from decimal import Decimal
from functools import lru_cache
from importlib import import_module
from typing import Any

import msgspec

from agent_factory.core.model import Usage
from agent_factory.kit.clock import now
from agent_factory.kit.errors import Kind, Problem
from agent_factory.runtime.models import Price, ResolvedModel

_FREE = frozenset({"demo", "ollama"})
_VENDORS = {"hf": "huggingface", "pydantic-ai": None}
_PLAIN = 100_000
"""Input tokens up to which a price is the same for each token; vendors' dearer tiers begin above."""
_PROBE = 1000
_MILLION = 1_000_000


class _Rates(msgspec.Struct, frozen=True):
    """USD a token; `exact` says that they do not add up and each usage has to be priced by itself."""

    fresh: Decimal = Decimal(0)
    cached: Decimal = Decimal(0)
    written: Decimal = Decimal(0)
    output: Decimal = Decimal(0)
    exact: bool = False


class ModelUnpriced(Problem):
    """Money is limited, and nobody knows what this model costs."""

    kind = Kind.BUDGET
    code = "model_unpriced"
    title = "The price of the model is not known"


def price_of(model: ResolvedModel, usage: Usage, reported: str = "") -> Decimal | None:
    """Give the price of a usage in USD, or None where no price is known.

    It is the operator's, else the vendor's for the model that it has
    `reported`, else the vendor's for the one that was asked for.
    """
    if model.price is not None:
        return _by_rates(model.price, usage)
    price = cost(reported, model.provider.name, usage) if reported else None
    return cost(model.model, model.provider.name, usage) if price is None else price


def check_priced(model: ResolvedModel) -> None:
    """Raise `ModelUnpriced` for a model that would go past every limit of money."""
    if price_of(model, Usage(1, 1)) is None:
        raise ModelUnpriced(
            f"Money is limited here, and nobody knows what {model.name} costs. Use another model, or let the operator "
            f'set its price: AF_MODELS__PRICES=\'{{"{model.name}": {{"input": …, "output": …}}}}\', in USD for a '
            "million tokens."
        )


def _by_rates(price: Price, usage: Usage) -> Decimal:
    cached = price.input if price.cached_input is None else price.cached_input
    fresh = usage.input_tokens - usage.cached_tokens
    return (fresh * price.input + usage.cached_tokens * cached + usage.output_tokens * price.output) / _MILLION


def cost(model: str, provider: str, usage: Usage) -> Decimal | None:
    """Give a vendor's price of a usage in USD, or None where no price is known.

    `model` is the vendor's name of it, `provider` ours.
    """
    if provider in _FREE:
        return Decimal(0)
    rates = _rates(model, provider, int(now().timestamp() // 3600))
    if rates is None:
        return None
    fresh = usage.input_tokens - usage.cached_tokens - usage.cache_write_tokens
    if rates.exact or fresh < 0 or usage.input_tokens > _PLAIN:
        return _priced(model, provider, usage)
    return (
        fresh * rates.fresh
        + usage.cached_tokens * rates.cached
        + usage.cache_write_tokens * rates.written
        + usage.output_tokens * rates.output
    )


@lru_cache(maxsize=2048)
def _rates(model: str, provider: str, hour: int) -> _Rates | None:  # noqa: ARG001 - prices change with the hours
    """Find what each kind of token costs, for a whole pricing takes 150 µs and this one none."""
    probes = (
        Usage(_PROBE),
        Usage(_PROBE, cached_tokens=_PROBE),
        Usage(_PROBE, cache_write_tokens=_PROBE),
        Usage(output_tokens=_PROBE),
    )
    priced = [_priced(model, provider, usage) for usage in probes]
    whole = _priced(model, provider, Usage(_PLAIN, _PLAIN, _PLAIN // 4, _PLAIN // 4))
    fresh, cached, written, output = (None if p is None else p / _PROBE for p in priced)
    if fresh is None or cached is None or written is None or output is None or whole is None:
        return None
    adds_up = whole == _PLAIN // 2 * fresh + _PLAIN // 4 * (cached + written) + _PLAIN * output
    return _Rates(fresh, cached, written, output, exact=not adds_up)


def _priced(model: str, provider: str, usage: Usage) -> Decimal | None:
    prices: Any = import_module("genai_prices")  # its tables take 0.2 s to load: only who needs a price pays
    counted = prices.Usage(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cache_read_tokens=usage.cached_tokens or None,
        cache_write_tokens=usage.cache_write_tokens or None,
    )
    try:
        found = prices.calc_price(counted, model_ref=model, provider_id=_VENDORS.get(provider, provider))
    except (LookupError, ValueError):
        return None
    return Decimal(found.total_price)
