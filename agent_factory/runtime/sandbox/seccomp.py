"""Which system calls a sandbox refuses: as a filter for the kernel (classic BPF) and as a profile for containers."""

import platform
import struct
from collections.abc import Mapping
from typing import Any

import msgspec

_DENIED: Mapping[str, tuple[int | None, int | None]] = {
    # namespaces and mounts
    "unshare": (272, 97), "setns": (308, 268), "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41),
    "chroot": (161, 51), "fsopen": (430, 430), "fsconfig": (431, 431), "fsmount": (432, 432), "fspick": (433, 433),
    "move_mount": (429, 429), "open_tree": (428, 428), "mount_setattr": (442, 442),
    # other processes
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kcmp": (312, 272),
    "pidfd_getfd": (438, 438), "process_madvise": (440, 440), "perf_event_open": (298, 241),
    # keys, programs and rings in the kernel
    "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219), "bpf": (321, 280),
    "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
    "userfaultfd": (323, 282), "vmsplice": (278, 75), "fanotify_init": (300, 262),
    # files past their paths
    "name_to_handle_at": (303, 264), "open_by_handle_at": (304, 265), "lookup_dcookie": (212, 18),
    "quotactl": (179, 60), "quotactl_fd": (443, 443), "acct": (163, 89), "swapon": (167, 224), "swapoff": (168, 225),
    # the machine
    "init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106), "kexec_load": (246, 104),
    "kexec_file_load": (320, 294), "reboot": (169, 142), "syslog": (103, 116), "settimeofday": (164, 170),
    "clock_settime": (227, 112), "clock_adjtime": (305, 266), "adjtimex": (159, 171), "sethostname": (170, 161),
    "setdomainname": (171, 162), "vhangup": (153, 58), "iopl": (172, None), "ioperm": (173, None),
    "modify_ldt": (154, None), "uselib": (134, None), "ustat": (136, None), "sysfs": (139, None),
    "_sysctl": (156, None), "nfsservctl": (180, 42), "create_module": (174, None), "query_module": (178, None),
    "get_kernel_syms": (177, None),
    # where memory lies
    "mbind": (237, 235), "set_mempolicy": (238, 237), "migrate_pages": (256, 238), "move_pages": (279, 239),
    "set_mempolicy_home_node": (450, 450),
}  # fmt: skip
"""The calls that always fail with EPERM, with their numbers on x86-64 and on 64-bit ARM."""

_CLONE, _CLONE3 = (56, 220), (435, 435)
_SOCKET, _SOCKETPAIR, _IOCTL, _PERSONALITY = (41, 198), (53, 199), (16, 29), (135, 92)
_NEWEST = 450
"""The highest number that was looked at; newer calls do not exist in a sandbox."""

_NAMESPACES = 0x7E02_0000
"""CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID and NEWNET."""
_PERSONALITIES = 0x0FFF_0000
"""The flags that change how a process is run: without random addresses, with pages that run as code."""
_FAMILIES = (1, 2, 10)
"""AF_UNIX, AF_INET and AF_INET6."""
_TERMINAL_ORDERS = (0x5412, 0x541C)
"""TIOCSTI and TIOCLINUX, which type into a terminal."""

_EPERM, _ENOSYS, _EAFNOSUPPORT = 1, 38, 97
_MACHINES = {"x86_64": (0, 0xC000_003E), "aarch64": (1, 0xC000_00B7)}
_X32 = 0x4000_0000

_LOAD, _EQUAL, _AT_LEAST, _HAS, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _KILL, _REFUSE = 0x7FFF_0000, 0x8000_0000, 0x0005_0000
_NUMBER, _MACHINE, _ARGUMENTS = 0, 4, 16
"""Where `struct seccomp_data` has the number, the machine and the arguments."""


class MachineUnknown(Exception):
    """A kind of processor that the filter has no numbers for."""


