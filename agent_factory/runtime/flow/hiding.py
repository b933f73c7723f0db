"""Tasks that touch the world, without the secrets that they used for it."""

from typing import Any

from agent_factory.kit.errors import Problem
from agent_factory.runtime.flow.context import Leaf, TaskCall
from agent_factory.runtime.flow.outcome import Chosen, Ended
from agent_factory.runtime.flow.rendering import plain


async def hiding(leaf: Leaf, call: TaskCall) -> Any:  # noqa: ANN401 - any JSON value
    """Do a task; mask in its output, or in its failure, the values that the organisation's runs have used."""
    context = call.context
    if context.resources is None:
        return await leaf(call)
    redactor = context.resources.redactor
    try:
        result = await leaf(call)
    except Problem as problem:
        redactor.cleanse(problem, context.organization_id)
        raise
    if isinstance(result, Chosen | Ended) or not redactor.knows(context.organization_id):
        return result
    return redactor.document(plain(result), context.organization_id)
