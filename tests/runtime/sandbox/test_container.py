"""The tier `container` over a real podman: its walls, its end, and what becomes of what it leaves (S92)."""

import asyncio
import sys
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from agent_factory.runtime.sandbox.container import LABEL, Container
from agent_factory.runtime.sandbox.errors import CodeFailed, CodeRefused
from agent_factory.runtime.sandbox.http import Server, request
from agent_factory.runtime.sandbox.job import Job
from agent_factory.runtime.sandbox.owner import Owner
from agent_factory.runtime.sandbox.settings import SandboxSettings
from tests.runtime.sandbox.conftest import QUICK, ROOT
from tests.runtime.sandbox.image import IMAGE
from tests.runtime.sandbox.test_escapes import PREFIX, REFUSED
from tests.runtime.sandbox.waiting import until

pytestmark = pytest.mark.xdist_group("podman")


async def listed(socket: Path) -> list[dict[str, Any]]:
    reply = await request(Server("docker", socket), "GET", "/containers/json", query={"all": "1"})
    return reply.json(list[dict[str, Any]])


async def running(socket: Path, *, yes: bool = True) -> bool:
    """Tell whether a container is running, or that none is."""
    return any(one["State"] == "running" for one in await listed(socket)) is yes


@pytest.fixture(autouse=True)
async def none_left(podman_socket: Path) -> AsyncGenerator[None, None]:
    """After each test there are as many containers as before: none."""
    yield
    assert await listed(podman_socket) == []


OTHER_ERRORS = {
    "calls of the x32 kind": "here the kernel ends the process",
    "a call of tomorrow": "a profile for containers names what it refuses, and lets the kernel answer the rest",
    "sysfs": "containers have a read-only one",
    "control groups": "containers see their own, read-only",
    "data of services": "the image's own",
    "sockets of services": "the image's own",
    "the homes": "the image's own",
    "a new terminal": "containers have terminals of their own",
    "passwords": "the image's own, with the user that podman adds",
    "a symbolic link to the machine": "as passwords",
    "a symbolic link through proc": "as passwords",
    "up from the root": "as passwords",
    "memory of the kernel": "containers see an empty one",
    "memory of a process": "as in the sandbox, but by its own test",
}


async def test_code_reaches_nothing_from_a_container(container: Container) -> None:
    """The probes of the sandbox, all in one container, but those whose answer differs by design."""
    probes = {name: probe for name, probe in REFUSED.items() if name not in OTHER_ERRORS}
    code = PREFIX + "result = {}\n"
    for name, probe in probes.items():
        code += f"try:\n    result[{name!r}] = repr({probe})\nexcept OSError:\n    pass\n"
    assert (await container.run(Job(code=code, limits=QUICK))).result == {}


async def test_code_has_no_rights_and_a_user_of_its_own(container: Container) -> None:
    code = "result = [l for l in open('/proc/self/status').read().splitlines()]"
    lines = (await container.run(Job(code=code, limits=QUICK))).result
    status: dict[str, str] = dict(line.split(":", 1) for line in lines)
    assert all(int(status[kind], 16) == 0 for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"))
    assert (status["NoNewPrivs"].strip(), status["Seccomp"].strip()) == ("1", "2")
    assert int(status["Uid"].split()[0]) >= 0x7000_0000


async def test_code_sees_no_passwords_of_this_machine(container: Container) -> None:
    code = "import os\nresult = open('/etc/passwd').read() if os.path.exists('/etc/passwd') else ''"
    seen = (await container.run(Job(code=code, limits=QUICK))).result
    assert "daemon" not in seen


async def test_a_fork_bomb_and_a_flood_of_files_stay_inside(container: Container) -> None:
    bomb = (
        "import os, signal\ntry:\n    while os.fork():\n        pass\n    signal.pause()\n"
        "except BlockingIOError:\n    result = 'stopped'"
    )
    assert (await container.run(Job(code=bomb, limits=QUICK))).result == "stopped"
    flood = (
        "n = 0\ntry:\n    while True:\n        open(f'/tmp/{n}', 'wb').write(bytes(10**6))\n        n += 1\n"
        "except OSError as error:\n    result = [n, error.strerror]"
    )
    assert (await container.run(Job(code=flood, limits=QUICK))).result == [16, "No space left on device"]


async def test_printing_comes_apart_by_its_streams(container: Container) -> None:
    code = "import sys\nprint('out')\nprint('err', file=sys.stderr)"
    done = await container.run(Job(code=code, limits=QUICK))
    assert (done.stdout, done.stderr) == ("out\n", "err\n")


async def test_an_image_that_is_nowhere_is_refused(container: Container) -> None:
    with pytest.raises(CodeRefused, match="cannot be pulled"):
        await container.run(Job(code="", image="127.0.0.1:1/none:1", limits=QUICK))


async def test_a_cancelled_job_leaves_no_container(container: Container, podman_socket: Path) -> None:
    task = asyncio.create_task(container.run(Job(code="import time\ntime.sleep(1000)", limits=QUICK)))
    await until(lambda: running(podman_socket))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


_SERVER = """
import asyncio
from pathlib import Path
from agent_factory.runtime.sandbox.container import Container
from agent_factory.runtime.sandbox.job import Job
from agent_factory.runtime.sandbox.settings import SandboxSettings

tier = Container(SandboxSettings(docker=Path({socket!r}), image={image!r}))
asyncio.run(tier.run(Job(code="import time\\ntime.sleep(1000)", key="run/task")))
"""


async def killed_in_the_middle(socket: Path) -> None:
    """Have another process run a job, and kill it."""
    server = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _SERVER.format(socket=str(socket), image=IMAGE), cwd=ROOT
    )
    await until(lambda: running(socket))
    server.kill()
    await server.wait()


