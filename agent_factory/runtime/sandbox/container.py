"""The tier `container`: an image in Docker or podman, by the Docker API over its Unix socket."""

import asyncio
import json
import secrets
import tempfile
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import structlog

from agent_factory.kit.clock import now
from agent_factory.runtime.sandbox import seccomp
from agent_factory.runtime.sandbox.errors import CodeRefused, SandboxFailed, TierUnavailable
from agent_factory.runtime.sandbox.frames import MEGABYTE, SCRIPT, Answer, Question
from agent_factory.runtime.sandbox.http import Reply, Server, ServerFailed, exchange, request
from agent_factory.runtime.sandbox.job import Done, Job, TierStatus
from agent_factory.runtime.sandbox.owner import Owner
from agent_factory.runtime.sandbox.settings import SandboxSettings
from agent_factory.runtime.sandbox.streams import Pipes, converse

log = structlog.stdlib.get_logger(__name__)

LABEL = "agent-factory.job"
_SOCKETS = ("/run/docker.sock", "/var/run/docker.sock", "/run/podman/podman.sock")
_HEADER = 8
_USERS = range(0x7000_0000, 0x7001_0000)
_GRACE = 60
"""Seconds past its time after which a container counts as forgotten."""

_PULL_SECONDS = 600
_PATIENCE, _PAUSE = 10.0, 0.05
"""How long the removal of a container is tried, and the pause between two tries, in seconds."""

_INSTALL = (
    "No container engine answers: install Docker, or podman with its service "
    "(on Debian: apt-get install podman runc, then podman system service), and set AF_SANDBOX__DOCKER to its socket."
)
_ROOTLESS = (
    "This podman runs rootless on control groups of version 1, where it ignores every limit; "
    "run it as root, or boot with control groups of version 2."
)
_OK, _SWITCHING, _NOT_FOUND = 200, 101, 404
_STDERR = 2
_ULIMITS = {"core": 0, "nofile": 256, "nproc": 1024}
_FILTER = json.dumps({"label": [LABEL]})


class _Info(msgspec.Struct, rename="pascal"):
    """What an engine tells of itself."""

    rootless: bool = False
    security_options: list[str] | None = None
    cgroup_version: str = ""


class _Listed(msgspec.Struct, rename="pascal"):
    """A container in a list."""

    id: str
    labels: dict[str, str]


class _State(msgspec.Struct, rename="pascal"):
    oom_killed: bool = msgspec.field(default=False, name="OOMKilled")


class _Inspected(msgspec.Struct, rename="pascal"):
    """What is told of one container."""

    state: _State


