"""The tool calls of one step: checked, permitted, run side by side, journaled."""

import asyncio
import time
from typing import Any

import msgspec

from agent_factory.core.event import ApprovalNeeded, ToolFinished, ToolStarted, TurnCompleted, TurnFailed
from agent_factory.core.guardrail import GuardrailBlocked, Verdict
from agent_factory.core.journal import Entry
from agent_factory.core.message import Message, ToolCall, ToolResult, user
from agent_factory.core.tool import ToolContext, ToolDenied, ToolError
from agent_factory.kit.errors import Problem
from agent_factory.runtime.compile import BoundTool
from agent_factory.runtime.doors import own_doors
from agent_factory.runtime.masking import masked_result
from agent_factory.runtime.scope import Scope, Waiting, decision

MAX_DEPTH = 5
"""How deep agents may call agents."""

_MAX_ARGUMENTS = 1_000_000
"""Characters of one call's arguments; a model that writes more is looping."""


class Plan(msgspec.Struct):
    """One call that is ready to run, or the reason why it is not."""

    path: str
    call: ToolCall
    bound: BoundTool | None = None
    arguments: dict[str, Any] = {}
    refusal: str = ""


async def run_tools(scope: Scope, step: int, calls: list[ToolCall]) -> Message:
    """Run a step's calls and give their results as one message, in the order of the calls.

    What a tool does wrong becomes its result, for the model to read; a
    guardrail that blocks ends the turn, and an open question raises `Waiting`
    before any call of the step has begun.
    """
    scope.meter.begin_calls(len(calls))
    plans = [await _plan(scope, f"tool/{step}/{index}", call) for index, call in enumerate(calls)]
    if scope.context.spending is not None:
        due = sum(plan.bound is not None and scope.journal.get(plan.path) is None for plan in plans)
        await scope.context.spending.calls(f"tool/{step}", due)
    if len(plans) == 1:
        return Message("tool", (await _run(scope, plans[0]),))
    # All are awaited, so that what has been done is recorded even if one of them ends the turn.
    ended = await asyncio.gather(*(_run(scope, plan) for plan in plans), return_exceptions=True)
    results: list[ToolResult] = []
    waiting: Waiting | None = None
    for result in ended:
        if isinstance(result, Waiting):
            waiting = waiting or result
        elif isinstance(result, BaseException):
            raise result
        else:
            results.append(result)
    if waiting is not None:
        raise waiting
    return Message("tool", tuple(results))


def all_pure(scope: Scope, calls: list[ToolCall]) -> bool:
    """Tell whether a repetition of all these calls would do no harm."""
    for call in calls:
        bound = scope.compiled.tools.get(call.name)
        if bound is not None and not (bound.tool.pure and bound.permission == "allow"):
            return False
    return True


async def _plan(scope: Scope, path: str, call: ToolCall) -> Plan:
    plan = Plan(path, call)
    bound = scope.compiled.tools.get(call.name)
    if bound is None:
        plan.refusal = f"There is no tool {call.name!r}; the tools are: {', '.join(scope.compiled.tools) or 'none'}."
        return plan
    if bound.permission == "deny":
        plan.refusal = f"The tool {call.name!r} is not allowed here."
        return plan
    text = call.arguments or "{}"
    reason = "the agent asks before each use of this tool" if bound.permission == "ask" else ""
    if scope.compiled.guards.has_tools:
        verdict = await scope.compiled.guards.tool_call(call.name, text)
        if verdict.action == "block":
            raise GuardrailBlocked(verdict.reason)
        text = verdict.text
        reason = verdict.reason if verdict.action == "ask" else reason
    try:
        plan.arguments = _arguments(text)
        bound.tool.check(plan.arguments)
    except Problem as problem:
        plan.refusal = _told(problem)
        return plan
    if reason and not _approved(scope, path, call, reason):
        plan.refusal = "A person refused this call."
        return plan
    plan.bound = bound
    return plan


