"""People organised from the command line alone: invited, let in, given roles, and put away (S31, S47)."""

import email
import json
import re
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.cli.conftest import ROOT, Command, Up, clean_environment

PASSWORD = "correct-horse-staple-9"
ADA = "ada@example.com"


@pytest.fixture
def post() -> Generator[subprocess.Popen[str], None, None]:
    """A mail server that writes down each letter."""
    server = subprocess.Popen(
        [sys.executable, str(ROOT / "tests/doubles/smtp_server.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    yield server
    server.communicate("", timeout=10)


def letter(post: subprocess.Popen[str]) -> str:
    """The next letter's text."""
    assert post.stdout is not None
    content = json.loads(post.stdout.readline())["content"]
    payload = email.message_from_string(content).get_payload(decode=True)
    assert isinstance(payload, bytes)
    return payload.decode()


@pytest.mark.timeout(180)
def test_a_person_is_invited_comes_in_is_given_a_role_and_removed(post: subprocess.Popen[str], tmp_path: Path) -> None:
    assert post.stdout is not None
    port = json.loads(post.stdout.readline())["port"]
    environment = clean_environment(tmp_path)
    mail = {"AF_MAIL__URL": f"smtp://127.0.0.1:{port}", "AF_MAIL__PLAIN": "true", "AF_MAIL__POLL": "0.1"}
    server = Up({**environment, **mail, "AF_AUTH__BELIEVED_SECONDS": "0"})
    owner = Command(environment, tmp_path)
    try:
        invited = owner("member", "invite", ADA, "--role", "viewer")
        assert invited.returncode == 0, invited.stderr
        found = re.search(r"inv_[\w-]{43}", letter(post))
        assert found is not None
        address = json.loads((tmp_path / "state/credentials.json").read_text())["url"]
        ada = Command({**environment, "AF_HOME": str(tmp_path / "ada"), "AF_URL": address}, tmp_path)
        joined = ada("member", "accept", found[0], "--name", "Ada", stdin=f"{PASSWORD}\n")
        assert joined.stdout.startswith("you are viewer of org_"), joined.stderr
        again = ada("member", "accept", found[0])
        assert (again.returncode, "[invitation_invalid]" in again.stderr) == (1, True)
        assert ada("login", "--email", ADA, stdin=f"{PASSWORD}\n").returncode == 0
        people = json.loads(ada("member", "list", "-o", "json").stdout)
        assert {(p["email"], p["role"]) for p in people} == {("owner@localhost", "organization_owner"), (ADA, "viewer")}
        refused = ada("member", "invite", "eve@example.com")
        assert (refused.returncode, "[permission_denied]" in refused.stderr) == (4, True)
        assert owner("member", "role", ADA, "developer").stdout == f"{ADA} is developer\n"
        assert ada("key", "create", "mine").returncode == 0
        assert owner("member", "disable", ADA).stdout == f"{ADA} is disabled\n"
        assert ada("member", "list").returncode == 4
        assert owner("member", "enable", ADA).returncode == 0
        assert owner("member", "remove", ADA).stdout == f"{ADA} is removed\n"
        assert [p["email"] for p in json.loads(owner("member", "list", "-o", "json").stdout)] == ["owner@localhost"]
        assert owner("member", "role", ADA, "viewer").returncode == 1
        states = json.loads(owner("member", "invitations", "-o", "json").stdout)
        assert [(i["email"], i["status"]) for i in states] == [(ADA, "accepted")]
    finally:
        assert server.stop() == 0


def test_an_organisation_is_shown_renamed_suspended_and_resumed(server_command: Command) -> None:
    assert server_command("org", "rename", "Acme").stdout == "the organisation is named Acme\n"
    shown = json.loads(server_command("org", "show", "-o", "json").stdout)
    assert (shown["name"], shown["role"], shown["status"]) == ("Acme", "organization_owner", "active")
    assert server_command("org", "suspend").returncode == 0
    assert json.loads(server_command("org", "show", "-o", "json").stdout)["status"] == "suspended"
    assert server_command("org", "resume").stdout == "the organisation is active again\n"
    made = json.loads(server_command("org", "create", "Second", "-o", "json").stdout)
    assert [o["id"] for o in json.loads(server_command("org", "list", "-o", "json").stdout)] == [
        made["id"],
        shown["id"],
    ]
    assert "viewer" in server_command("org", "roles").stdout


def test_a_deleted_organisation_is_shown_with_the_day_of_its_purge_and_restored(server_command: Command) -> None:
    assert server_command("org", "deleted").stderr == "nothing here yet\n"
    mine = json.loads(server_command("org", "show", "-o", "json").stdout)["id"]
    done = server_command("org", "delete")
    assert done.stdout.startswith("the organisation is deleted; until "), done.stderr
    (doomed,) = json.loads(server_command("org", "deleted", "-o", "json").stdout)
    assert (doomed["id"], doomed["status"]) == (mine, "restorable")
    assert doomed["purged_from"] in done.stdout
    (due,) = json.loads(
        server_command("org", "deleted", "-o", "json", env={"AF_ORGANIZATIONS__PURGE_DAYS": "60"}).stdout
    )
    assert due["purged_from"] > doomed["purged_from"]
    assert server_command("org", "restore").stdout == "the organisation is back\n"
    assert json.loads(server_command("org", "show", "-o", "json").stdout)["status"] == "active"


def test_where_nobody_registers_the_command_says_so(server_command: Command) -> None:
    refused = server_command("account", "register", "--email", ADA, stdin=f"{PASSWORD}\n")
    assert (refused.returncode, "[registration_closed]" in refused.stderr) == (1, True)
