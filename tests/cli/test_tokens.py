"""Rotating the key that signs access tokens, and keys with scopes, from the command line."""

import json
from collections.abc import Generator

import pytest

from tests.cli.conftest import Command, Up, clean_environment


@pytest.fixture(scope="module")
def operator(tmp_path_factory: pytest.TempPathFactory) -> Generator[Command, None, None]:
    """Commands beside a server."""
    folder = tmp_path_factory.mktemp("server")
    environment = clean_environment(folder)
    server = Up(environment)
    yield Command(environment, folder)
    assert server.stop() == 0


def test_each_rotation_makes_another_key(operator: Command) -> None:
    first = operator("token", "rotate")
    assert first.returncode == 0, first.stderr
    second = operator("token", "rotate", "--distrust")
    assert "older ones are refused" in second.stdout
    kid = second.stdout.split(";")[0].rpartition(" ")[2]
    assert first.stdout.split(";")[0].rpartition(" ")[2] != kid


def test_a_key_is_made_with_scopes_and_an_end(operator: Command) -> None:
    made = operator(
        "key", "create", "ci", "--scope", "agent:read", "--scope", "agent:run", "--expires", "2999-01-31T00:00:00Z",
        "-o", "json",
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    key = json.loads(made.stdout)
    assert (key["scopes"], key["kind"]) == (["agent:read", "agent:run"], "personal")
    refused = operator("key", "create", "worker", "--service")
    assert refused.returncode != 0
    assert "scopes" in refused.stderr
