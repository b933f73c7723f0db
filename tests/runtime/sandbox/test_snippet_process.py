"""Snippets run in a process of their own: it may end at any time, and this one ends as any Python does."""

import asyncio
import sys

import psutil
import pytest

from agent_factory.runtime.sandbox import Job
from agent_factory.runtime.sandbox.errors import SandboxFailed
from agent_factory.runtime.sandbox.settings import SandboxSettings
from agent_factory.runtime.sandbox.snippet import Snippet
from tests.doubles.fixtures import ROOT

LEAVING = """
import asyncio
from agent_factory.runtime.sandbox import Job
from agent_factory.runtime.sandbox.settings import SandboxSettings
from agent_factory.runtime.sandbox.snippet import Snippet

async def main():
    snippet = Snippet(SandboxSettings())
    jobs = [asyncio.create_task(snippet.run(Job(code=code))) for code in ("while True: print(1)", "result = 1") * 4]
    await jobs[1]
    for job in jobs:
        job.cancel()
    await asyncio.gather(*jobs, return_exceptions=True)
    await snippet.close()

asyncio.run(main())
"""


async def test_a_process_that_ran_snippets_ends_in_order_whatever_is_in_flight() -> None:
    """Again and again: with monty's threads inside it, one in fifty was aborted."""

    async def ends() -> int:
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", LEAVING, cwd=ROOT)
        return await process.wait()

    codes = [code for _ in range(3) for code in await asyncio.gather(*(ends() for _ in range(4)))]
    assert codes == [0] * 12


async def test_an_interpreter_that_is_killed_fails_its_jobs_and_is_started_again() -> None:
    snippet = Snippet(SandboxSettings())
    try:
        assert (await snippet.run(Job(code="result = 1"))).result == 1
        assert snippet._process is not None
        first = snippet._process.pid
        job = asyncio.create_task(snippet.run(Job(code="while True: pass")))
        await asyncio.sleep(0)
        psutil.Process(first).kill()
        with pytest.raises(SandboxFailed):
            await job
        assert (await snippet.run(Job(code="result = 2"))).result == 2
        assert snippet._process.pid != first
    finally:
        await snippet.close()


async def test_a_job_that_is_given_up_is_ended_and_nothing_is_left_after_closing() -> None:
    snippet = Snippet(SandboxSettings(concurrency=1))
    await snippet.run(Job(code="result = 1"))
    assert snippet._process is not None
    family = psutil.Process(snippet._process.pid).children(recursive=True)
    endless = asyncio.create_task(snippet.run(Job(code="while True: pass")))
    await asyncio.sleep(0.05)
    endless.cancel()
    # the only place is free again long before the endless one's time is over
    async with asyncio.timeout(5):
        assert (await snippet.run(Job(code="result = 2"))).result == 2
    family += psutil.Process(snippet._process.pid).children(recursive=True)
    await snippet.close()
    _, alive = psutil.wait_procs(family, timeout=5)
    assert alive == []
