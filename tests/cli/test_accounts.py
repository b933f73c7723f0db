"""Logging in from the command line, and looking after an account there (S31, S40)."""

import email
import json
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Generator
from pathlib import Path

import pytest
from pyotp.totp import TOTP

from tests.cli.conftest import ROOT, SCRIPT, Command, Up, clean_environment

PASSWORD, OTHER_PASSWORD = "correct-horse-staple-9", "quite-another-horse-7"
OWNER = "owner@localhost"


@pytest.fixture(scope="module")
def owner(tmp_path_factory: pytest.TempPathFactory) -> Generator[Command, None, None]:
    """Commands beside a server whose owner has chosen a password."""
    folder = tmp_path_factory.mktemp("server")
    environment = clean_environment(folder)
    server = Up(environment)
    command = Command(environment, folder)
    chosen = command("account", "set-password", stdin=f"{PASSWORD}\n")
    assert chosen.returncode == 0, chosen.stderr
    yield command
    assert server.stop() == 0


@pytest.fixture
def served(owner: Command) -> Generator[Command, None, None]:
    """The owner's commands, without a login."""
    yield owner
    kept(owner, "login.json").unlink(missing_ok=True)


def kept(command: Command, name: str) -> Path:
    return Path(command.environment["AF_HOME"]) / name


def logged_in(command: Command, *more: str, password: str = PASSWORD) -> None:
    done = command("login", "--email", OWNER, *more, stdin=f"{password}\n")
    assert done.returncode == 0, done.stderr


def test_an_owner_chooses_a_password_logs_in_acts_and_logs_out(served: Command) -> None:
    logged_in(served)
    tokens = kept(served, "login.json")
    assert stat.S_IMODE(tokens.stat().st_mode) == stat.S_IMODE(kept(served, "devices.json").stat().st_mode) == 0o600
    key = kept(served, "credentials.json").rename(kept(served, "elsewhere.json"))
    shown = json.loads(served("account", "show", "-o", "json").stdout)
    assert (shown["email"], shown["has_password"]) == (OWNER, True)
    assert served("key", "list").returncode == 0
    assert served("logout").stdout == "logged out\n"
    assert not tokens.exists()
    refused = served("key", "list")
    assert refused.returncode == 4
    assert "agent-factory login" in refused.stderr
    key.rename(kept(served, "credentials.json"))


def test_a_wrong_password_is_one_clear_line(served: Command) -> None:
    refused = served("login", "--email", OWNER, stdin=f"{OTHER_PASSWORD}\n")
    assert refused.returncode == 4
    assert "[invalid_credentials]" in refused.stderr
    assert refused.stderr.count("\n") == 1
    assert OTHER_PASSWORD not in refused.stderr + refused.stdout


def test_without_a_terminal_nothing_is_asked_for(served: Command) -> None:
    refused = served("login", "--email", OWNER)
    assert refused.returncode == 2
    assert "stdin" in refused.stderr


def test_a_password_is_not_shown_at_a_terminal(served: Command) -> None:
    code, shown = served.at_terminal("login", "--email", OWNER, typed={"Password: ": f"{PASSWORD}\n"})
    assert code == 0, shown
    assert PASSWORD not in shown


def test_tokens_that_are_over_are_renewed_once_however_many_commands_need_them(served: Command) -> None:
    """S30: a refresh token that two of them used would end the session."""
    logged_in(served)
    tokens = kept(served, "login.json")
    tokens.write_text(json.dumps({**json.loads(tokens.read_text()), "expires_at": 0}))
    codes: list[int] = []
    running = [threading.Thread(target=lambda: codes.append(served("account", "show").returncode)) for _ in range(4)]
    for each in running:
        each.start()
    for each in running:
        each.join()
    assert codes == [0, 0, 0, 0]
    assert json.loads(tokens.read_text())["expires_at"] > 0


def test_a_session_that_has_ended_says_so(served: Command) -> None:
    logged_in(served)
    login = json.loads(kept(served, "login.json").read_text())
    changed = served("account", "set-password", stdin=f"{PASSWORD}\n{OTHER_PASSWORD}\n")
    assert changed.returncode == 0, changed.stderr
    assert served("account", "show").returncode == 0, "the session that changed it goes on"
    back = served("account", "set-password", stdin=f"{OTHER_PASSWORD}\n{PASSWORD}\n")
    assert back.returncode == 0, back.stderr
    kept(served, "login.json").write_text(json.dumps({**login, "refresh_token": "x", "expires_at": 0}))
    told = served("account", "show")
    assert "your session has ended" in told.stderr


def recovery_codes(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.count("-") == 3 and " " not in line.strip()]