async def test_a_container_ends_with_a_server_that_is_killed_and_the_next_one_sweeps_it_away(
    podman_socket: Path,
) -> None:
    await killed_in_the_middle(podman_socket)
    await until(lambda: running(podman_socket, yes=False))
    assert len(await listed(podman_socket)) == 1
    tier = Container(SandboxSettings(docker=podman_socket, image=IMAGE))
    assert (await tier.status()).available
    assert await listed(podman_socket) == []
    await tier.close()


async def left_behind(socket: Path, **labels: str) -> None:
    body = {"Image": IMAGE, "Cmd": ["python3"], "Labels": labels, "HostConfig": {"NetworkMode": "none"}}
    assert (await request(Server("docker", socket), "POST", "/containers/create", body=body)).ok


async def test_a_second_try_of_a_task_removes_what_the_first_left(container: Container, podman_socket: Path) -> None:
    await left_behind(
        podman_socket, **{LABEL: "run/task", f"{LABEL}.until": "99999999999", f"{LABEL}.owner": "elsewhere.1.1"}
    )
    assert (await container.status()).available
    assert len(await listed(podman_socket)) == 1, "it may still be needed, for all that is known"
    await container.run(Job(code="", key="run/other", limits=QUICK))
    assert len(await listed(podman_socket)) == 1
    await container.run(Job(code="", key="run/task", limits=QUICK))


async def test_containers_past_their_time_and_of_dead_processes_are_swept(
    container: Container, podman_socket: Path
) -> None:
    me = Owner.current()
    await left_behind(podman_socket, **{LABEL: "a", f"{LABEL}.until": "1000", f"{LABEL}.owner": "elsewhere.1.1"})
    await left_behind(
        podman_socket, **{LABEL: "b", f"{LABEL}.until": "99999999999", f"{LABEL}.owner": f"{me.place}.{me.pid}.1"}
    )
    await left_behind(podman_socket, **{LABEL: "c", f"{LABEL}.until": "99999999999", f"{LABEL}.owner": str(me)})
    await left_behind(podman_socket, other="label")
    await container.sweep_all()
    kept = await listed(podman_socket)
    assert sorted(one["Labels"].get(LABEL, "") for one in kept) == ["", "c"]
    for one in kept:
        await request(Server("docker", podman_socket), "DELETE", f"/containers/{one['Id']}", query={"force": "1"})


async def test_many_containers_side_by_side_do_not_mix(container: Container) -> None:
    jobs = [Job(code="print(inputs['n'])\nresult = inputs['n']", inputs={"n": n}, limits=QUICK) for n in range(6)]
    done = await asyncio.gather(*(container.run(job) for job in jobs))
    assert [(one.result, one.stdout) for one in done] == [(n, f"{n}\n") for n in range(6)]


async def test_a_runner_that_is_gone_fails_the_job_and_not_the_server(container: Container) -> None:
    with pytest.raises(CodeFailed, match="ended by itself"):
        await container.run(Job(code="import os\nos._exit(7)", limits=QUICK))
