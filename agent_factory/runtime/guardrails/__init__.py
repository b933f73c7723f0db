"""Guardrails: what may go in, out and to tools, also while it streams (S58, S74)."""

from collections.abc import Sequence
from typing import TypeVar

import pydantic

from agent_factory.core.agent import GuardrailUse, Strict, invalid
from agent_factory.runtime.guardrails import injection, pii, secrets, shape, topics
from agent_factory.runtime.guardrails.guards import Gate, Guards
from agent_factory.runtime.guardrails.rule import Judge, Rule

__all__ = ["Gate", "Guards", "Judge", "compile_guardrails"]


def compile_guardrails(uses: Sequence[GuardrailUse], judge: Judge | None) -> Guards:
    """Compile an agent's rules; every fault is `Invalid` with a pointer below `/guardrails`.

    `judge` asks a model; only the rule `topics` needs one.
    """
    return Guards([_compile(use, judge, f"/guardrails/{index}") for index, use in enumerate(uses)])


def _compile(use: GuardrailUse, judge: Judge | None, at: str) -> Rule:
    match use.use:
        case "pii":
            return pii.compile_pii(use, _read(pii.Config, use, at))
        case "secrets":
            return secrets.compile_secrets(use, _read(secrets.Config, use, at))
        case "injection":
            return injection.compile_injection(use, _read(injection.Config, use, at))
        case "schema":
            return shape.compile_schema(use, _read(shape.Config, use, at), at)
        case "topics":
            return topics.compile_topics(use, _read(topics.Config, use, at), judge, at)


C = TypeVar("C", bound=Strict)


def _read(model: type[C], use: GuardrailUse, at: str) -> C:
    try:
        return model.model_validate(use.config)
    except pydantic.ValidationError as error:
        raise invalid(error, f"{at}/config") from None
