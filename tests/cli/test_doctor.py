"""`agent-factory doctor`: what is configured, what is missing, what to do."""

import json
import socket
from collections.abc import Callable
from pathlib import Path

from tests.cli.conftest import Command, Up


def _findings(command: Command, *arguments: str, **env: str) -> dict[str, dict[str, str]]:
    result = command("doctor", "-o", "json", *arguments, env=env)
    return {finding["what"]: finding for finding in json.loads(result.stdout)}


def _free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def test_a_fresh_machine_is_fine_and_is_told_the_next_step(command: Command) -> None:
    result = command("doctor", "--port", _free_port())
    assert result.returncode == 0, result.stdout
    assert "agent-factory up" in result.stdout
    assert "Set OPENAI_API_KEY." in result.stdout
    assert "no language model" in result.stdout


def test_looking_changes_nothing(command: Command, environment: dict[str, str]) -> None:
    command("doctor")
    assert not Path(environment["AF_HOME"]).exists()


def test_every_provider_is_listed_with_what_it_needs(command: Command) -> None:
    found = _findings(command, "--port", _free_port(), OPENAI_API_KEY="sk-x", AF_MODELS__DEFAULT="openai:gpt-5-mini")
    assert found["model openai"] == {"what": "model openai", "health": "ok", "found": "configured", "todo": ""}
    assert found["model anthropic"]["todo"] == "Set ANTHROPIC_API_KEY."
    assert found["default model"]["found"] == "openai:gpt-5-mini"


def test_every_tier_for_code_is_listed_with_what_it_needs(command: Command) -> None:
    found = _findings(command, "--port", _free_port(), AF_SANDBOX__TIERS='["snippet"]')
    assert found["code in snippet"]["health"] == "ok"
    for name in ("sandbox", "container", "kubernetes"):
        finding = found[f"code in {name}"]
        assert (finding["health"], finding["found"]) == ("note", "not available")
        assert finding["todo"] == f"The tier {name} is switched off; add it to AF_SANDBOX__TIERS."


def test_a_taken_port_is_in_the_way(command: Command) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        result = command("doctor", "--port", str(holder.getsockname()[1]))
    assert result.returncode == 1
    assert "is taken by another program" in result.stdout


def test_a_key_that_others_can_read_is_in_the_way(command: Command, environment: dict[str, str]) -> None:
    kept = Path(environment["AF_HOME"]) / "credentials.json"
    kept.parent.mkdir()
    kept.write_text('{"url": "u", "api_key": "k"}')
    kept.chmod(0o644)
    result = command("doctor", "--port", _free_port())
    assert result.returncode == 1
    assert f"chmod 600 {kept}" in result.stdout


def test_an_unknown_setting_is_in_the_way(command: Command) -> None:
    result = command("doctor", env={"AF_DATABSE__URL": "x"})
    assert result.returncode == 1
    assert "AF_DATABSE__URL" in result.stdout


def test_a_database_that_is_away_is_in_the_way(command: Command) -> None:
    url = "postgresql://nobody:secret@127.0.0.1:9/none"
    result = command("doctor", "--port", _free_port(), env={"AF_DATABASE__URL": url})
    assert result.returncode == 1
    assert "PostgreSQL" in result.stdout
    assert "secret" not in result.stdout


async def test_a_database_that_has_no_schema_yet_is_a_note(command: Command, empty_database_url: str) -> None:
    found = _findings(command, "--port", _free_port(), AF_DATABASE__URL=empty_database_url)
    assert found["PostgreSQL"]["health"] == "note"
    assert "agent-factory up" in found["PostgreSQL"]["todo"]


async def test_a_database_at_the_newest_schema_is_fine(command: Command, fresh_database_url: str) -> None:
    found = _findings(command, "--port", _free_port(), AF_DATABASE__URL=fresh_database_url)
    assert found["PostgreSQL"]["health"] == "ok"


def test_a_running_product_is_recognised_and_left_running(command: Command, up: Callable[..., Up]) -> None:
    server = up()
    found = _findings(command)
    assert found["server"]["found"] == f"running at {server.url}, process {server.process.pid}"
    assert found["PostgreSQL"]["found"].startswith("embedded, running")
    assert found["state folder"]["health"] == "ok"
    assert command("agent", "list").returncode == 0
