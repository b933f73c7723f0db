"""Secrets by commands: values come in where nobody sees them, and keys are replaced while everything runs."""

import json
import stat
import uuid
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Command

VALUE = "a-value-for-the-command-line"


@pytest.fixture
def name() -> str:
    return f"KEY_{uuid.uuid4().hex[:12]}"


def listed(command: Command, name: str) -> dict[str, Any] | None:
    rows = json.loads(command("secret", "list", "--limit", "100", "-o", "json").stdout)
    return next((row for row in rows if row["name"] == name), None)


def test_a_value_comes_from_standard_input_and_is_shown_nowhere(server_command: Command, name: str) -> None:
    done = server_command("secret", "set", name, "--host", "api.example.com", stdin=VALUE + "\n")
    assert done.returncode == 0, done.stderr
    found = listed(server_command, name)
    assert found is not None
    assert found["hosts"] == ["api.example.com"]
    assert VALUE not in done.stdout + done.stderr + json.dumps(found)


def test_at_a_terminal_it_is_asked_for_and_not_echoed(server_command: Command, name: str) -> None:
    code, shown = server_command.at_terminal(
        "secret", "set", name, "--host", "api.example.com", typed={"Value": VALUE + "\n"}
    )
    assert code == 0, shown
    assert VALUE not in shown
    assert listed(server_command, name) is not None


def test_set_again_replaces_the_value_and_keeps_the_hosts(server_command: Command, name: str) -> None:
    server_command("secret", "set", name, "--host", "*.example.com", stdin=VALUE)
    before = listed(server_command, name)
    assert server_command("secret", "set", name, stdin="another-value").returncode == 0
    after = listed(server_command, name)
    assert before is not None
    assert after is not None
    assert after["fingerprint"] != before["fingerprint"]
    assert (after["id"], after["hosts"]) == (before["id"], ["*.example.com"])


def test_a_new_one_needs_a_host(server_command: Command, name: str) -> None:
    done = server_command("secret", "set", name, stdin=VALUE)
    assert done.returncode == 2
    assert "--host" in done.stderr


def test_no_command_takes_a_value_as_an_argument(server_command: Command, name: str) -> None:
    """Whoever is on the same machine can read arguments."""
    assert server_command("secret", "set", name, VALUE, "--host", "a.example.com").returncode == 2
    assert "--value" not in server_command("secret", "set", "--help").stdout


def test_one_is_deleted_by_its_name(server_command: Command, name: str) -> None:
    server_command("secret", "set", name, "--host", "api.example.com", stdin=VALUE)
    assert server_command("secret", "delete", name).stdout == f"{name} is deleted\n"
    assert listed(server_command, name) is None
    again = server_command("secret", "delete", name)
    assert again.returncode == 1
    assert "secret list" in again.stderr


def test_keys_are_replaced_beside_the_running_server(server_command: Command, name: str) -> None:
    kept = server_command("secret", "set", name, "--host", "api.example.com", stdin=VALUE)
    assert kept.returncode == 0, kept.stderr
    done = server_command("secrets", "rotate", "--kek")
    assert done.returncode == 0, done.stderr
    assert "values sealed anew" in done.stdout
    assert " 0 values sealed" not in done.stdout
    again = server_command("secrets", "rotate")
    assert again.stdout.startswith("0 data keys wrapped"), "they were, by the run before"
    assert server_command("secret", "set", name, stdin="another-value").returncode == 0


def test_the_doctor_says_where_the_encryption_key_is(server_command: Command, name: str) -> None:
    server_command("secret", "set", name, "--host", "api.example.com", stdin=VALUE)
    told = json.loads(server_command("doctor", "-o", "json").stdout)
    found = next(each for each in told if each["what"] == "encryption key")
    path = server_command.environment["AF_HOME"] + "/encryption.key"
    assert (found["health"], found["found"]) == ("ok", path)
    assert "copy" in found["todo"]


def test_the_doctor_refuses_a_key_that_others_can_read(server_command: Command, name: str) -> None:
    server_command("secret", "set", name, "--host", "api.example.com", stdin=VALUE)
    path = Path(server_command.environment["AF_HOME"]) / "encryption.key"
    path.chmod(0o644)
    try:
        told = json.loads(server_command("doctor", "-o", "json").stdout)
    finally:
        path.chmod(stat.S_IRUSR | stat.S_IWUSR)
    found = next(each for each in told if each["what"] == "encryption key")
    assert found["health"] == "fail"
    assert "chmod 600" in found["found"]
