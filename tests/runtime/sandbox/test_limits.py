"""What code in the tier `sandbox` may use, all its processes together, and that nothing of it stays (S92)."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import psutil
import pytest

from agent_factory.runtime.sandbox.bubblewrap import Bubblewrap
from agent_factory.runtime.sandbox.errors import CodeFailed, CodeOutOfMemory, CodeTimeout
from agent_factory.runtime.sandbox.job import Job
from agent_factory.runtime.sandbox.owner import MARK, Owner, end_orphans
from agent_factory.runtime.sandbox.settings import SandboxSettings
from tests.runtime.sandbox.conftest import QUICK, ROOT, no_bubblewrap
from tests.runtime.sandbox.waiting import until

pytestmark = pytest.mark.skipif(bool(no_bubblewrap()), reason=no_bubblewrap())


def groups_of(pid: int) -> list[Path]:
    return list(Path("/sys/fs/cgroup").glob(f"**/agent-factory.{pid}.*"))


async def test_a_fork_bomb_stops_at_the_number_of_processes(bubblewrap: Bubblewrap) -> None:
    code = """
import os, signal
made = 0
try:
    while True:
        if os.fork() == 0:
            signal.pause()
        made += 1
except BlockingIOError:
    result = made
"""
    done = await bubblewrap.run(Job(code=code, limits=QUICK.model_copy(update={"processes": 8})))
    assert done.result == 7


async def test_a_wild_fork_bomb_ends_with_its_job(bubblewrap: Bubblewrap) -> None:
    with pytest.raises((CodeFailed, CodeTimeout)):
        await bubblewrap.run(Job(code="import os\nwhile True:\n    os.fork()", limits=QUICK))


async def test_threads_count_as_processes(bubblewrap: Bubblewrap) -> None:
    code = """
from threading import Event, Thread
for _ in range(100):
    Thread(target=Event().wait, daemon=True).start()
"""
    with pytest.raises(CodeFailed, match="start new thread"):
        await bubblewrap.run(Job(code=code, limits=QUICK))


async def test_memory_is_counted_over_all_processes_together(bubblewrap: Bubblewrap) -> None:
    if (await bubblewrap.status()).hint:
        pytest.skip("no control group can be made here")
    code = """
import os, signal
for _ in range(6):
    if os.fork() == 0:
        hog = bytearray(40_000_000)
        signal.pause()
os.wait()
os.kill(os.getpid(), 9)
"""
    with pytest.raises(CodeOutOfMemory):
        await bubblewrap.run(Job(code=code, limits=QUICK))


async def test_processor_time_is_counted_over_all_processes_together(bubblewrap: Bubblewrap) -> None:
    if (await bubblewrap.status()).hint:
        pytest.skip("no control group can be made here")
    code = "import os\nfor _ in range(5):\n    os.fork()\nwhile True:\n    pass"
    with pytest.raises(CodeTimeout, match="processor time"):
        await bubblewrap.run(Job(code=code, limits=QUICK.model_copy(update={"processes": 64, "cpu_seconds": 1})))


async def test_a_flood_of_files_stops_at_the_size_of_the_disk(bubblewrap: Bubblewrap) -> None:
    code = """
written = 0
try:
    while True:
        with open(f"/tmp/{written}", "wb") as file:
            file.write(bytes(1_000_000))
        written += 1
except OSError as error:
    result = [written, error.strerror]
"""
    written, error = (await bubblewrap.run(Job(code=code, limits=QUICK))).result
    assert written == 16
    assert error == "No space left on device"


async def test_files_in_shared_memory_are_files_of_the_same_disk(bubblewrap: Bubblewrap) -> None:
    code = "open('/dev/shm/x', 'wb').write(bytes(20_000_000))"
    with pytest.raises(CodeFailed, match="OSError"):
        await bubblewrap.run(Job(code=code, limits=QUICK))


async def test_a_flood_on_standard_error_is_cut_too(bubblewrap: Bubblewrap) -> None:
    with pytest.raises(Exception, match="100000 bytes"):
        await bubblewrap.run(Job(code="import sys\nwhile True:\n    sys.stderr.write('x' * 1000)", limits=QUICK))


async def test_code_that_ignores_every_signal_ends_all_the_same(bubblewrap: Bubblewrap) -> None:
    code = """
