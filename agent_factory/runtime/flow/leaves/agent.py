"""One turn of an agent."""

from typing import Any, cast

import msgspec

from agent_factory.core.message import user
from agent_factory.core.task import AgentTask
from agent_factory.runtime.flow.context import TaskCall
from agent_factory.runtime.flow.leaves.turns import answer_of, compiled_agent, take_turn


async def agent(call: TaskCall) -> Any:  # noqa: ANN401 - any JSON value
    """Let an agent answer; give `{text, finish, usage, cost_usd}`, or the document that the agent's schema asks for.

    A message that is no text is written as JSON. What the agent asks people
    waits as an approval; whether they agree or not, the agent goes on.
    """
    config = cast("AgentTask", call.config)
    compiled = await compiled_agent(call, config.agent, config.version)
    message = config.message if isinstance(config.message, str) else msgspec.json.encode(config.message).decode()
    called = (config.agent,) if isinstance(config.agent, str) else ()
    return answer_of(await take_turn(call, compiled, user(message), call.place, called=called), compiled)
