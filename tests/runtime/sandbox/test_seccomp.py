"""The filter of system calls, run by an interpreter of its own kind, for processors that are not at hand too."""

import json
import struct

import pytest

from agent_factory.runtime.sandbox import seccomp

ALLOW, KILL, ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
X86, ARM = 0xC000003E, 0xC00000B7
MACHINES = {"x86_64": X86, "aarch64": ARM}


def verdict(machine: str, number: int, *arguments: int, audit: int | None = None) -> int:
    """Run the filter over one call as the kernel would."""
    padded = [*arguments, 0, 0, 0, 0, 0, 0][:6]
    data = struct.pack("=IIQ6Q", number, MACHINES[machine] if audit is None else audit, 0, *padded)
    program = list(struct.iter_unpack("=HBBI", seccomp.bpf(machine)))
    at, held = 0, 0
    while True:
        code, yes, no, value = program[at]
        at += 1
        if code == 0x20:
            held = struct.unpack_from("=I", data, value)[0]
        elif code == 0x06:
            return value
        else:
            met = {0x15: held == value, 0x35: held >= value, 0x45: bool(held & value)}[code]
            at += yes if met else no


@pytest.mark.parametrize("machine", MACHINES)
def test_the_program_is_one_that_the_kernel_takes(machine: str) -> None:
    program = list(struct.iter_unpack("=HBBI", seccomp.bpf(machine)))
    assert len(program) <= 4096
    for at, (code, yes, no, _) in enumerate(program):
        assert code in {0x20, 0x15, 0x35, 0x45, 0x06}
        assert at + 1 + max(yes, no) < len(program) or code == 0x06
    assert program[-1][0] == 0x06


@pytest.mark.parametrize(
    ("machine", "number"),
    [("x86_64", n) for n in (272, 308, 165, 101, 250, 321, 425, 323, 298, 304, 169, 175)]
    + [("aarch64", n) for n in (97, 268, 40, 117, 219, 280, 425, 282, 241, 265, 142, 105)],
)
def test_dangerous_calls_are_refused(machine: str, number: int) -> None:
    assert verdict(machine, number) == ERRNO | 1


@pytest.mark.parametrize(
    ("machine", "number"),
    [("x86_64", n) for n in (0, 1, 9, 57, 59, 61, 105, 157, 231, 334)]
    + [("aarch64", n) for n in (63, 64, 93, 146, 167, 221, 222, 260, 293)],
)
def test_everyday_calls_pass(machine: str, number: int) -> None:
    assert verdict(machine, number) == ALLOW


@pytest.mark.parametrize(("machine", "clone", "clone3"), [("x86_64", 56, 435), ("aarch64", 220, 435)])
def test_processes_and_threads_are_made_but_no_namespaces(machine: str, clone: int, clone3: int) -> None:
    thread = 0x003D0F00
    assert verdict(machine, clone, 17) == ALLOW
    assert verdict(machine, clone, thread) == ALLOW
    for flag in (0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000):
        assert verdict(machine, clone, flag | 17) == ERRNO | 1
    assert verdict(machine, clone3) == ERRNO | 38


@pytest.mark.parametrize(("machine", "calls"), [("x86_64", (41, 53)), ("aarch64", (198, 199))])
def test_only_sockets_of_files_and_of_the_internet_are_made(machine: str, calls: tuple[int, int]) -> None:
    for call in calls:
        passed = {family for family in range(256) if verdict(machine, call, family) == ALLOW}
        assert passed == {1, 2, 10}
        assert verdict(machine, call, 40) == ERRNO | 97
        assert verdict(machine, call, 1 << 31) == ERRNO | 97


def test_typing_into_terminals_and_odd_personalities_are_refused() -> None:
    assert verdict("x86_64", 16, 0, 0x5412) == ERRNO | 1
    assert verdict("x86_64", 16, 0, 0x541C) == ERRNO | 1
    # the kernel looks at the low half of an order only, and so does the filter
    assert verdict("x86_64", 16, 0, 0x1_0000_5412) == ERRNO | 1
    assert verdict("x86_64", 16, 0, 0x5401) == ALLOW
    assert verdict("x86_64", 135, 0xFFFFFFFF) == ALLOW
    assert verdict("x86_64", 135, 0) == ALLOW
    assert verdict("x86_64", 135, 0x40000) == ERRNO | 1


def test_calls_of_other_machines_and_of_tomorrow_do_not_exist() -> None:
    assert verdict("x86_64", 0, audit=0x40000003) == KILL
    assert verdict("aarch64", 63, audit=X86) == KILL
    assert verdict("x86_64", 0x40000000 + 1) == ERRNO | 38
    assert verdict("x86_64", 451) == ERRNO | 38
    assert verdict("aarch64", 10_000) == ERRNO | 38


def test_an_unknown_processor_has_no_filter() -> None:
    with pytest.raises(seccomp.MachineUnknown):
        seccomp.bpf("vax")


def test_the_profile_for_containers_says_the_same() -> None:
    rules = json.loads(seccomp.profile())
    assert rules["defaultAction"] == "SCMP_ACT_ALLOW"
    plain = {name for rule in rules["syscalls"] if not rule["args"] for name in rule["names"]}
    assert {"unshare", "keyctl", "ptrace", "bpf", "mount", "io_uring_setup", "clone3"} <= plain
    families = {
        r["args"][0]["value"]
        for r in rules["syscalls"]
        if r["names"][0] == "socket" and r["args"][0]["op"][-2:] == "EQ"
    }
    assert families == set(range(64)) - {1, 2, 10}