import signal
for number in range(1, 65):
    try:
        signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError):
        pass
while True:
    signal.pause()
"""
    with pytest.raises(CodeTimeout):
        await bubblewrap.run(Job(code=code, limits=QUICK.model_copy(update={"seconds": 0.5})))


async def test_zombies_and_daemons_end_with_their_job(bubblewrap: Bubblewrap) -> None:
    code = """
import os, signal
for _ in range(5):
    if os.fork() == 0:
        os._exit(0)          # nobody waits for it
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        signal.pause()       # a daemon
    os._exit(0)
result = "done"
"""
    if (await bubblewrap.status()).hint:
        pytest.skip("no control group can be made here")
    done = await bubblewrap.run(Job(code=code, limits=QUICK))
    assert done.result == "done"
    # a group with a process in it cannot be removed
    assert groups_of(os.getpid()) == []


async def test_a_cancelled_job_leaves_nothing(bubblewrap: Bubblewrap) -> None:
    me = psutil.Process()
    task = asyncio.create_task(bubblewrap.run(Job(code="import time\ntime.sleep(1000)", limits=QUICK)))
    await until(lambda: len(me.children(recursive=True)) >= 3)
    sandboxed = [child for child in me.children(recursive=True) if child.name() in {"bwrap", "python3", "python3.11"}]
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: not any(child.is_running() and child.status() != "zombie" for child in sandboxed))
    assert groups_of(os.getpid()) == []


_PARENT = """
import asyncio
from agent_factory.runtime.sandbox.bubblewrap import Bubblewrap
from agent_factory.runtime.sandbox.job import Job
from agent_factory.runtime.sandbox.settings import SandboxSettings

asyncio.run(Bubblewrap(SandboxSettings()).run(Job(code={code!r})))
"""
_STUBBORN = """
import os, signal
signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))
os.fork()
os.fork()
while True:
    pass
"""


def serving(code: str) -> subprocess.Popen[bytes]:
    """Start a process that runs one job."""
    return subprocess.Popen([sys.executable, "-c", _PARENT.format(code=code)], cwd=ROOT)


@pytest.mark.parametrize("code", ["import time\ntime.sleep(1000)", _STUBBORN], ids=["asleep", "stubborn"])
async def test_a_job_dies_with_a_server_that_is_killed(code: str) -> None:
    server = serving(code)
    try:
        process = psutil.Process(server.pid)

        def inside() -> list[psutil.Process]:
            found = process.children(recursive=True)
            return found if len(found) >= 4 else []

        await until(lambda: bool(inside()))
        family = inside()
        process.suspend()
        family = sorted({*family, *process.children(recursive=True)}, key=lambda child: child.pid)
    finally:
        server.kill()
        server.wait()
    await until(lambda: not any(child.is_running() and child.status() != "zombie" for child in family))


def orphans() -> list[psutil.Process]:
    """Sandboxes that nobody started who still lives."""
    found = psutil.process_iter(["name", "ppid", "status"])
    return [p for p in found if (p.info["name"], p.info["ppid"]) == ("bwrap", 1) and p.info["status"] != "zombie"]


_BUSY = """
import asyncio
from agent_factory.runtime.sandbox.bubblewrap import Bubblewrap
from agent_factory.runtime.sandbox.job import Job
from agent_factory.runtime.sandbox.settings import SandboxSettings

async def main():
    tier = Bubblewrap(SandboxSettings())
    while True:
        await asyncio.gather(*(tier.run(Job(code="pass")) for _ in range(8)))

