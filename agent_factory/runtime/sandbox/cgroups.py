"""A control group for each job: memory, processes and processor time of all its processes together (v1 and v2)."""

import os
import re
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

from agent_factory.core.task import CodeLimits
from agent_factory.runtime.sandbox.owner import started

_PERIOD = 100_000
"""Microseconds over which a share of the processors is counted."""

_NAME = re.compile(r"agent-factory\.([0-9]+)\.([0-9]+)\.[0-9]+")
_NEEDED = ("memory", "pids")
_SERIAL = count()


class Group:
    """One job's control group: a folder for each controller (v1), or one for all (v2)."""

    def __init__(self, folders: dict[str, Path]) -> None:
        """Take the folders by controller; `unified` stands for v2."""
        self._folders = folders
        self._v2 = "unified" in folders

    def limit(self, limits: CodeLimits, cores: float) -> None:
        """Set what all processes of the group may use together."""
        memory = limits.memory_mb << 20
        tasks = limits.processes + 2  # bubblewrap's and the runner
        quota = int(cores * _PERIOD)
        if self._v2:
            folder = self._folders["unified"]
            _write(folder / "memory.max", memory)
            _write(folder / "pids.max", tasks)
            for name, value in (("memory.swap.max", 0), ("memory.oom.group", 1), ("cpu.max", f"{quota} {_PERIOD}")):
                with suppress(OSError):
                    _write(folder / name, value)
            return
        _write(self._folders["memory"] / "memory.limit_in_bytes", memory)
        with suppress(OSError):  # a kernel may count no swap
            _write(self._folders["memory"] / "memory.memsw.limit_in_bytes", memory)
        _write(self._folders["pids"] / "pids.max", tasks)
        if "cpu" in self._folders:
            with suppress(OSError):
                _write(self._folders["cpu"] / "cpu.cfs_period_us", _PERIOD)
                _write(self._folders["cpu"] / "cpu.cfs_quota_us", quota)

    def add(self, pid: int) -> None:
        """Put a process into the group; what it starts from then on is in it too."""
        for folder in dict.fromkeys(self._folders.values()):
            _write(folder / "cgroup.procs", pid)

    @property
    def cpu_seconds(self) -> float:
        """The processor time that the group has used."""
        if self._v2:
            return _fields(self._folders["unified"] / "cpu.stat").get("usage_usec", 0) / 1e6
        if "cpuacct" not in self._folders:
            return 0.0
        return _number(self._folders["cpuacct"] / "cpuacct.usage") / 1e9

    @property
    def peak_memory(self) -> int:
        """The most bytes that the group has held at once."""
        if self._v2:
            return _number(self._folders["unified"] / "memory.peak")
        return _number(self._folders["memory"] / "memory.max_usage_in_bytes")

    @property
    def out_of_memory(self) -> bool:
        """Whether the kernel ended a process of the group for its memory."""
        if self._v2:
            return _fields(self._folders["unified"] / "memory.events").get("oom_kill", 0) > 0
        return _fields(self._folders["memory"] / "memory.oom_control").get("oom_kill", 0) > 0

    def kill(self) -> None:
        """End every process of the group."""
        if self._v2:
            with suppress(OSError):
                _write(self._folders["unified"] / "cgroup.kill", 1)

    def remove(self) -> bool:
        """Take the group away; False while a process in it is still ending."""
        gone = True
        for folder in dict.fromkeys(self._folders.values()):
            try:
                folder.rmdir()
            except FileNotFoundError:
                continue
            except OSError:
                gone = False
        return gone


class Groups:
    """The place where jobs get their groups."""

    def __init__(self, parents: dict[str, Path]) -> None:
        """Take the parent folder of each controller; `unified` stands for v2."""
        self._parents = parents
        self._mark = f"agent-factory.{os.getpid()}.{started(os.getpid())}"

    def fresh(self) -> Group:
        """Make a group without limits; raises OSError."""
        name = f"{self._mark}.{next(_SERIAL)}"
        made: dict[str, Path] = {}
        try:
            for controller, parent in self._parents.items():
                folder = parent / name
                folder.mkdir(exist_ok=controller in {"cpu", "cpuacct"})  # often one mount with two names
                made[controller] = folder
        except OSError:
            Group(made).remove()
            raise
        return Group(made)

    def sweep(self) -> None:
        """Take away the empty groups of processes that have died."""
        for parent in dict.fromkeys(self._parents.values()):
            for folder in parent.glob("agent-factory.*"):
                found = _NAME.fullmatch(folder.name)
                if found and str(started(int(found[1]))) != found[2]:
                    with suppress(OSError):
                        folder.rmdir()


