"""Control groups of both versions: the first for real where there is one, the second over a copy of its files."""

import os
from pathlib import Path

import pytest

from agent_factory.core.task import CodeLimits
from agent_factory.runtime.sandbox import cgroups
from agent_factory.runtime.sandbox.cgroups import Group, Groups, find_groups
from agent_factory.runtime.sandbox.owner import Owner, started

LIMITS = CodeLimits(memory_mb=64, processes=5)


@pytest.fixture
def second(tmp_path: Path) -> Path:
    """A folder with the files of a group of version 2, as the kernel would make them."""
    folder = tmp_path / "group"
    folder.mkdir()
    for name in (
        "memory.max",
        "memory.swap.max",
        "memory.oom.group",
        "pids.max",
        "cpu.max",
        "cgroup.procs",
        "cgroup.kill",
    ):
        (folder / name).touch()
    (folder / "memory.events").write_text("low 0\nhigh 0\nmax 5\noom 1\noom_kill 0\n")
    (folder / "memory.peak").write_text("123456\n")
    (folder / "cpu.stat").write_text("usage_usec 2500000\nuser_usec 1\nsystem_usec 2\n")
    return folder


def test_version_2_is_told_the_limits_in_its_own_words(second: Path) -> None:
    group = Group({"unified": second})
    group.limit(LIMITS, 1.5)
    group.add(4321)
    told = {name: (second / name).read_text() for name in ("memory.max", "memory.swap.max", "memory.oom.group")}
    assert told == {"memory.max": str(64 << 20), "memory.swap.max": "0", "memory.oom.group": "1"}
    assert (second / "pids.max").read_text() == "7"
    assert (second / "cpu.max").read_text() == "150000 100000"
    assert (second / "cgroup.procs").read_text() == "4321"
    group.kill()
    assert (second / "cgroup.kill").read_text() == "1"


def test_version_2_tells_what_was_used(second: Path) -> None:
    group = Group({"unified": second})
    assert (group.cpu_seconds, group.peak_memory, group.out_of_memory) == (2.5, 123456, False)
    (second / "memory.events").write_text("oom 1\noom_kill 2\n")
    assert group.out_of_memory


def test_a_kernel_without_some_files_of_version_2_still_limits_memory_and_processes(second: Path) -> None:
    for name in ("memory.swap.max", "memory.oom.group", "cpu.max", "memory.peak", "cpu.stat"):
        (second / name).unlink()
    group = Group({"unified": second})
    group.limit(LIMITS, 1.0)
    assert (group.cpu_seconds, group.peak_memory) == (0.0, 0)
    (second / "memory.max").unlink()
    with pytest.raises(OSError, match=r"memory\.max"):
        group.limit(LIMITS, 1.0)


def test_a_group_of_version_2_that_has_processes_is_divided_by_moving_them_down(tmp_path: Path) -> None:
    (tmp_path / "cgroup.procs").write_text("11\n12\n")
    (tmp_path / "cgroup.subtree_control").mkdir()  # refuses to be written, as the kernel does while processes are there
    leaf = tmp_path / "agent-factory"
    leaf.mkdir()
    (leaf / "cgroup.procs").touch()
    with pytest.raises(OSError, match="subtree_control"):
        cgroups._delegate(tmp_path)
    assert (leaf / "cgroup.procs").read_text() == "12"


def test_a_group_that_already_divides_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "cgroup.subtree_control").write_text("cpu memory pids\n")
    cgroups._delegate(tmp_path)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["cgroup.subtree_control"]


def test_only_groups_of_dead_processes_are_swept(tmp_path: Path) -> None:
    groups = Groups({"memory": tmp_path})
    dead, reused = tmp_path / "agent-factory.999999999.5.0", tmp_path / f"agent-factory.{os.getppid()}.1.0"
    foreign, mine = (
        tmp_path / "agent-factory.service",
        tmp_path / f"agent-factory.{os.getpid()}.{started(os.getpid())}.7",
    )
    for folder in (dead, reused, foreign, mine):
        folder.mkdir()
    groups.sweep()
    assert {entry.name for entry in tmp_path.iterdir()} == {foreign.name, mine.name}


def test_real_groups_are_made_limited_and_removed() -> None:
    groups = find_groups()
    if groups is None:
        pytest.skip("no control group can be made here")
    group = groups.fresh()
    try:
        group.limit(LIMITS, 1.0)
        assert group.cpu_seconds == 0
        assert not group.out_of_memory
    finally:
        assert group.remove()
    assert group.remove(), "a second time does no harm"


def test_an_owner_is_known_by_place_number_and_start() -> None:
    me = Owner.current()
    assert not me.died(str(me))
    assert me.died(f"{me.place}.999999999.5")
    assert me.died(f"{me.place}.{me.pid}.{me.started + 1}")
    for unknown in ("elsewhere.999999999.5", "", "x", "..", f"{me.place}.x.y"):
        assert not me.died(unknown)
