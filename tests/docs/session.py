"""Pages of the documentation as sessions: what they tell a reader to save, to run, and to see."""

import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SAVE = re.compile(r"Save this\s+as\s+`([\w./-]+)`:\s*$")
_END = "__the_command_has_ended__"
_START = "./dev up"

_VARYING = (
    (re.compile(r"\b(agt|ses|run|key|usr|org|wf|apr|trg)_(?:[0-9a-z]{26}|…)"), r"\1_…"),
    (re.compile(r"\baf_(?:[0-9a-z]{12}_[\w-]{43}|…)"), "af_…"),
    (re.compile(r"✓ python +3\.\d+\.\d+"), "✓ python …"),
    (re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z"), "…"),
    (re.compile(r"\b\d+(?:\.\d+)? (ms|s)\b"), r"… \1"),
    (re.compile(r"[ \t]+"), " "),
)


class Block(msgspec.Struct, frozen=True):
    """One fenced block: what the text before it says to save it as, if anything."""

    language: str
    text: str
    save_as: str | None


class Step(msgspec.Struct, frozen=True):
    """A command, and what the page shows below it."""

    command: str
    shown: str


def blocks(page: str) -> Iterator[Block]:
    """Find the fenced blocks of a page."""
    for match in _FENCE.finditer(page):
        save = _SAVE.search(page[: match.start()])
        yield Block(match[1], match[2], save[1] if save else None)


def steps(block: Block) -> Iterator[Step]:
    """Split a console block at its prompts."""
    for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
        command, _, shown = part.partition("\n")
        yield Step(command, shown)


def differs(shown: str, seen: str) -> str | None:
    """Compare what a page shows with what was seen; ids, times and widths vary, and `…` stands for anything."""
    expected, found = _stable(shown), _stable(seen)
    pattern = "".join(".*" if piece == "…" else re.escape(piece) for piece in re.split("(…)", expected))
    if re.fullmatch(pattern, found, re.DOTALL):
        return None
    return f"the page shows:\n{expected}\n\nseen was:\n{found}"


def _stable(text: str) -> str:
    for pattern, replacement in _VARYING:
        text = pattern.sub(replacement, text)
    lines = [line.strip() for line in text.splitlines()]
    # rules between the rows of a table are as wide as the table
    return "\n".join(line for line in lines if not re.fullmatch("─+", line)).strip()


class Shell:
    """One shell for a whole page, so that variables stay; `./dev up` runs beside it, as in another terminal."""

    def __init__(self, folder: Path, scripts: Path, environment: Mapping[str, str], port: int) -> None:
        self._folder = folder
        self._scripts = scripts
        self._environment = dict(environment)
        self._port = str(port)
        self._server: subprocess.Popen[str] | None = None
        self._bash = subprocess.Popen(
            ["/bin/bash", "--noprofile", "--norc"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=folder,
            env=self._environment,
        )

    def save(self, block: Block) -> None:
        """Save a block where the page says."""
        assert block.save_as is not None
        path = self._folder / block.save_as
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self._placed(block.text))

    def run(self, command: str) -> str:
        """Run a command and give what it showed."""
        if command == _START:
            return self._start()
        assert self._bash.stdin is not None
        assert self._bash.stdout is not None
        # without a terminal, commands would otherwise wait for more of the page on their stdin
        self._bash.stdin.write(f"{{ {self._placed(command)}\n}} < /dev/null\necho {_END}\n")
        self._bash.stdin.flush()
        seen = ""
        for line in self._bash.stdout:
            if line.endswith(f"{_END}\n"):
                return self._shown(seen + line.removesuffix(f"{_END}\n"))
            seen += line
        raise AssertionError(f"the shell ended in {command!r}:\n{seen}")

    def _start(self) -> str:
        self._stop()
        self._server = subprocess.Popen(
            [self._scripts / "agent-factory", "up"],
            stdout=subprocess.PIPE,
            text=True,
            cwd=self._folder,
            env=self._environment,
        )
        assert self._server.stdout is not None
        seen = ""
        for line in self._server.stdout:
            seen += line
            if "ready at" in line:
                return self._shown(seen)
        raise AssertionError(f"the product did not start:\n{seen}")

    def _placed(self, text: str) -> str:
        return text.replace("8080", self._port)

    def _shown(self, text: str) -> str:
        return text.replace(self._port, "8080")

    def _stop(self) -> None:
        if self._server is not None:
            self._server.terminate()
            self._server.communicate(timeout=30)
            self._server = None

    def close(self) -> None:
        """End both."""
        assert self._bash.stdin is not None
        self._bash.stdin.close()
        self._bash.wait(10)
        assert self._bash.stdout is not None
        self._bash.stdout.close()
        self._stop()


def environment(folder: Path, scripts: Path, root: Path, port: int) -> dict[str, str]:
    """Give the variables of a reader who has set nothing up, with the package of `root`."""
    return {
        "PYTHONPATH": str(root),
        "PATH": f"{scripts}{os.pathsep}/usr/bin{os.pathsep}/bin",
        "HOME": str(folder / "home"),
        "AF_SERVER__PORT": str(port),
        "AF_LOGGING__REQUESTS": "false",
        # the examples of all pages are run within a minute
        "AF_LIMITS__ENABLED": "false",
        "AF_MODELS__OLLAMA_URL": "http://127.0.0.1:9",
        "LC_ALL": "C.UTF-8",
    }
