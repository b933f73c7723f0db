"""Container engines that lie, break off or may not be used: a stand-in speaks the Docker API's first words."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from agent_factory.runtime.sandbox.container import Container
from agent_factory.runtime.sandbox.errors import SandboxFailed, TierUnavailable
from agent_factory.runtime.sandbox.http import Server, ServerFailed, exchange, request
from agent_factory.runtime.sandbox.job import Job
from agent_factory.runtime.sandbox.settings import SandboxSettings
from tests.runtime.sandbox.conftest import QUICK

INFO = {"Rootless": False, "CgroupVersion": "2", "SecurityOptions": ["name=seccomp"]}


class Engine:
    """A server on a Unix socket that answers each path with bytes."""

    def __init__(self, socket: Path) -> None:
        self.socket = socket
        self.answers: dict[str, bytes] = {"/version": reply({"Components": []}), "/info": reply(INFO)}
        self.asked: list[tuple[str, str, Any]] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        method, target, _ = head.split(maxsplit=2)
        length = int(
            next(line.split(":")[1] for line in head.splitlines() if line.lower().startswith("content-length"))
        )
        body = await reader.readexactly(length)
        self.asked.append((method, target, json.loads(body) if body else None))
        path = target.partition("?")[0]
        found = next((answer for start, answer in self.answers.items() if path.startswith(start)), reply({}, 404))
        writer.write(found)
        await writer.drain()
        writer.close()


def reply(body: object, status: int = 200) -> bytes:
    text = json.dumps(body).encode()
    return b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%s" % (status, len(text), text)


@asynccontextmanager
async def serving(folder: Path) -> AsyncGenerator[Engine, None]:
    engine = Engine(folder / "engine.sock")
    server = await asyncio.start_unix_server(engine.serve, engine.socket)
    try:
        yield engine
    finally:
        server.close()
        await server.wait_closed()


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncGenerator[Engine, None]:
    async with serving(tmp_path) as started:
        yield started


def tier(engine: Engine) -> Container:
    return Container(SandboxSettings(docker=engine.socket, image="python"))


async def test_a_rootless_engine_that_ignores_limits_is_not_used(engine: Engine) -> None:
    engine.answers["/info"] = reply({**INFO, "Rootless": True, "CgroupVersion": "1"})
    status = await tier(engine).status()
    assert not status.available
    assert "rootless" in status.hint
    with pytest.raises(TierUnavailable, match="rootless"):
        await tier(engine).run(Job(code="", limits=QUICK))


async def test_a_rootless_docker_that_keeps_limits_is_used(engine: Engine) -> None:
    engine.answers["/info"] = reply({**INFO, "SecurityOptions": ["name=rootless"]})
    engine.answers["/containers/json"] = reply([])
    assert (await tier(engine).status()).available


@pytest.mark.parametrize(
    "answer", [b"", b"hello\r\n\r\n", b"HTTP/1.1 x\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}"]
)
async def test_a_socket_that_speaks_something_else_is_not_used(engine: Engine, answer: bytes) -> None:
    engine.answers["/version"] = answer
    assert not (await tier(engine).status()).available


async def test_an_engine_that_breaks_off_in_the_middle_fails_the_job_to_be_tried_again(engine: Engine) -> None:
    engine.answers["/containers/json"] = reply([])
    engine.answers["/images"] = reply({})
    engine.answers["/containers/create"] = reply({"message": "no space left on /var/lib/docker"}, 500)
    with pytest.raises(SandboxFailed) as caught:
        await tier(engine).run(Job(code="result = 1", limits=QUICK))
    assert caught.value.retryable
    assert "/var/lib" not in caught.value.detail
    assert [method for method, target, _ in engine.asked if target.startswith("/containers/agent-factory-")] == [
        "DELETE"
    ]


async def test_docker_gets_every_wall_in_its_own_words(engine: Engine) -> None:
    engine.answers["/containers/json"] = reply([])
    engine.answers["/images"] = reply({})
    engine.answers["/containers/create"] = reply({}, 500)
    limits = QUICK.model_copy(update={"memory_mb": 100, "processes": 9, "disk_mb": 7})
    with pytest.raises(SandboxFailed):
        await tier(engine).run(Job(code="secret code", limits=limits, key="run/x", organization_id="org"))
    body = next(body for _, target, body in engine.asked if target.startswith("/containers/create"))
    host = body["HostConfig"]
    assert host["NetworkMode"] == "none"
    assert host["Memory"] == host["MemorySwap"] == 100 << 20
    assert host["PidsLimit"] == 10
    assert host["ReadonlyRootfs"] is True
    assert host["CapDrop"] == ["ALL"]
    assert next(iter(host["Tmpfs"].values())).endswith("size=7m")
    assert host["SecurityOpt"][0] == "no-new-privileges"
    rules = json.loads(host["SecurityOpt"][1].removeprefix("seccomp="))
    assert rules["defaultAction"] == "SCMP_ACT_ALLOW"
    assert not {"Privileged", "Binds", "Mounts", "Devices", "CapAdd"} & host.keys()
    assert body["Labels"]["agent-factory.job"] == "run/x"
    assert "secret code" not in json.dumps(body), "the code goes by standard input, not where the engine keeps it"
    assert int(body["User"].split(":")[0]) >= 0x7000_0000


async def test_answers_in_pieces_are_put_together(engine: Engine) -> None:
    engine.answers["/x"] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n[1,\r\n2;a=b\r\n2]\r\n0\r\n\r\n"
    assert (await request(Server("x", engine.socket), "GET", "/x")).json(list[int]) == [1, 2]
    engine.answers["/y"] = b"HTTP/1.0 200 OK\r\n\r\n[3]"
    assert (await request(Server("x", engine.socket), "GET", "/y")).json(list[int]) == [3]


async def test_lines_come_apart_wherever_the_pieces_end(engine: Engine) -> None:
    engine.answers["/x"] = (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\none\n\r\n2\r\ntw\r\n7\r\no\nthree\r\n0\r\n\r\n"
    )
    async with exchange(Server("x", engine.socket), "GET", "/x") as answer:
        assert [line async for line in answer.lines()] == [b"one", b"two", b"three"]


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nshort",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000,
        b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 2000,
    ],
)
async def test_broken_and_endless_answers_are_failures(engine: Engine, answer: bytes) -> None:
    engine.answers["/x"] = answer
    with pytest.raises(ServerFailed):
        await request(Server("x", engine.socket), "GET", "/x", most=1000)


@pytest.mark.parametrize("path", ["/x y", "/x\r\nHost: evil", "/x\n", "/x\0"])
async def test_a_path_cannot_carry_a_second_request(engine: Engine, path: str) -> None:
    with pytest.raises(ServerFailed):
        await request(Server("x", engine.socket), "GET", path)
    assert engine.asked == []


async def test_a_socket_that_nobody_serves_fails(tmp_path: Path) -> None:
    with pytest.raises(ServerFailed):
        await request(Server("x", tmp_path / "none"), "GET", "/")
