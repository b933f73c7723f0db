"""One call of a tool, by the name of its plugin: the same tools that agents have."""

from copy import copy
from typing import Any, cast

import msgspec

from agent_factory.core.agent import digest
from agent_factory.core.message import user
from agent_factory.core.task import ToolTask
from agent_factory.core.tool import Tool
from agent_factory.kit.errors import FieldError, Invalid, NotFound
from agent_factory.runtime.flow.context import TaskCall
from agent_factory.runtime.flow.leaves.reach import resources_of, tool_context
from agent_factory.runtime.flow.leaves.turns import compiled_agent, take_turn

_LARGEST = 5_000_000
"""Characters of a result: all that a tool may give."""


async def tool(call: TaskCall) -> Any:  # noqa: ANN401 - any JSON value
    """Call a tool; give the object or list that it answers, anything else as the text that it is.

    `tool` names a plugin, and where this makes several tools one of them, as
    in `file/read_file`. The tool gets `{run_id}/{path}` as its idempotency key.
    """
    config = cast("ToolTask", call.config)

    async def make() -> dict[str, Tool]:
        return await _made(call, config)

    tools = await call.context.made.once(("tool", digest([_plugin(config), config.config])), make)
    chosen = _one(tools, config.tool)

    async def run_agent(name: str, message: str) -> str:
        compiled = await compiled_agent(call, name)
        end = await take_turn(call, compiled, user(message), f"{call.place}/agent", called=(name,))
        return end.text

    if call.context.spending is not None:
        await call.context.spending.calls(call.place, 1)
    return _value(await chosen.call(config.arguments, await tool_context(call, run_agent=run_agent)))


async def _made(call: TaskCall, config: ToolTask) -> dict[str, Tool]:
    resources = resources_of(call)
    plugin = resources.tools.get(_plugin(config))
    made = await plugin.build(config.config, None, await tool_context(call))
    return {tool.name: _whole(tool) for tool in made}


def _plugin(config: ToolTask) -> str:
    return config.tool.partition("/")[0]


def _whole(tool: Tool) -> Tool:
    """Give a tool whose results are not cut: what is cut for a model's sake would be broken for a task."""
    whole = copy(tool)
    whole.max_result = _LARGEST
    return whole


def _one(tools: dict[str, Tool], name: str) -> Tool:
    plugin, slash, wanted = name.partition("/")
    if not slash and len(tools) == 1:
        return next(iter(tools.values()))
    if slash and wanted in tools:
        return tools[wanted]
    known = ", ".join(f"{plugin}/{each}" for each in tools) or "none"
    if slash:
        raise NotFound(f"The plugin {plugin!r} makes no tool {wanted!r}; it makes: {known}.")
    fault = FieldError("/config/tool", f"name one of: {known}")
    raise Invalid(f"The plugin {plugin!r} makes {len(tools)} tools; name one of: {known}.", errors=[fault])


def _value(text: str) -> Any:  # noqa: ANN401 - any JSON value
    if text[:1] in ("{", "["):
        try:
            return msgspec.json.decode(text)
        except (msgspec.DecodeError, RecursionError):
            pass
    return text
