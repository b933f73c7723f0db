"""Attempts at a task: timeouts, and retries with a growing pause by the class of error (S86, S88)."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Any

import msgspec
import structlog

from agent_factory.core.event import TaskRetrying
from agent_factory.core.graph import Node
from agent_factory.core.journal import Entry
from agent_factory.core.task import TaskRetry
from agent_factory.kit.clock import now, rfc3339
from agent_factory.kit.errors import Problem, Unavailable
from agent_factory.runtime.flow.context import FlowContext, Slot, read_outcome
from agent_factory.runtime.flow.outcome import (
    Outcome,
    Suspended,
    TaskBroken,
    TaskFailed,
    TaskTimeout,
    WaitFor,
    failure,
)
from agent_factory.runtime.flow.watched import Interrupted

Attempt = Callable[[int, str], Awaitable[Any]]
"""Does the task once; gets the number of the attempt and the path below which its own steps go."""

log = structlog.stdlib.get_logger(__name__)


async def attempts(context: FlowContext, node: Node, path: str, attempt: Attempt, slot: Slot | None = None) -> Any:  # noqa: ANN401 - what the attempt gives
    """Try a task until it ends well or its `retry` is used up; then raise `TaskFailed`.

    Each failed attempt but the last is recorded at `path#n`, so that a restart
    does not begin to count anew. Short pauses are slept, long ones are timers.
    Each attempt waits for a turn by `slot`, and its `timeout` begins after that.
    """
    policy = node.task.retry
    if policy is None and node.task.timeout is None and slot is None:
        return await _once(context, path, 1, path, attempt)
    number = 1
    while policy is not None and (entry := context.journal.get(f"{path}#{number}")) is not None:
        await _pause(context, f"{path}#{number}/pause", float(read_outcome(entry).output))
        number += 1
    while True:
        place = path if number == 1 else f"{path}#{number}"
        try:
            once = _bound(context, path, number, place, attempt)
            if slot is None:
                return await _timed(context, node, path, number, once)
            async with slot(context):
                return await _timed(context, node, path, number, once)
        except TaskFailed as failed:
            if policy is None or number >= policy.attempts or not _again(policy, failed.error):
                raise
            delay = max(_delay(policy, number), float(failed.error.get("retry_after", 0)))
            await _record(context, node, f"{path}#{number}", failed.error, delay)
            context.emit(TaskRetrying(path, node.task.id, str(failed.error.get("code")), number, delay))
        await _pause(context, f"{path}#{number}/pause", delay)
        number += 1


def _bound(context: FlowContext, path: str, number: int, place: str, attempt: Attempt) -> Callable[[], Awaitable[Any]]:
    return lambda: _once(context, path, number, place, attempt)


async def _once(context: FlowContext, path: str, number: int, place: str, attempt: Attempt) -> Any:  # noqa: ANN401 - what the attempt gives
    try:
        return await attempt(number, place)
    except TaskFailed:
        raise
    except Unavailable as error:
        raise Interrupted(error) from error  # a part of ours is away, which is no fault of the task
    except Exception as error:
        if isinstance(error, Problem):
            raise TaskFailed(failure(error, path)) from error
        log.exception("task_broken", run_id=context.run_id, path=path)
        raise TaskFailed(failure(TaskBroken("The task broke in a way that is logged."), path)) from error


async def _timed(context: FlowContext, node: Node, path: str, number: int, once: Callable[[], Awaitable[Any]]) -> Any:  # noqa: ANN401 - what the attempt gives
    seconds = node.task.timeout
    if seconds is None:
        return await once()
    mark = f"{path}#{number}/timeout"
    late = TaskFailed(failure(TaskTimeout(f"The task did not end within {seconds:g} s."), path))
    if context.journal.get(mark) is not None:
        raise late
    timer = asyncio.timeout(seconds)
    try:
        async with timer:
            return await once()
    except TimeoutError:
        if not timer.expired():
            raise
        raise late from None
    except Suspended as suspended:
        # The clock goes on while nothing holds the run.
        wait = WaitFor(mark, "timer", wake_at=rfc3339(now() + timedelta(seconds=seconds)))
        await context.waits.register(wait)
        raise Suspended(*suspended.waits, wait) from None


def _again(policy: TaskRetry, error: Mapping[str, Any]) -> bool:
    if policy.on:
        return error.get("code") in policy.on or error.get("kind") in policy.on
    return bool(error.get("retryable"))


def _delay(policy: TaskRetry, number: int) -> float:
    delay = min(policy.backoff * policy.factor ** (number - 1), policy.max_backoff)
    return delay * random.uniform(0.5, 1.0) if policy.jitter else delay  # noqa: S311 - spreads load, guards nothing


async def _record(context: FlowContext, node: Node, path: str, error: dict[str, Any], delay: float) -> None:
    outcome = Outcome(output=delay, status="failed", error=error)
    await context.journal.put(
        Entry(
            path=path,
            kind="task",
            name=node.task.type,
            input=msgspec.Raw(b"null"),
            output=msgspec.Raw(msgspec.json.encode(outcome)),
            is_error=True,
        ),
        durable=False,
    )


async def _pause(context: FlowContext, path: str, delay: float) -> None:
    if delay <= context.limits.sleep_seconds:
        await asyncio.sleep(delay)
    elif context.journal.get(path) is None:
        wait = WaitFor(path, "timer", wake_at=rfc3339(now() + timedelta(seconds=delay)))
        await context.waits.register(wait)
        raise Suspended(wait)