def find_groups(name: str | None = None) -> Groups | None:
    """Find where groups can be made: below the group `name`, or else below this process's own; None for nowhere.

    Under v2 a group cannot have processes and limited children both, so the
    processes of one that was given to this service first move one down; where
    none was given, root makes `/agent-factory`.
    """
    for places in (_v2_places(name), _v1_places(name)):
        if places is not None and _usable(places):
            groups = Groups(places)
            groups.sweep()
            return groups
    return None


def _usable(places: dict[str, Path]) -> bool:
    try:
        with _tried(Groups(places)) as group:
            group.limit(CodeLimits(), 1.0)
    except OSError:
        return False
    return True


@contextmanager
def _tried(groups: Groups) -> Generator[Group]:
    group = groups.fresh()
    try:
        yield group
    finally:
        group.remove()


def _v1_places(name: str | None) -> dict[str, Path] | None:
    own = {
        controller: path
        for line in _lines(Path("/proc/self/cgroup"))
        if line.count(":") >= 2  # noqa: PLR2004 - number, controllers, path
        for _, controllers, path in [line.split(":", 2)]
        for controller in controllers.split(",")
    }
    places: dict[str, Path] = {}
    for root, point, options in _mounts("cgroup"):
        for controller in {"memory", "pids", "cpu", "cpuacct"} & options & own.keys():
            inside = own[controller] if name is None else name
            if name is None and root != "/":
                inside = inside.removeprefix(root)
            places[controller] = point / inside.lstrip("/")
    if not all(controller in places for controller in _NEEDED):
        return None
    if name is not None:
        _make(places)
    return places


def _v2_places(name: str | None) -> dict[str, Path] | None:
    mounted = next(_mounts("cgroup2"), None)
    if mounted is None:
        return None
    root, point, _ = mounted
    own = next((line[3:] for line in _lines(Path("/proc/self/cgroup")) if line.startswith("0::")), "/")
    if name is None and not _given_to_us(point / own.lstrip("/"), own):
        name = "/agent-factory"
    inside = own.removeprefix("" if root == "/" else root) if name is None else name
    folder = point / inside.lstrip("/")
    if name is not None:
        _make({"unified": folder})
    if not all(c in _lines(folder / "cgroup.controllers", split=True) for c in _NEEDED):
        return None
    try:
        _delegate(folder)
    except OSError:
        return None
    return {"unified": folder}


def _given_to_us(folder: Path, own: str) -> bool:
    """Tell whether a group is this service's to divide: the root of a container, or delegated by systemd."""
    if own == "/":
        return True
    for mark in ("trusted.delegate", "user.delegate"):
        with suppress(OSError):
            if os.getxattr(folder, mark) == b"1":
                return True
    return False


def _delegate(folder: Path) -> None:
    """Let the children of a group have limits of their own."""
    wanted = "+memory +pids +cpu"
    if all(c in _lines(folder / "cgroup.subtree_control", split=True) for c in _NEEDED):
        return
    with suppress(OSError):
        _write(folder / "cgroup.subtree_control", wanted)
        return
    leaf = folder / "agent-factory"
    leaf.mkdir(exist_ok=True)
    for pid in _lines(folder / "cgroup.procs"):
        with suppress(OSError):
            _write(leaf / "cgroup.procs", pid)
    _write(folder / "cgroup.subtree_control", wanted)


def _make(places: dict[str, Path]) -> None:
    for folder in places.values():
        with suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)


def _mounts(kind: str) -> Iterator[tuple[str, Path, set[str]]]:
    """Yield the root inside the file system, the place and the options of each mount of a kind."""
    for line in _lines(Path("/proc/self/mountinfo")):
        before, _, after = line.partition(" - ")
        system, _, rest = after.partition(" ")
        if system == kind:
            words = before.split()
            yield words[3], Path(words[4]), set(rest.rpartition(" ")[2].split(","))


def _lines(path: Path, *, split: bool = False) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError:
        return []
    return text.split() if split else text.splitlines()


def _fields(path: Path) -> dict[str, int]:
    pairs = (line.split() for line in _lines(path))
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdigit()}  # noqa: PLR2004 - a pair


def _number(path: Path) -> int:
    text = "".join(_lines(path))
    return int(text) if text.isdigit() else 0


def _write(path: Path, value: object) -> None:
    # one write each: the kernel takes a whole order or refuses it
    descriptor = os.open(path, os.O_WRONLY)
    try:
        os.write(descriptor, str(value).encode())
    finally:
        os.close(descriptor)
