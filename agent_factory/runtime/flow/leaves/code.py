"""A user's Python, in the sandbox (S92)."""

from typing import Any, cast

import msgspec

from agent_factory.core.journal import Entry
from agent_factory.core.task import Code
from agent_factory.kit.errors import Problem
from agent_factory.runtime.flow.context import TaskCall
from agent_factory.runtime.flow.leaves.reach import key_of
from agent_factory.runtime.sandbox.errors import CodeFailed, TierUnavailable
from agent_factory.runtime.sandbox.job import Done, Job

_SHOWN = 4_000
"""Characters of what code printed that are kept; the beginning and the end of more."""


async def code(call: TaskCall) -> Any:  # noqa: ANN401 - any JSON value
    """Run code; give what it assigned to `result`, null where it assigned nothing.

    What it printed and what it used are kept as a step at `<path>/code`. Code
    that an interrupted attempt left running is ended when its task begins again.
    """
    config = cast("Code", call.config)
    if call.context.sandbox is None:
        raise TierUnavailable("This process runs no code: start the workflow on a server or worker with a sandbox.")
    job = Job(
        code=config.code,
        inputs=config.inputs,
        language=config.language,
        tier=config.tier,
        image=config.image,
        environment=config.environment,
        network=config.network,
        limits=config.limits,
        key=key_of(call),
        organization_id=call.context.organization_id,
    )
    try:
        done: Done = await call.context.sandbox.run(job)
    except Problem as problem:
        if isinstance(problem, CodeFailed):
            told = {"line": problem.line, "trace": problem.trace, "stdout": problem.stdout, "stderr": problem.stderr}
            await _note(call, config.tier, told, failed=True)
        raise
    used = {
        "cpu_seconds": done.cpu_seconds,
        "peak_memory": done.peak_memory,
        "stdout": done.stdout,
        "stderr": done.stderr,
    }
    await _note(call, done.tier, used, duration_ms=done.duration_ms)
    return done.result


async def _note(call: TaskCall, tier: str, told: dict[str, Any], *, duration_ms: int = 0, failed: bool = False) -> None:
    shown = {k: _short(v) if isinstance(v, str) else v for k, v in told.items()}
    await call.context.journal.put(
        Entry(
            path=f"{call.place}/code",
            kind="tool",
            name=tier,
            input=msgspec.Raw(b"null"),
            output=msgspec.Raw(msgspec.json.encode(shown)),
            is_error=failed,
            duration_ms=duration_ms,
        ),
        durable=False,
    )


def _short(text: str) -> str:
    half = _SHOWN // 2
    return text if len(text) <= _SHOWN else f"{text[:half]}\n…\n{text[-half:]}"
