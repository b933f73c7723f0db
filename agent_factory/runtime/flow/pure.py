"""Tasks that touch nothing: values, branches, waits and the end (S84, S85, S102)."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from agent_factory.core.expressions import Value
from agent_factory.core.task import Approval, Conditional, End, Switch, Transform, Wait
from agent_factory.kit.clock import now, rfc3339
from agent_factory.runtime.flow.context import Leaf, TaskCall
from agent_factory.runtime.flow.outcome import (
    Chosen,
    Ended,
    Outcome,
    Overdue,
    Rejected,
    Suspended,
    TaskError,
    WaitFor,
    failure,
    question,
)


async def transform(call: TaskCall) -> Any:  # noqa: ANN401 - any JSON value
    """Make a value of others."""
    config = cast("Transform", call.config)
    texts = call.node.texts
    if texts.path is not None:
        return texts.path(config.source)
    expression = texts.expressions.get("/expression")
    return config.value if expression is None else expression(call.variables)


async def conditional(call: TaskCall) -> Chosen:
    """Choose the first way whose condition holds."""
    config = cast("Conditional", call.config)
    for index, condition in enumerate(config.conditions):
        if call.node.texts.expressions[f"/conditions/{index}/if"](call.variables):
            return Chosen(condition.then)
    return Chosen(config.default)


async def switch(call: TaskCall) -> Chosen:
    """Choose the way of the case that equals the value."""
    config = cast("Switch", call.config)
    value = call.node.texts.expressions["/value"](call.variables)
    return Chosen(config.cases.get(_word(value), config.default))


def _word(value: Value) -> str:
    """Write a value as the key of a case: numbers, true, false and null as in JSON."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str):
        return value
    if isinstance(value, int | float):
        return str(int(value)) if value == int(value) else str(value)
    raise TaskError("A switch compares a text, a number, a boolean or null with its cases.")


async def end(call: TaskCall) -> Ended:
    """End the whole run."""
    config = cast("End", call.config)
    if config.status == "completed":
        return Ended(config.output)
    detail = config.error or "The workflow ended as failed."
    return Ended(config.output, failure(TaskError(detail), call.path))


async def wait(call: TaskCall) -> Any:  # noqa: ANN401 - the event's data
    """Wait for a time or an event."""
    config = cast("Wait", call.config)
    path = f"{call.place}/wait"
    fired = call.fired(path)
    if fired is not None:
        return _outcome(fired, "No event came before the deadline.")
    if config.event is not None:
        match = config.event.match
        names = call.node.texts.reads if match else frozenset[str]()
        values = {n: call.variables.get(n) for n in names if n != "event"}
        waiting = WaitFor(
            path,
            "event",
            wake_at=_in(config.deadline),
            event_type=config.event.type,
            data={"match": match, "values": values} if match else {},
        )
    else:
        at = _moment(config.until) if config.until is not None else now() + timedelta(seconds=config.seconds or 0)
        seconds = (at - now()).total_seconds()
        if seconds <= call.context.limits.sleep_seconds:
            await asyncio.sleep(max(0.0, seconds))
            return None
        waiting = WaitFor(path, "timer", wake_at=rfc3339(at))
    await call.context.waits.register(waiting)
    raise Suspended(waiting)


def _moment(text: str) -> datetime:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise TaskError(f"{text[:50]!r} is no RFC 3339 time such as 2030-01-31T12:00:00Z.") from None
    if at.tzinfo is None:
        raise TaskError(f"{text[:50]!r} has no offset from UTC; write a Z or +02:00 at its end.")
    if (at.astimezone(UTC) - now()).days > _LONGEST:
        raise TaskError(f"{text[:50]!r} is more than {_LONGEST} days away.")
    return at


_LONGEST = 366


def _in(seconds: float | None) -> str | None:
    return None if seconds is None else rfc3339(now() + timedelta(seconds=seconds))


def _outcome(fired: Outcome, overdue: str) -> Any:  # noqa: ANN401 - what the wait brought
    if fired.status == "failed":
        raise Overdue(overdue)
    return fired.output


async def approval(call: TaskCall) -> dict[str, Any]:
    """Ask people for a decision."""
    config = cast("Approval", call.config)
    path = f"{call.place}/approval"
    fired = call.fired(path)
    if fired is None:
        waiting = WaitFor(
            path,
            "approval",
            wake_at=_in(config.deadline),
            data={
                **config.model_dump(mode="json", include={"title", "details", "roles", "users", "default"}),
                "name": call.node.task.id,
            },
        )
        if await call.context.waits.register(waiting):
            call.context.emit(question(path, waiting.data))
        raise Suspended(waiting)
    if fired.status == "failed" and config.default is None:
        raise Overdue("Nobody decided before the deadline.")
    if fired.status == "failed":
        decided: dict[str, Any] = {"approved": config.default == "approve", "by": "deadline"}
    else:
        output: object = fired.output
        decided = cast("dict[str, Any]", output) if isinstance(output, dict) else {}
    if not decided.get("approved"):
        comment = f": {decided['comment']}" if decided.get("comment") else "."
        raise Rejected(f"{decided.get('by') or 'Somebody'} did not approve{comment}")
    return {"approved": True, "by": decided.get("by"), "comment": decided.get("comment")}


PURE: Mapping[str, Leaf] = {
    "transform": transform,
    "conditional": conditional,
    "switch": switch,
    "wait": wait,
    "approval": approval,
    "end": end,
}
