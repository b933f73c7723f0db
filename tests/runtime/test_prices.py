"""What a call costs, to the last digit (S119)."""

from decimal import Decimal

import pytest
from genai_prices import Usage as Counted
from genai_prices import calc_price
from hypothesis import given
from hypothesis import strategies as st

from agent_factory.core.model import Usage
from agent_factory.runtime.prices import cost


def test_a_known_model_costs_what_its_vendor_says() -> None:
    assert cost("gpt-4o-2024-08-06", "openai", Usage(1000, 100)) == Decimal("0.0035")
    assert cost("claude-sonnet-4-5", "anthropic", Usage(100_000, 0)) == Decimal("0.3")


def test_cached_tokens_cost_less_and_written_ones_more() -> None:
    plain = cost("claude-sonnet-4-5", "anthropic", Usage(100_000, 0))
    cached = cost("claude-sonnet-4-5", "anthropic", Usage(100_000, 0, cached_tokens=100_000))
    written = cost("claude-sonnet-4-5", "anthropic", Usage(100_000, 0, cache_write_tokens=100_000))
    assert plain is not None
    assert cached == plain / 10
    assert written == plain * Decimal("1.25")


def test_what_nobody_knows_has_no_price() -> None:
    assert cost("never-heard-of", "openai", Usage(1, 1)) is None
    assert cost("gpt-4o", "my-own-server", Usage(1, 1)) is None


def test_what_runs_here_costs_nothing() -> None:
    assert cost("demo", "demo", Usage(10**9, 10**9)) == 0
    assert cost("llama3.2", "ollama", Usage(10**9, 10**9)) == 0


def test_no_usage_costs_nothing() -> None:
    assert cost("gpt-4o", "openai", Usage()) == 0


MODELS = [
    ("gpt-4o", "openai"),
    ("claude-sonnet-4-5", "anthropic"),
    ("gemini-2.5-pro", "google"),
    ("gpt-5-mini", "openai"),
]


@pytest.mark.parametrize(("model", "provider"), MODELS)
@given(fresh=st.integers(0, 300_000), cached=st.integers(0, 50_000), output=st.integers(0, 100_000))
def test_the_quick_way_gives_the_exact_price(model: str, provider: str, fresh: int, cached: int, output: int) -> None:
    counted = Counted(input_tokens=fresh + cached, cache_read_tokens=cached, output_tokens=output)
    exact = calc_price(counted, model_ref=model, provider_id=provider).total_price
    assert cost(model, provider, Usage(fresh + cached, output, cached)) == exact