asyncio.run(main())
"""


async def test_sandboxes_that_are_being_built_die_with_a_server_that_is_killed() -> None:
    for processes in range(1, 13):
        server = subprocess.Popen([sys.executable, "-c", _BUSY], cwd=ROOT)  # noqa: ASYNC220 - it is not waited for
        try:
            family = psutil.Process(server.pid)
            await until(lambda: len(family.children(recursive=True)) >= processes)  # noqa: B023 - asked in this round
        finally:
            server.kill()
            server.wait()

    async def swept() -> bool:
        await Bubblewrap(SandboxSettings()).status()
        return not orphans()

    await until(swept)


async def test_a_job_that_is_cancelled_while_its_sandbox_is_built_leaves_nothing(bubblewrap: Bubblewrap) -> None:
    for steps in range(0, 60, 3):
        task = asyncio.create_task(bubblewrap.run(Job(code="import time\ntime.sleep(1000)", limits=QUICK)))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert groups_of(os.getpid()) == []
    await until(lambda: not orphans())


async def test_only_processes_of_dead_servers_count_as_orphans() -> None:
    me = Owner.current()
    values = {"mine": str(me), "dead": f"{me.place}.{me.pid}.{me.started + 1}", "foreign": "elsewhere.1.1", "odd": "x"}
    marked = {n: subprocess.Popen(["/bin/sleep", "1000"], env={MARK: value}) for n, value in values.items()}  # noqa: ASYNC220 - ended below
    try:
        await until(lambda: all(psutil.Process(p.pid).name() == "sleep" for p in marked.values()))
        end_orphans(me)
        assert marked["dead"].wait(10) == -9
        assert [name for name, process in marked.items() if process.poll() is None] == ["mine", "foreign", "odd"]
    finally:
        for process in marked.values():
            process.kill()
            process.wait()


async def test_empty_groups_of_dead_servers_are_swept_away() -> None:
    server = serving("import time\ntime.sleep(1000)")
    try:
        process = psutil.Process(server.pid)
        await until(lambda: len(process.children(recursive=True)) >= 4)
        left = groups_of(server.pid)
    finally:
        server.kill()
        server.wait()
    if not left:
        pytest.skip("no control group can be made here")

    async def swept() -> bool:
        await Bubblewrap(SandboxSettings()).status()
        return groups_of(server.pid) == []

    await until(swept)


async def test_many_jobs_side_by_side_do_not_mix(bubblewrap: Bubblewrap) -> None:
    jobs = [Job(code="print(inputs['n'])\nresult = inputs['n'] ** 2", inputs={"n": n}, limits=QUICK) for n in range(24)]
    done = await asyncio.gather(*(bubblewrap.run(job) for job in jobs))
    assert [(one.result, one.stdout) for one in done] == [(n**2, f"{n}\n") for n in range(24)]


async def test_what_a_job_used_is_measured(bubblewrap: Bubblewrap) -> None:
    code = "held = bytearray(30_000_000)\nfor _ in range(300_000):\n    pass"
    done = await bubblewrap.run(Job(code=code, limits=QUICK))
    assert done.peak_memory is not None
    assert 30_000_000 < done.peak_memory < 128 << 20
    assert done.cpu_seconds is not None
    assert 0 < done.cpu_seconds < 10


async def test_large_inputs_and_large_code_arrive_whole(bubblewrap: Bubblewrap) -> None:
    code = "result = [len(inputs['text']), inputs['text'][-3:]]\n" + "# " + "x" * 900_000
    done = await bubblewrap.run(Job(code=code, inputs={"text": "a" * 5_000_000 + "end"}, limits=QUICK))
    assert done.result == [5_000_003, "end"]


async def test_a_network_is_there_only_for_jobs_that_are_given_one(bubblewrap: Bubblewrap) -> None:
    """The port is open on this machine, and closed in a sandbox without a network."""
    heard = asyncio.Event()

    async def hear(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.set()
        writer.close()

    server = await asyncio.start_server(hear, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    code = "import socket\nsocket.create_connection(('127.0.0.1', inputs['port']), 5).close()"
    job = Job(code=code, inputs={"port": port}, limits=QUICK)
    try:
        with pytest.raises(CodeFailed, match=r"refused|unreachable"):
            await bubblewrap.run(job)
        assert not heard.is_set()
        await bubblewrap.run(msgspec.structs.replace(job, network="full"))
        await heard.wait()
    finally:
        server.close()
        await server.wait_closed()
