"""What a sandbox sees of this machine: a Python with its standard library, and one folder to write to."""

import sys
import sysconfig
from pathlib import Path

from agent_factory.runtime.sandbox.frames import SCRIPT

_FILES = ("/etc/ld.so.cache", "/usr/share/zoneinfo")
_NETWORK_FILES = (
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/nsswitch.conf",
    "/etc/ssl/certs",
    "/usr/share/ca-certificates",
)
_DEVICES = ("null", "zero", "full", "random", "urandom")


def base_python() -> Path:
    """Give the interpreter that the virtual environment of this process was made from."""
    return Path(sys.base_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"


def runs(python: Path) -> list[str]:
    """Give the command that runs the runner with an interpreter, inside a sandbox."""
    return [str(_inside(python) / "bin" / python.name), "-I", "-S", "-B", "-X", "utf8", "-c", SCRIPT]


def files(python: Path, disk: int, *, network: bool) -> list[str]:
    """Give bubblewrap's arguments for what a sandbox sees.

    All is read-only but `/tmp`, which takes `disk` bytes. Packages that are
    installed on this machine stay out: a sandbox has the standard library.
    """
    folders = ("/usr", "/usr/bin", "/usr/lib", "/usr/share", "/etc", "/etc/ssl", "/python", "/python/bin")
    arguments = [word for folder in folders for word in ("--dir", folder)]
    # where libraries have a folder for each kind of processor, the rest of /usr/lib is programs' own, not theirs
    kind = Path("/usr/lib") / str(sysconfig.get_config_var("MULTIARCH"))
    for place in (kind if kind.is_dir() else "/usr/lib", "/usr/lib32", "/usr/lib64"):
        arguments += ["--ro-bind-try", str(place), str(place)]
    for name in ("lib", "lib32", "lib64"):
        top = Path("/") / name
        if top.is_symlink():
            arguments += ["--symlink", str(top.readlink()), str(top)]
        else:
            arguments += ["--ro-bind-try", str(top), str(top)]
    for path in (*_FILES, *(_NETWORK_FILES if network else ())):
        arguments += ["--ro-bind-try", path, path]
    arguments += _interpreter(python)
    arguments += ["--proc", "/proc", "--perms", "0755", "--tmpfs", "/dev", "--symlink", "/tmp", "/dev/shm"]  # noqa: S108 - inside
    for device in _DEVICES:
        arguments += ["--dev-bind", f"/dev/{device}", f"/dev/{device}"]
    for name, descriptor in (("fd", ""), ("stdin", "/0"), ("stdout", "/1"), ("stderr", "/2")):
        arguments += ["--symlink", f"/proc/self/fd{descriptor}", f"/dev/{name}"]
    arguments += ["--size", str(disk), "--perms", "1777", "--tmpfs", "/tmp"]  # noqa: S108 - inside
    arguments += ["--remount-ro", "/dev", "--remount-ro", "/", "--chdir", "/"]
    return arguments


def _interpreter(python: Path) -> list[str]:
    prefix, inside = python.parent.parent, _inside(python)
    arguments = ["--ro-bind", str(python), str(inside / "bin" / python.name)]
    if prefix == inside:
        for library in (prefix / "lib").glob("python3.*"):
            arguments += ["--ro-bind", str(library), str(library)]
    else:
        arguments += ["--ro-bind", str(prefix / "lib"), str(inside / "lib")]
        arguments += ["--setenv", "LD_LIBRARY_PATH", str(inside / "lib")]
    for packages in _packages(prefix):
        hidden = str(inside / packages)
        arguments += ["--perms", "0755", "--tmpfs", hidden, "--remount-ro", hidden]
    return arguments


def _inside(python: Path) -> Path:
    """Where a sandbox has the interpreter's prefix; the system's own keeps its place, for its libraries are there."""
    return Path("/usr") if python.parent.parent == Path("/usr") else Path("/python")


def _packages(prefix: Path) -> list[Path]:
    """Find the folders of installed packages, relative to the prefix."""
    names = ("python3.*/site-packages", "python3.*/dist-packages")
    found = {folder for name in names for folder in (prefix / "lib").glob(name) if folder.is_dir()}
    return [folder.relative_to(prefix) for folder in sorted(found)]