class Container:
    """Runs each job in a container of its own, which is removed at the end, whatever happens."""

    def __init__(self, settings: SandboxSettings) -> None:
        """Take the settings; nothing is asked before the first job."""
        self._settings = settings
        self._server: Server | None = None
        self._rules = ""
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._owner = Owner.current()

    async def status(self) -> TierStatus:
        """Ask the engine whether it is there."""
        try:
            hint = await self._find()
        except ServerFailed as error:
            hint = f"The container engine does not answer as it should ({error}); restart it."
        return TierStatus("container", available=not hint, hint=hint)

    async def close(self) -> None:
        """Forget the engine."""
        self._server = None
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    async def run(self, job: Job) -> Done:
        """Run a job; raises the problems of `errors`."""
        began = time.monotonic()
        try:
            hint = await self._find()
            if hint:
                raise TierUnavailable(hint)
            answer = await self._in_container(job)
        except ServerFailed as error:
            self._server = None
            log.warning("the container engine failed", reason=str(error))
            raise SandboxFailed("The container engine broke off; try again.") from error
        return Done(
            result=answer.result,
            stdout=answer.stdout,
            stderr=answer.stderr,
            tier="container",
            duration_ms=int((time.monotonic() - began) * 1000),
            cpu_seconds=answer.cpu_seconds,
            peak_memory=answer.peak_memory,
        )

    async def sweep_all(self) -> None:
        """Remove containers whose process has died or whose time is over."""
        await self._find()
        await self._sweep()

    async def _sweep(self, key: str = "") -> None:
        """Do as `sweep_all`, and remove those of the task `key`."""
        listed = await self._ask("GET", "/containers/json", query={"all": "1", "filters": _FILTER})
        for found in listed.json(list[_Listed]):
            labels = found.labels
            until = labels.get(f"{LABEL}.until", "")
            late = until.isdigit() and int(until) < now().timestamp()
            if late or (key and labels.get(LABEL) == key) or self._owner.died(labels.get(f"{LABEL}.owner", "")):
                await self._remove(found.id)

    async def _find(self) -> str:
        """Find the engine; gives what is missing, or nothing."""
        if self._server is not None:
            return ""
        places = [self._settings.docker] if self._settings.docker else [Path(place) for place in _SOCKETS]
        socket = next((place for place in places if place.is_socket()), None)
        if socket is None:
            return _INSTALL
        server = Server("docker", socket)
        try:
            version = await request(server, "GET", "/version", timeout=10)
            info = (await request(server, "GET", "/info", timeout=10)).json(_Info)
        except ServerFailed:
            return _INSTALL
        rootless = info.rootless or "name=rootless" in (info.security_options or [])
        if rootless and info.cgroup_version == "1":
            return _ROOTLESS
        rules = seccomp.profile()
        self._rules = self._file(rules) if b"Podman" in version.body else rules
        self._server = server
        await self._sweep()
        return ""

    def _file(self, rules: str) -> str:
        """Podman takes the path of a profile where Docker takes the profile."""
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="agent-factory-")
        path = Path(self._folder.name) / "seccomp.json"
        path.write_text(rules, encoding="utf-8")
        return str(path)

    async def _in_container(self, job: Job) -> Answer:
        question = Question(job)
        await self._pull(job)
        await self._sweep(job.key)
        async with self._container(job) as name, self._attached(name) as pipes:
            started = await self._ask("POST", f"/containers/{name}/start")
            if not started.ok:
                raise _broken(started)
            out, err = await converse(pipes, job.limits, question.wire, most=question.most)
            state = (await self._ask("GET", f"/containers/{name}/json")).json(_Inspected).state
            return question.answer(out, err, starved=state.oom_killed)

    async def _pull(self, job: Job) -> None:
        image = job.image or self._settings.image
        if (await self._ask("GET", f"/images/{image}/json")).ok:
            return
        name, _, tag = image.rpartition(":") if ":" in image.rpartition("/")[2] else (image, "", "latest")
        query = {"fromImage": name, "tag": tag}
        pulled = await self._ask("POST", "/images/create", query=query, timeout=_PULL_SECONDS)
        if not pulled.ok or not (await self._ask("GET", f"/images/{image}/json")).ok:
            raise CodeRefused(f"The image {image} is not there and cannot be pulled; name another, or load it.")

    @asynccontextmanager
    async def _container(self, job: Job) -> AsyncGenerator[str, None]:
        name = f"agent-factory-{secrets.token_hex(12)}"
        try:
            made = await self._ask("POST", "/containers/create", query={"name": name}, body=self._recipe(job))
            if not made.ok:
                raise _broken(made)
            yield name
        finally:
            await asyncio.shield(self._remove(name))

    async def _remove(self, name: str) -> None:
        """Remove a container that may be ending by itself at this moment, which engines then refuse to remove."""
        until = time.monotonic() + _PATIENCE
        why = ""
        while time.monotonic() < until:
            try:
                gone = await self._ask("DELETE", f"/containers/{name}", query={"force": "1", "v": "1"})
            except ServerFailed as error:
                why = str(error)
                break
            if gone.ok or gone.status == _NOT_FOUND:
                return
            why = gone.words
            await asyncio.sleep(_PAUSE)
        log.error("a container could not be removed; the next job tries again", reason=why)

    @asynccontextmanager
    async def _attached(self, name: str) -> AsyncGenerator[Pipes, None]:
        """Hold the container's streams; when this process dies, its standard input closes, and it ends."""
        assert self._server is not None
        query = {"stream": "1", "stdin": "1", "stdout": "1", "stderr": "1"}
        path = f"/containers/{name}/attach"
        async with exchange(self._server, "POST", path, query=query, upgrade=True) as answer:
            if answer.status not in {_OK, _SWITCHING}:
                raise ServerFailed("the streams of a container were refused")
            out, err = asyncio.StreamReader(), asyncio.StreamReader()
            parting = asyncio.create_task(_part(answer.wire.reader, out, err))
            try:
                yield Pipes(answer.wire.writer, out, err)
            finally:
                parting.cancel()
                await asyncio.gather(parting, return_exceptions=True)

    def _recipe(self, job: Job) -> dict[str, Any]:
        limits = job.limits
        memory = limits.memory_mb * MEGABYTE
        user = secrets.choice(_USERS)
        host: dict[str, Any] = {
            "NetworkMode": "bridge" if job.network == "full" else "none",
            "Memory": memory,
            "MemorySwap": memory,
            "PidsLimit": limits.processes + 1,
            "NanoCpus": int(self._settings.cores * 1e9),
            "ReadonlyRootfs": True,
            "Tmpfs": {"/tmp": f"rw,nosuid,nodev,mode=1777,size={limits.disk_mb}m"},  # noqa: S108 - inside
            "ShmSize": MEGABYTE,
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges", f"seccomp={self._rules}"],
            "LogConfig": {"Type": "none"},
            "Ulimits": [{"Name": name, "Soft": most, "Hard": most} for name, most in _ULIMITS.items()],
            "OomScoreAdj": 500,
        }
        if self._settings.runtime is not None:
            host["Runtime"] = self._settings.runtime
        return {
            "Image": job.image or self._settings.image,
            "Entrypoint": [],
            "Cmd": ["python3", "-I", "-B", "-X", "utf8", "-c", SCRIPT],
            "User": f"{user}:{user}",
            "WorkingDir": "/",
            "Tty": False,
            "OpenStdin": True,
            "StdinOnce": True,
            "AttachStdin": True,
            "AttachStdout": True,
            "AttachStderr": True,
            "StopTimeout": 0,
            "Labels": {
                LABEL: job.key or "unnamed",
                f"{LABEL}.owner": str(self._owner),
                f"{LABEL}.until": str(int(now().timestamp() + limits.seconds + _GRACE)),
                f"{LABEL}.organization": job.organization_id,
            },
            "HostConfig": host,
        }

    async def _ask(
        self,
        method: str,
        path: str,
        *,
        query: dict[str, str] | None = None,
        body: object = None,
        timeout: float = 60,  # noqa: ASYNC109 - the whole exchange, connecting included
    ) -> Reply:
        if self._server is None:
            raise ServerFailed("the engine has gone")
        return await request(self._server, method, path, query=query, body=body, timeout=timeout)


async def _part(both: asyncio.StreamReader, out: asyncio.StreamReader, err: asyncio.StreamReader) -> None:
    """Part the engine's one stream into the container's two: each piece has a header with its kind and length."""
    with suppress(EOFError, OSError):
        while True:
            header = await both.readexactly(_HEADER)
            left = int.from_bytes(header[4:], "big")
            stream = err if header[0] == _STDERR else out
            while left:
                piece = await both.read(min(left, 1 << 16))
                if not piece:
                    break
                stream.feed_data(piece)
                left -= len(piece)
    out.feed_eof()
    err.feed_eof()


def _broken(reply: Reply) -> SandboxFailed:
    log.error("the container engine refused a job", status=reply.status, said=reply.words)
    return SandboxFailed("The container engine could not start the job; look at its log, and try again.")
