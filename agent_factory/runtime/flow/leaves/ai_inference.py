"""One model call, with one repair where the answer has to meet a schema (S101)."""

from typing import Any, cast

from agent_factory.core.agent import Agent, Limits
from agent_factory.core.message import user
from agent_factory.core.task import AiInference
from agent_factory.runtime.compile import compile_agent
from agent_factory.runtime.flow.context import TaskCall
from agent_factory.runtime.flow.leaves.reach import resources_of
from agent_factory.runtime.flow.leaves.turns import answer_of, take_turn

_NAME = "ai_inference"
_SECONDS = 3_600.0
"""The longest that call and repair may take together; a task's own `timeout` is usually shorter."""


async def ai_inference(call: TaskCall) -> Any:  # noqa: ANN401 - any JSON value
    """Ask a model; give `{text, finish, usage, cost_usd}`, or the document that `output_schema` asks for.

    `usage` has `input_tokens`, `output_tokens`, `total_tokens` and, where the
    vendor tells them, cached and reasoning ones; `cost_usd` is a decimal text,
    null where the price is unknown. An answer that does not meet the schema is
    sent back once with its faults; after that the task fails as `output_invalid`.
    """
    config = cast("AiInference", call.config)
    own = {k: v for k in ("max_tokens", "temperature") if (v := getattr(config, k)) is not None}
    agent = Agent(
        name=_NAME,
        model=config.model,
        instructions=config.system,
        output=config.output_schema,
        settings=config.settings.model_copy(update=own),
        limits=Limits(steps=2, seconds=_SECONDS),
    )
    compiled = await compile_agent(agent, resources_of(call), organization_id=call.context.organization_id)
    return answer_of(await take_turn(call, compiled, user(config.prompt), call.place), compiled)
