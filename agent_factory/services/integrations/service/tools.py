"""Tools as a person meets them: which there are, and one call to try one."""

import time
from typing import Any

import msgspec

from agent_factory.core.tool import Tool, ToolContext, ToolError, ToolFactory
from agent_factory.kit.errors import FieldError, Invalid, NotFound, Problem
from agent_factory.kit.ids import uuid7
from agent_factory.runtime.compile import Resources
from agent_factory.runtime.doors import own_doors
from agent_factory.runtime.masking import masked_result
from agent_factory.security.auth import Actor
from agent_factory.services.integrations.errors import ToolNotFound


class Invoked(msgspec.Struct, frozen=True):
    """The end of one call."""

    content: str
    is_error: bool
    code: str | None
    duration_ms: int


def tools(resources: Resources) -> list[ToolFactory]:
    """List every tool, by name."""
    return [resources.tools.get(name) for name in resources.tools.names()]


def tool(resources: Resources, name: str) -> ToolFactory:
    """Find a tool by the name that agents use; raises `ToolNotFound`."""
    try:
        return resources.tools.get(name)
    except NotFound as problem:
        raise ToolNotFound(problem.detail) from None


async def described(
    resources: Resources, actor: Actor, name: str, *, config: dict[str, Any], given: str | None
) -> list[Tool]:
    """Make the tools of a use as an agent would have them, calling none; raises `Invalid` or `ToolDenied`."""
    return await tool(resources, name).build(config, given, await _context(resources, actor))


async def invoke(
    resources: Resources,
    actor: Actor,
    name: str,
    *,
    arguments: dict[str, Any],
    config: dict[str, Any],
    pick: str | None,
) -> Invoked:
    """Call a tool once. What the tool itself does wrong is a result; a call that cannot be made is `Invalid`."""
    own = str(actor.organization_id)
    context = await _context(resources, actor)
    chosen = _pick(await tool(resources, name).build(config, None, context), pick)
    started = time.perf_counter()
    try:
        content, code = await chosen.call(arguments, context), None
    except ToolError as problem:
        content, code = problem.detail, problem.code
    except Invalid as problem:
        raise Invalid(
            problem.detail, errors=[FieldError(f"/arguments{e.pointer}", e.detail) for e in problem.errors]
        ) from None
    except Problem as problem:
        content, code = problem.detail, problem.code
    content = masked_result(resources.redactor, own, content)
    return Invoked(content, code is not None, code, round((time.perf_counter() - started) * 1000))


async def _context(resources: Resources, actor: Actor) -> ToolContext:
    own = str(actor.organization_id)
    reach = await own_doors(resources.doors, own)
    return ToolContext(organization_id=own, idempotency_key=uuid7().hex, resources=reach)


def _pick(built: list[Tool], name: str | None) -> Tool:
    if name is None and len(built) == 1:
        return built[0]
    for candidate in built:
        if candidate.name == name:
            return candidate
    known = ", ".join(t.name for t in built)
    raise Invalid("Say which of the tools is meant.", errors=[FieldError("/name", f"has to be one of: {known}")])