def enrolled(command: Command) -> list[str]:
    """Switch the second factor on as a person does: read the secret, then type its code."""
    running = subprocess.Popen(
        [SCRIPT, "account", "second-factor", "enable"],
        env=command.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert running.stdin is not None
    assert running.stdout is not None
    running.stdin.write(f"{PASSWORD}\n")
    running.stdin.flush()
    secret = next(line.strip() for line in running.stdout if len(line.strip()) == 32)
    shown, _ = running.communicate(f"{TOTP(secret).now()}\n", timeout=50)
    assert running.returncode == 0
    return recovery_codes(shown)


def test_a_second_factor_is_switched_on_asked_for_and_switched_off(served: Command) -> None:
    logged_in(served)
    codes = enrolled(served)
    assert len(codes) == 10
    refused = served("login", "--email", OWNER, stdin=f"{PASSWORD}\n")
    assert refused.returncode == 4
    assert "[otp_required]" in refused.stderr
    logged_in(served, "--otp", codes[0])
    fresh = served("account", "recovery-codes", stdin=f"{PASSWORD}\n{codes[1]}\n")
    new = recovery_codes(fresh.stdout)
    assert len(new) == 10, fresh.stderr
    off = served("account", "second-factor", "disable", stdin=f"{PASSWORD}\n{new[0]}\n")
    assert off.stdout == "the second factor is off\n"
    logged_in(served)


def test_a_forgotten_password_is_replaced_by_the_token_of_a_letter(up: Callable[..., Up], command: Command) -> None:
    options = [sys.executable, "-m", "tests.doubles.smtp_server"]
    with subprocess.Popen(options, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as post:
        assert post.stdin is not None
        assert post.stdout is not None
        port = json.loads(post.stdout.readline())["port"]
        up(env={"AF_MAIL__URL": f"smtp://127.0.0.1:{port}", "AF_MAIL__PLAIN": "true", "AF_MAIL__POLL": "0.1"})
        asked = command("account", "forgot-password", "--email", OWNER)
        assert asked.returncode == 0, asked.stderr
        text = email.message_from_string(json.loads(post.stdout.readline())["content"]).get_payload(decode=True)
        assert isinstance(text, bytes)
        token = next(word for word in text.decode().split() if word.startswith("afr_"))
        done = command("account", "reset-password", token, "--email", OWNER, stdin=f"{PASSWORD}\n")
        assert done.returncode == 0, done.stderr
        logged_in(command)
        post.stdin.close()


def test_the_operator_disables_a_person_everywhere_and_enables_him_again(
    up: Callable[..., Up], command: Command
) -> None:
    """S31: also who has forgotten everything but the address, and while the server runs."""
    up(env={"AF_AUTH__BELIEVED_SECONDS": "0"})
    assert command("account", "set-password", stdin=f"{PASSWORD}\n").returncode == 0
    logged_in(command)
    disabled = command("account", "disable", OWNER.upper())
    assert disabled.returncode == 0, disabled.stderr
    assert "is disabled" in disabled.stdout
    assert "nobody else leads org_" in disabled.stderr
    assert command("account", "show").returncode == 4
    assert command("login", "--email", OWNER, stdin=f"{PASSWORD}\n").returncode == 4
    assert command("account", "enable", OWNER).stdout == f"{OWNER} is enabled\n"
    logged_in(command)
    unknown = command("account", "disable", "nobody@example.com")
    assert (unknown.returncode, "[account_not_found]" in unknown.stderr) == (1, True)


def test_the_last_owner_cannot_close_his_account(served: Command) -> None:
    """Abuse 47."""
    refused = served("account", "close", stdin=f"{PASSWORD}\n")
    assert refused.returncode == 1
    assert "[last_owner]" in refused.stderr
    logged_in(served)


def test_who_was_invited_closes_his_account_and_is_gone(up: Callable[..., Up], command: Command) -> None:
    eve = "eve@example.com"
    options = [sys.executable, "-m", "tests.doubles.smtp_server"]
    with subprocess.Popen(options, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as post:
        assert post.stdin is not None
        assert post.stdout is not None
        port = json.loads(post.stdout.readline())["port"]
        up(env={"AF_MAIL__URL": f"smtp://127.0.0.1:{port}", "AF_MAIL__PLAIN": "true", "AF_MAIL__POLL": "0.1"})
        invited = command("member", "invite", eve)
        assert invited.returncode == 0, invited.stderr
        text = email.message_from_string(json.loads(post.stdout.readline())["content"]).get_payload(decode=True)
        assert isinstance(text, bytes)
        token = text.decode().partition("member accept ")[2].split()[0]
        joined = command("member", "accept", token, stdin=f"{PASSWORD}\n")
        assert joined.returncode == 0, joined.stderr
        assert command("login", "--email", eve, stdin=f"{PASSWORD}\n").returncode == 0
        assert command("account", "close", stdin=f"{OTHER_PASSWORD}\n").returncode == 4
        closed = command("account", "close", stdin=f"{PASSWORD}\n")
        assert closed.stdout == "the account is closed\n", closed.stderr
        assert not kept(command, "login.json").exists()
        assert command("login", "--email", eve, stdin=f"{PASSWORD}\n").returncode == 4
        assert eve not in command("member", "list").stdout
        post.stdin.close()
