"""The state folder."""

import stat
import subprocess
import sys
from pathlib import Path

import pytest

from agent_factory.cli.state import AlreadyRunning, Credentials, State, default_home


def test_credentials_are_readable_by_the_owner_only(tmp_path: Path) -> None:
    state = State(tmp_path)
    path = state.keep(Credentials("http://127.0.0.1:1", "af_secret"))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert state.credentials == Credentials("http://127.0.0.1:1", "af_secret")


def test_credentials_replaced_over_a_loose_file_are_tight_again(tmp_path: Path) -> None:
    (tmp_path / "credentials.json").write_text("{}")
    (tmp_path / "credentials.json").chmod(0o644)
    path = State(tmp_path).keep(Credentials("u", "k"))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_broken_or_missing_credentials_are_none(tmp_path: Path) -> None:
    state = State(tmp_path)
    assert state.credentials is None
    (tmp_path / "credentials.json").write_text("{broken")
    assert state.credentials is None


def test_a_folder_is_claimed_by_one_process_at_a_time(tmp_path: Path) -> None:
    holder = (
        "import sys\nfrom pathlib import Path\nfrom agent_factory.cli.state import State\n"
        "state = State(Path(sys.argv[1]))\n"
        "with state.claim():\n    state.announce('http://127.0.0.1:5')\n"
        "    print('held', flush=True)\n    sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", holder, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(AlreadyRunning) as found, State(tmp_path).claim():
            pass
        assert found.value.running is not None
        assert found.value.running.pid == process.pid
        assert found.value.running.url == "http://127.0.0.1:5"
        process.kill()
    with State(tmp_path).claim():
        assert (tmp_path / "lock").exists()


def test_a_claim_ends_with_its_block(tmp_path: Path) -> None:
    for _ in range(2):
        with State(tmp_path / "new" / "home").claim():
            assert (tmp_path / "new" / "home").is_dir()


def test_a_checkout_keeps_its_state_in_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert default_home() == tmp_path / "home" / ".agent-factory"
    (tmp_path / ".data").mkdir()
    assert default_home() == tmp_path / ".data"
