"""Guardrails: what may go in, out and to tools, also while it streams (S58, S74)."""

from collections.abc import Sequence

from agent_factory.core.agent import GuardrailUse
from agent_factory.core.schema import parse
from agent_factory.runtime.guardrails import injection, pii, secrets, shape, topics
from agent_factory.runtime.guardrails.guards import Gate, Guards
from agent_factory.runtime.guardrails.rule import Judge, Rule

__all__ = ["Gate", "Guards", "Judge", "compile_guardrails"]


def compile_guardrails(uses: Sequence[GuardrailUse], judge: Judge | None = None) -> Guards:
    """Compile an agent's rules; every fault is `Invalid` with a pointer below `/guardrails`.

    `judge` asks a model; only the rule `topics` needs one, and `Guards.judged_by` may give it later.
    """
    return Guards([_compile(use, f"/guardrails/{index}") for index, use in enumerate(uses)], judge)


def _compile(use: GuardrailUse, at: str) -> Rule:
    match use.use:
        case "pii":
            return pii.compile_pii(use, parse(pii.Config, use.config, at=f"{at}/config"))
        case "secrets":
            return secrets.compile_secrets(use, parse(secrets.Config, use.config, at=f"{at}/config"))
        case "injection":
            return injection.compile_injection(use, parse(injection.Config, use.config, at=f"{at}/config"))
        case "schema":
            return shape.compile_schema(use, parse(shape.Config, use.config, at=f"{at}/config"), at)
        case "topics":
            return topics.compile_topics(use, parse(topics.Config, use.config, at=f"{at}/config"), at)
