"""Writes out what templates make, within bounds."""

from collections.abc import Mapping
from typing import Any

import msgspec
import pydantic

from agent_factory.core.agent import Strict
from agent_factory.core.functions import weighed
from agent_factory.core.graph import Node
from agent_factory.core.schema import refused
from agent_factory.core.task import CONFIGS, TEMPLATED
from agent_factory.core.template import Renderer
from agent_factory.runtime.flow.context import FlowContext
from agent_factory.runtime.flow.outcome import FlowLimit, TaskError
from agent_factory.runtime.flow.variables import Variables, to_json


def bounded(context: FlowContext, renderer: Renderer, variables: Variables) -> Any:  # noqa: ANN401 - any JSON value
    """Write a template; what would become larger than a run may load is a `FlowLimit`."""
    value = renderer(variables)
    try:
        weighed(value, context.limits.load_bytes)
    except ValueError as error:
        raise FlowLimit(f"A template is too large: {error}.") from None
    return value


def written(context: FlowContext, node: Node, variables: Variables) -> dict[str, Any]:
    """Write the fields of a task's config that are templates."""
    if node.texts.config is not None:
        return bounded(context, node.texts.config, variables)
    fields = TEMPLATED.get(node.task.type, frozenset())
    return {k: v for k, v in node.task.config.items() if k in fields}


def config_of(context: FlowContext, node: Node, variables: Variables) -> tuple[Mapping[str, Any], Strict]:
    """Write a task's config; gives it as plain data and as the shape of its type."""
    raw = node.task.config
    if node.texts.config is None and node.config is not None:
        return raw, node.config
    rendered = {**raw, **written(context, node, variables)}
    try:
        return rendered, CONFIGS[node.task.type].model_validate(rendered)
    except pydantic.ValidationError as error:
        faults = refused(error, at="/config").errors
        told = "; ".join(f"{f.pointer}: {f.detail}" for f in faults[:5])
        raise TaskError(f"What the expressions gave does not fit: {told}.", errors=faults) from None


def plain(value: Any) -> Any:  # noqa: ANN401 - whatever a leaf returned
    """Turn a leaf's output into what its JSON says, so that a restart sees the same."""
    return msgspec.json.decode(to_json(value))


def preview(value: Any, most: int) -> msgspec.Raw:  # noqa: ANN401 - any JSON value
    """Write a value for people to look at; of a large one only the beginning."""
    data = to_json(value)
    if len(data) > most:
        data = msgspec.json.encode({"$preview": data[:most].decode(errors="ignore"), "bytes": len(data)})
    return msgspec.Raw(data)