def bpf(machine: str | None = None) -> bytes:
    """Assemble the filter for a kind of processor, by default this one; raises `MachineUnknown`."""
    found = _MACHINES.get(machine or platform.machine())
    if found is None:
        raise MachineUnknown(machine or platform.machine())
    which, audit = found
    code = [
        _step(_LOAD, _MACHINE),
        _step(_EQUAL, audit, 1, 0),
        _step(_RETURN, _KILL),
        _step(_LOAD, _NUMBER),
    ]
    if which == 0:
        code += _unless_below(_X32, _ENOSYS)
    code += _unless_below(_NEWEST + 1, _ENOSYS)
    for numbers in _DENIED.values():
        number = numbers[which]
        if number is not None:
            code += _if_equal(number, _EPERM)
    code += _if_equal(_CLONE3[which], _ENOSYS)  # its flags lie in memory, where a filter cannot look; libc takes clone
    code += _rule(_CLONE[which], 0, [_step(_HAS, _NAMESPACES, 0, 1), _refuse(_EPERM)])
    for call in (_SOCKET, _SOCKETPAIR):
        allowed = [_step(_EQUAL, family, len(_FAMILIES) - at, 0) for at, family in enumerate(_FAMILIES)]
        code += _rule(call[which], 0, [*allowed, _refuse(_EAFNOSUPPORT)])
    code += _rule(_IOCTL[which], 1, [s for order in _TERMINAL_ORDERS for s in _if_equal(order, _EPERM)])
    code += _rule(_PERSONALITY[which], 0, [_step(_EQUAL, 0, 2, 0), _step(_EQUAL, 0xFFFF_FFFF, 1, 0), _refuse(_EPERM)])
    code.append(_step(_RETURN, _ALLOW))
    return b"".join(code)


def profile() -> str:
    """Write the same rules as the JSON profile that container runtimes take."""
    rules: list[dict[str, Any]] = [
        _named([*_DENIED], _EPERM),
        _named(["clone3"], _ENOSYS),
        _named(["ioctl"], _EPERM, _argument(1, _TERMINAL_ORDERS[0])),
        _named(["ioctl"], _EPERM, _argument(1, _TERMINAL_ORDERS[1])),
        _named(["socket", "socketpair"], _EAFNOSUPPORT, {"index": 0, "value": 63, "op": "SCMP_CMP_GT"}),
    ]
    flags = (("clone", _NAMESPACES), ("personality", _PERSONALITIES))
    rules += [
        _named([call], _EPERM, {"index": 0, "value": 1 << bit, "valueTwo": 1 << bit, "op": "SCMP_CMP_MASKED_EQ"})
        for call, mask in flags
        for bit in range(32)
        if mask >> bit & 1
    ]
    rules += [
        _named(["socket", "socketpair"], _EAFNOSUPPORT, _argument(0, family))
        for family in range(64)
        if family not in _FAMILIES
    ]
    return msgspec.json.encode(
        {
            "defaultAction": "SCMP_ACT_ALLOW",
            "architectures": ["SCMP_ARCH_X86_64"] if platform.machine() == "x86_64" else ["SCMP_ARCH_AARCH64"],
            "syscalls": rules,
        }
    ).decode()


def _step(code: int, value: int, yes: int = 0, no: int = 0) -> bytes:
    return struct.pack("=HBBI", code, yes, no, value)


def _refuse(errno: int) -> bytes:
    return _step(_RETURN, _REFUSE | errno)


def _if_equal(value: int, errno: int) -> list[bytes]:
    return [_step(_EQUAL, value, 0, 1), _refuse(errno)]


def _unless_below(value: int, errno: int) -> list[bytes]:
    return [_step(_AT_LEAST, value, 0, 1), _refuse(errno)]


def _rule(number: int, argument: int, steps: list[bytes]) -> list[bytes]:
    """Look at the low half of one argument of one call; what is not refused goes on."""
    # the number has to be loaded again for the rules that follow
    body = [_step(_LOAD, _ARGUMENTS + 8 * argument), *steps, _step(_LOAD, _NUMBER)]
    return [_step(_EQUAL, number, 0, len(body)), *body]


def _named(names: list[str], errno: int, *arguments: dict[str, Any]) -> dict[str, Any]:
    return {"names": names, "action": "SCMP_ACT_ERRNO", "errnoRet": errno, "args": list(arguments)}


def _argument(index: int, value: int) -> dict[str, Any]:
    return {"index": index, "value": value, "op": "SCMP_CMP_EQ"}
