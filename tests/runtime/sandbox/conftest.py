"""The tiers over real parts: bubblewrap, monty, podman; for a cluster, a stand-in that speaks its protocol."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Generator
from pathlib import Path

import pytest

from agent_factory.core.task import CodeLimits
from agent_factory.runtime.sandbox.bubblewrap import Bubblewrap
from agent_factory.runtime.sandbox.container import Container
from agent_factory.runtime.sandbox.job import Runner
from agent_factory.runtime.sandbox.kubernetes import Kubernetes
from agent_factory.runtime.sandbox.settings import KubernetesSettings, SandboxSettings
from agent_factory.runtime.sandbox.snippet import Snippet
from tests.runtime.sandbox.image import IMAGE, write_image

ROOT = Path(__file__).resolve().parents[3]
QUICK = CodeLimits(seconds=20, cpu_seconds=10, memory_mb=128, disk_mb=16, output_bytes=100_000)

SYSTEM_PYTHON = Path("/usr/bin/python3").resolve()
_UNPRIVILEGED = ("setpriv", "--reuid=1879050001", "--regid=1879050001", "--clear-groups", "--bounding-set=-all")


def no_bubblewrap() -> str:
    """Say why bubblewrap cannot be used here, or nothing."""
    return "" if shutil.which("bwrap") else "bubblewrap is not installed (Debian: bubblewrap)"


def no_podman() -> str:
    """Say why podman cannot be used here, or nothing."""
    missing = [name for name in ("podman", "runc") if not shutil.which(name)]
    if missing:
        return f"{' and '.join(missing)} not installed (Debian: podman runc)"
    return "" if os.geteuid() == 0 else "podman needs root to limit containers everywhere"


@pytest.fixture(scope="session", params=["as root", "as a user"])
async def bubblewrap(request: pytest.FixtureRequest) -> Bubblewrap:
    """The tier `sandbox`, as root drops its rights, and as an ordinary user has none to drop."""
    if reason := no_bubblewrap():
        pytest.skip(reason)
    root = os.geteuid() == 0
    if request.param == "as root":
        if not root:
            pytest.skip("these tests do not run as root")
        tier = Bubblewrap(SandboxSettings())
    else:
        system = SYSTEM_PYTHON
        tier = (
            Bubblewrap(SandboxSettings(), before=_UNPRIVILEGED, python=system)
            if root
            else Bubblewrap(SandboxSettings())
        )
    status = await tier.status()
    assert status.available, status.hint
    return tier


@pytest.fixture(scope="session")
async def snippet() -> AsyncGenerator[Snippet, None]:
    """The tier `snippet`."""
    tier = Snippet(SandboxSettings())
    yield tier
    await tier.close()


@pytest.fixture(scope="session")
def podman_socket() -> Generator[Path, None, None]:
    """The socket of a real podman with one image: this machine's Python and nothing else."""
    if reason := no_podman():
        pytest.skip(reason)
    folder = Path(tempfile.mkdtemp(prefix="af-podman-"))  # podman refuses paths as long as pytest's
    command = [
        "podman",
        "--root",
        str(folder / "store"),
        "--runroot",
        str(folder / "run"),
        "--tmpdir",
        str(folder / "tmp"),
    ]
    command += [
        "--storage-driver",
        "overlay",
        "--cgroup-manager",
        "cgroupfs",
        "--runtime",
        "runc",
        "--log-level",
        "fatal",
    ]
    write_image(folder / "image.tar")
    subprocess.run([*command, "import", "-q", str(folder / "image.tar"), IMAGE], check=True, capture_output=True)
    socket = folder / "socket"
    serve = [*command, "system", "service", "--time=0", f"unix://{socket}"]
    # the monitor of a container that runs out of memory leaves a file in the folder where it was started
    with subprocess.Popen(serve, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as service:
        until = time.monotonic() + 20
        while not socket.is_socket() and time.monotonic() < until:
            time.sleep(0.01)
        yield socket
        service.terminate()
        service.wait(20)
    subprocess.run([*command, "rm", "--all", "--force", "--time", "0"], check=True, capture_output=True)
    shutil.rmtree(folder)


@pytest.fixture
async def container(podman_socket: Path) -> AsyncGenerator[Container, None]:
    """The tier `container` over the real podman."""
    tier = Container(SandboxSettings(docker=podman_socket, image=IMAGE))
    yield tier
    await tier.close()


@pytest.fixture(scope="session")
def cluster_url() -> Generator[str, None, None]:
    """The URL of a stand-in for a cluster, which runs pods as plain processes; see `kubernetes_server`."""
    command = [sys.executable, "-m", "tests.runtime.sandbox.kubernetes_server"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())["url"]
        process.stdin.close()
        process.wait(10)


@pytest.fixture
def cluster(cluster_url: str, tmp_path: Path) -> Kubernetes:
    """The tier `kubernetes` over the stand-in, with a namespace of its own."""
    token = tmp_path / "token"
    token.write_text("the-account's-token")
    namespace = f"test-{os.urandom(6).hex()}"
    return Kubernetes(SandboxSettings(kubernetes=KubernetesSettings(url=cluster_url, namespace=namespace, token=token)))


CONTAINER = pytest.param("container", marks=pytest.mark.xdist_group("podman"))
"""All tests with containers share a process, for two podmans share their locks."""


@pytest.fixture(params=["snippet", "sandbox", CONTAINER, "kubernetes"])
def tier(request: pytest.FixtureRequest) -> Runner:
    """Each of the four tiers."""
    if request.param == "sandbox":
        if reason := no_bubblewrap():
            pytest.skip(reason)
        return Bubblewrap(SandboxSettings())
    return request.getfixturevalue("cluster" if request.param == "kubernetes" else str(request.param))
