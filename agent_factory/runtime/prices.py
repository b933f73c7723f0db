"""What a model call costs."""

from decimal import Decimal
from importlib import import_module
from typing import Any

from agent_factory.core.model import Usage

_FREE = frozenset({"demo", "ollama"})
_VENDORS = {"hf": "huggingface"}


def cost(model: str, provider: str, usage: Usage) -> Decimal | None:
    """Give the price of a usage in USD, or None where no price is known.

    `model` is the name that the vendor reports, `provider` ours.
    """
    if provider in _FREE:
        return Decimal(0)
    prices: Any = import_module("genai_prices")  # its data takes 30 ms to load: only who needs a price pays
    counted = prices.Usage(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cache_read_tokens=usage.cached_tokens or None,
        cache_write_tokens=usage.cache_write_tokens or None,
    )
    try:
        found = prices.calc_price(counted, model_ref=model, provider_id=_VENDORS.get(provider, provider))
    except LookupError:
        return None
    return Decimal(found.total_price)
