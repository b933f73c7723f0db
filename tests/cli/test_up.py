"""`agent-factory up`: the product in one command, and what survives its end (S59)."""

import asyncio
import http.client
import json
import re
import signal
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from tests.cli.conftest import SUPPORT, Command, Up
from tests.doubles.fixtures import ModelServer

Start = Callable[..., Up]


def _get(url: str, path: str, key: str | None = None) -> tuple[int, bytes]:
    split = urlsplit(url)
    connection = http.client.HTTPConnection(split.hostname or "", split.port, timeout=10)
    try:
        connection.request("GET", path, headers={"authorization": f"Bearer {key}"} if key else {})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def _post(url: str, path: str, key: str, body: dict[str, str]) -> tuple[int, bytes]:
    split = urlsplit(url)
    connection = http.client.HTTPConnection(split.hostname or "", split.port, timeout=30)
    try:
        headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
        connection.request("POST", path, body=json.dumps(body), headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def _family(pid: int) -> list[psutil.Process]:
    parent = psutil.Process(pid)
    return [parent, *parent.children(recursive=True)]


def test_the_first_start_prints_a_key_once_and_keeps_it_for_the_owner(up: Start, environment: dict[str, str]) -> None:
    server = up()
    key = re.search(r"first API key: (af_\S+)", server.told)
    assert key is not None
    kept = Path(environment["AF_HOME"]) / "credentials.json"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert json.loads(kept.read_text()) == {"url": server.url, "api_key": key[1]}
    assert _get(server.url, "/api/v1/auth/me", key[1])[0] == 200
    assert _get(server.url, "/api/v1/auth/me", "af_wrong")[0] == 401
    assert server.stop() == 0
    again = up()
    assert "API key" not in again.told
    assert _get(again.url, "/api/v1/auth/me", key[1])[0] == 200


def test_a_conversation_is_found_again_after_kill_9(up: Start, command: Command) -> None:
    first = up()
    assert command("agent", "create", SUPPORT).returncode == 0
    assert command("agent", "deploy", "support").returncode == 0
    said = command("chat", "support", stdin="What is 17.5 % of 2340, rounded to cents?\n")
    assert said.returncode == 0, said.stderr
    assert "409.50" in said.stdout
    session = re.search(r"--session (ses_\S+)", said.stderr)
    assert session is not None

    processes = _family(first.process.pid)
    first.kill()
    psutil.wait_procs(processes, timeout=20)
    assert not [p for p in processes if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]

    up()
    kept = command("chat", "--session", session[1], stdin="/history\n")
    assert "user> What is 17.5 % of 2340" in kept.stdout
    assert "assistant> The result is 409.50." in kept.stdout
    more = command("chat", "--last", stdin="And what is 2 + 2?\n/history\n")
    assert "4" in more.stdout
    assert more.stdout.count("user> ") == 2


def test_a_second_start_on_the_same_state_says_that_it_runs(up: Start, command: Command) -> None:
    first = up()
    second = command("up", "--port", "0")
    assert second.returncode == 0
    assert f"already running at {first.url} (process {first.process.pid})" in second.stdout
    assert _get(first.url, "/health")[0] == 200


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_requests_finish_and_stops_everything(
    up: Start, command: Command, tmp_path: Path, sign: signal.Signals
) -> None:
    server = up()
    processes = _family(server.process.pid)
    assert any("postgres" in p.name() for p in processes)
    server.process.send_signal(sign)
    out, _ = server.process.communicate(timeout=40)
    assert server.process.returncode == 0
    assert out.endswith("> stopped\n")
    assert not [p for p in processes if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
    refused = command("agent", "list")
    assert refused.returncode == 1
    assert f"No server answers at {server.url}. Start one with: agent-factory up" in refused.stderr


async def test_a_request_in_flight_gets_its_answer_before_the_end(
    up: Start, command: Command, model_server: ModelServer, environment: dict[str, str], tmp_path: Path
) -> None:
    server = up(env={"AF_MODELS__ENDPOINTS": json.dumps({"here": {"url": model_server.url}})})
    file = tmp_path / "slow.yaml"
    file.write_text("name: slow\nmodel: here:echo\n")
    command("agent", "create", str(file))
    command("agent", "deploy", "slow")
    key = json.loads((Path(environment["AF_HOME"]) / "credentials.json").read_text())["api_key"]
    said = '{"say": "late but here", "delay": 1.5, "key": "up-in-flight"}'
    asking = asyncio.create_task(
        asyncio.to_thread(_post, server.url, "/api/v1/runs", key, {"agent": "slow", "input": said})
    )
    while (await model_server.calls("up-in-flight"))["calls"] == 0:
        assert not asking.done()
    server.process.terminate()
    status, body = await asking
    assert status == 201
    assert json.loads(body)["message"]["text"] == "late but here"
    assert server.stop() == 0


def test_a_taken_port_is_one_clear_sentence(command: Command) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        result = command("up", "--port", str(port))
    assert result.returncode == 1
    assert f"127.0.0.1:{port}" in result.stderr
    assert "--port" in result.stderr
    assert "[port_taken]" in result.stderr


def test_a_port_that_another_state_folder_serves_is_taken_too(up: Start, command: Command, tmp_path: Path) -> None:
    port = str(urlsplit(up().url).port)
    result = command("up", "--port", port, env={"AF_HOME": str(tmp_path / "other")})
    assert result.returncode == 1
    assert "[port_taken]" in result.stderr


def test_the_supervising_process_never_imports_the_application(up: Start) -> None:
    server = up()
    maps = Path(f"/proc/{server.process.pid}/maps").read_text()
    assert "granian" in maps
    assert "pydantic_core" not in maps
    assert "asyncpg" not in maps


def test_uvicorn_serves_as_well(up: Start, command: Command) -> None:
    server = up("--server", "uvicorn")
    assert _get(server.url, "/health")[0] == 200
    assert command("agent", "list").returncode == 0
    assert server.stop() == 0


def test_several_workers_serve_one_conversation(up: Start, command: Command) -> None:
    server = up("--workers", "2")
    assert len([p for p in psutil.Process(server.process.pid).children() if "postgres" not in p.name()]) == 2
    command("agent", "create", SUPPORT)
    command("agent", "deploy", "support")
    assert "409.50" in command("chat", "support", stdin="What is 17.5 % of 2340, rounded to cents?\n").stdout
    assert server.stop() == 0


async def test_a_database_of_ones_own_is_used_instead(
    up: Start, command: Command, empty_database_url: str, environment: dict[str, str]
) -> None:
    server = up("--database-url", empty_database_url)
    assert "starting PostgreSQL" not in server.told
    assert not (Path(environment["AF_HOME"]) / "postgres").exists()
    assert command("agent", "list").returncode == 0
    assert server.stop() == 0


def test_a_database_that_is_away_is_one_clear_line(command: Command) -> None:
    result = command("up", "--port", "0", "--database-url", "postgresql://nobody:x@127.0.0.1:9/none")
    assert result.returncode == 1
    assert result.stderr.startswith("error: ")
    assert "Traceback" not in result.stderr


def test_a_setting_that_the_worker_cannot_use_stops_the_start(command: Command) -> None:
    result = command("up", "--port", "0", env={"AF_SERVICES": '["billingg"]'})
    assert result.returncode == 1
    assert "billingg" in result.stderr


def test_state_that_belongs_to_another_login_is_not_made_readable(up: Start, environment: dict[str, str]) -> None:
    up()
    home = Path(environment["AF_HOME"])
    loose = [p for p in home.iterdir() if p.is_file() and stat.S_IMODE(p.stat().st_mode) & 0o077]
    assert loose == []
    assert stat.S_IMODE(home.stat().st_mode) & 0o066 == 0
