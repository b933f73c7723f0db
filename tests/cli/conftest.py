"""Commands as a person runs them: the installed script, in a clean environment."""

import fcntl
import json
import os
import pty
import re
import select
import subprocess
import sys
import termios
from collections.abc import Callable, Generator, Mapping
from contextlib import suppress
from pathlib import Path

import pytest

SCRIPT = Path(sys.executable).parent / "agent-factory"
ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
SUPPORT = str(EXAMPLES / "support.yaml")
_PATIENCE = 20.0
"""Seconds that a terminal may be silent."""


def clean_environment(folder: Path) -> dict[str, str]:
    """Give variables for a command: no model, no server, a home of its own."""
    return {
        "PATH": f"{SCRIPT.parent}:/usr/bin:/bin",
        # the tree under test, wherever another one is installed
        "PYTHONPATH": str(ROOT),
        "HOME": str(folder / "home"),
        "AF_HOME": str(folder / "state"),
        # no Ollama of this machine takes part
        "AF_MODELS__OLLAMA_URL": "http://127.0.0.1:9",
        "AF_LOGGING__REQUESTS": "false",
        # all commands of a test come from one address
        "AF_LIMITS__ENABLED": "false",
        "LC_ALL": "C.UTF-8",
    }


def _take_terminal() -> None:
    """Make stdin the terminal whose Ctrl-C is ours."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


class Command:
    """Runs `agent-factory` in one environment."""

    def __init__(self, environment: Mapping[str, str], folder: Path) -> None:
        self.environment = dict(environment)
        self._folder = folder

    def __call__(
        self, *arguments: str, stdin: str = "", cwd: Path | None = None, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run it to its end, stdin closed after what is given."""
        return subprocess.run(
            [SCRIPT, *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            env={**self.environment, **(env or {})},
            cwd=cwd or self._folder,
            check=False,
            timeout=50,
        )

    def at_terminal(
        self, *arguments: str, typed: Mapping[str, str] | None = None, env: Mapping[str, str] | None = None
    ) -> tuple[int, str]:
        """Run it at a terminal; each text of `typed` is entered once the words before it are shown.

        Gives the exit code and all that the terminal showed.
        """
        main, terminal = pty.openpty()
        waiting = list((typed or {}).items())
        shown = ""
        with subprocess.Popen(
            [SCRIPT, *arguments],
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            env={"TERM": "xterm-256color", **self.environment, **(env or {})},
            cwd=self._folder,
            start_new_session=True,
            preexec_fn=_take_terminal,  # noqa: PLW1509 - one system call, and no threads of ours hold locks
        ) as process:
            os.close(terminal)
            seen = 0
            typed_last = ""
            silent = 0
            with suppress(OSError):  # how Linux says that nobody is at the other end any more
                while silent < _PATIENCE:
                    if not select.select([main], [], [], 1)[0]:
                        silent += 1
                        if typed_last == "\x03":
                            # Python misses a Ctrl-C between its prompt and its wait for a key: press it again
                            os.write(main, b"\x03")
                        continue
                    piece = os.read(main, 4096)
                    if not piece:
                        break
                    silent = 0
                    shown += piece.decode(errors="replace")
                    while waiting and waiting[0][0] in shown[seen:]:
                        seen = shown.index(waiting[0][0], seen) + len(waiting[0][0])
                        typed_last = waiting.pop(0)[1]
                        os.write(main, typed_last.encode())
            if silent >= _PATIENCE:
                process.kill()
        os.close(main)
        assert not waiting, f"{waiting[0][0]!r} was never shown:\n{shown}"
        return process.returncode, shown


class Up:
    """A running `agent-factory up` on a free port; `told` is what it printed until it was ready."""

    def __init__(self, environment: Mapping[str, str], *arguments: str) -> None:
        self.process = subprocess.Popen(
            [SCRIPT, "up", "--port", "0", *arguments], env=environment, stdout=subprocess.PIPE, text=True
        )
        self.told = ""
        self.url = ""
        try:
            self._wait()
        except BaseException:
            self.kill()
            raise

    def _wait(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.told += line
            found = re.search(r"ready at (http://\S+)", line)
            if found:
                self.url = found[1]
                return
        pytest.fail(f"the server did not get ready:\n{self.told}")

    def stop(self) -> int:
        """Ask it to stop, wait, and give its exit code; what it printed meanwhile joins `told`."""
        self.process.terminate()
        self.told += self.process.communicate(timeout=40)[0]
        return self.process.returncode

    def kill(self) -> None:
        """End it without a chance to clean up."""
        self.process.kill()
        self.process.communicate(timeout=40)


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Variables for a command of this test."""
    return clean_environment(tmp_path)


@pytest.fixture
def command(environment: dict[str, str], tmp_path: Path) -> Command:
    """Run `agent-factory` to its end in this test's environment."""
    return Command(environment, tmp_path)


@pytest.fixture
def up(environment: dict[str, str]) -> Generator[Callable[..., Up], None, None]:
    """Start servers on this test's state folder; whatever still runs is killed in the end."""
    started: list[Up] = []

    def start(*arguments: str, env: Mapping[str, str] | None = None) -> Up:
        started.append(Up({**environment, **(env or {})}, *arguments))
        return started[-1]

    yield start
    for server in started:
        if server.process.poll() is None:
            server.kill()


@pytest.fixture(scope="module")
def server_command(tmp_path_factory: pytest.TempPathFactory, model_server_port: int) -> Generator[Command, None, None]:
    """Run `agent-factory` beside one running server, shared by the tests of a file; `here:` is the model server."""
    folder = tmp_path_factory.mktemp("server")
    here = {"here": {"url": f"http://127.0.0.1:{model_server_port}/v1"}}
    environment = {**clean_environment(folder), "AF_MODELS__ENDPOINTS": json.dumps(here)}
    server = Up(environment)
    yield Command(environment, folder)
    assert server.stop() == 0