def _approved(scope: Scope, path: str, call: ToolCall, reason: str) -> bool:
    said = decision(scope, f"{path}/approval")
    if said is None:
        raise Waiting(
            ApprovalNeeded(path=f"{path}/approval", reason=reason, name=call.name, arguments=call.arguments or "{}")
        )
    return said


def _arguments(text: str) -> dict[str, Any]:
    if len(text) > _MAX_ARGUMENTS:
        raise ToolError(f"The arguments are longer than {_MAX_ARGUMENTS} characters.")
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError) as error:
        raise ToolError(f"The arguments are no JSON object: {error}.") from None


async def _run(scope: Scope, plan: Plan) -> ToolResult:
    call = plan.call
    recorded = scope.journal.get(plan.path)
    if recorded is not None:
        return ToolResult(call.id, call.name, msgspec.json.decode(recorded.output, type=str), recorded.is_error)
    scope.emit(ToolStarted(plan.path, call.id, call.name, call.arguments))
    started = time.monotonic()
    content, failed = (plan.refusal, True) if plan.bound is None else await _call(scope, plan, plan.bound)
    content = masked_result(scope.compiled.resources.redactor, scope.context.organization_id, content)
    if scope.compiled.guards.has_tools and plan.bound is not None:
        verdict = await scope.compiled.guards.tool_result(call.name, content)
        content = _passed(scope, plan, verdict)
    elapsed = int((time.monotonic() - started) * 1000)
    await scope.journal.put(
        Entry(
            path=plan.path,
            kind="tool",
            name=call.name,
            input=msgspec.Raw(msgspec.json.encode(plan.arguments)),
            output=msgspec.Raw(msgspec.json.encode(content)),
            is_error=failed,
            duration_ms=elapsed,
        ),
        durable=plan.bound is not None and not plan.bound.tool.pure,
    )
    scope.emit(ToolFinished(plan.path, call.id, call.name, content, failed, elapsed))
    return ToolResult(call.id, call.name, content, failed)


def _passed(scope: Scope, plan: Plan, verdict: Verdict) -> str:
    if verdict.action == "block":
        raise GuardrailBlocked(verdict.reason)
    if verdict.action != "ask":
        return verdict.text
    path = f"{plan.path}/result/approval"
    said = decision(scope, path)
    if said is None:
        raise Waiting(ApprovalNeeded(path=path, reason=verdict.reason, name=plan.call.name))
    return verdict.text if said else "A person withheld this result."


async def _call(scope: Scope, plan: Plan, bound: BoundTool) -> tuple[str, bool]:
    context = scope.context

    async def run_agent(name: str, message: str) -> str:
        return await _ask_agent(scope, plan.path, name, message)

    doors = await own_doors(scope.compiled.resources.doors, context.organization_id) | {"run_agent": run_agent}
    try:
        content = await bound.tool.call(
            plan.arguments,
            ToolContext(
                run_id=context.run_id,
                call_id=plan.call.id,
                organization_id=context.organization_id,
                idempotency_key=f"{context.run_id}/{context.prefix}{plan.path}",
                depth=context.depth,
                resources=doors,
            ),
        )
    except Problem as problem:
        return _told(problem), True
    return content, False


def _told(problem: Problem) -> str:
    """Write a problem so that the model can mend its call."""
    faults = "".join(f"\n- {e.pointer or '/'}: {e.detail}" for e in problem.errors)
    return f"{problem.title}: {problem.detail}{faults}"


async def _ask_agent(scope: Scope, path: str, name: str, message: str) -> str:
    if scope.context.depth >= MAX_DEPTH:
        raise ToolDenied(f"Agents may call agents {MAX_DEPTH} deep; this call would be deeper.")
    end = await scope.below(scope, path, name, user(message))
    match end:
        case TurnCompleted():
            return end.text
        case TurnFailed():
            raise ToolError(f"The agent {name!r} failed: {end.problem.get('detail', '')}")
        case ApprovalNeeded():
            raise Waiting(end)
