"""JSON Schemas that a message, an answer or a tool's arguments have to meet (S58)."""

from typing import Any

import msgspec

from agent_factory.core.agent import GuardrailUse, Strict
from agent_factory.core.guardrail import Action, Verdict
from agent_factory.core.schema import Schema
from agent_factory.kit.errors import FieldError, Invalid
from agent_factory.runtime.guardrails.rule import Check, Judge, Rule, Seat, actions, refuse_redact

_SHOWN = 5
"""Faults in a reason; the first ones say enough."""


class Config(Strict):
    """A JSON Schema for the `input`, for the `output`, and for the arguments of each of the `tools` by name."""

    input: dict[str, Any] | None = None
    output: dict[str, Any] | None = None
    tools: dict[str, dict[str, Any]] | None = None


def compile_schema(use: GuardrailUse, config: Config, at: str) -> Rule:
    """Compile; by default what does not match is blocked, wherever a schema is given."""
    refuse_redact(use, at)
    schemas: dict[Seat, dict[str, Schema]] = {}
    if config.input is not None:
        schemas["input"] = {"": Schema(config.input, at=f"{at}/config/input")}
    if config.output is not None:
        schemas["output"] = {"": Schema(config.output, at=f"{at}/config/output")}
    if config.tools:
        schemas["tool_call"] = {
            name: Schema(schema, at=f"{at}/config/tools/{name}") for name, schema in config.tools.items()
        }
    if not schemas:
        raise Invalid(
            "The guardrail 'schema' has no schema.", errors=[FieldError(f"{at}/config", "set input, output or tools")]
        )
    seats = actions(use, dict.fromkeys(schemas, "block"))
    checks: dict[Seat, Check] = {seat: _check(schemas[seat], action) for seat, action in seats.items()}
    return Rule(name="schema", actions=seats, checks=checks, answers_only=True)


def _check(schemas: dict[str, Schema], action: Action) -> Check:
    async def check(tool: str, text: str, _judge: Judge | None) -> Verdict:
        schema = schemas.get(tool)
        if schema is None:
            return Verdict("allow", text)
        faults = _faults(schema, text)
        return Verdict(action, text, f"schema ({'; '.join(faults)})") if faults else Verdict("allow", text)

    return check


def _faults(schema: Schema, text: str) -> list[str]:
    try:
        document = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return ["not JSON"]
    return [f"at {fault.pointer or '/'}: {fault.detail}" for fault in schema.faults(document)[:_SHOWN]]
