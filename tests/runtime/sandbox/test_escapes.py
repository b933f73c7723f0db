"""What code in the tier `sandbox` tries to reach, and does not (S92)."""

import platform
import textwrap
from typing import Any

import pytest

from agent_factory.core.task import CodeLimits
from agent_factory.runtime.sandbox.bubblewrap import Bubblewrap
from agent_factory.runtime.sandbox.job import Job
from tests.runtime.sandbox.conftest import QUICK

PREFIX = """
import ctypes, os, resource, socket, subprocess
libc = ctypes.CDLL(None, use_errno=True)

def call(number, *arguments):
    done = libc.syscall(number, *arguments)
    if done < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return done

def write(path, text):
    descriptor = os.open(path, os.O_WRONLY)
    try:
        return os.write(descriptor, text)
    finally:
        os.close(descriptor)
"""


async def told(bubblewrap: Bubblewrap, code: str, limits: CodeLimits = QUICK) -> Any:
    return (await bubblewrap.run(Job(code=PREFIX + textwrap.dedent(code), limits=limits))).result


REFUSED = {
    # files of the machine
    "passwords": "open('/etc/passwd').read()",
    "shadow": "open('/etc/shadow').read()",
    "the home of root": "os.listdir('/root')",
    "the homes": "os.listdir('/home')",
    "the folder of this project": "os.listdir('/work')",
    "data of services": "os.listdir('/var')",
    "sockets of services": "os.listdir('/run')",
    "sysfs": "os.listdir('/sys')",
    "control groups": "os.listdir('/sys/fs/cgroup')",
    "a symbolic link to the machine": "os.symlink('/etc/passwd', '/tmp/link') or open('/tmp/link').read()",
    "a symbolic link through proc": "os.symlink('/proc/1/root/../etc/passwd', '/tmp/at') or open('/tmp/at').read()",
    "up from the root": "open('/../../../../../../etc/passwd').read()",
    "a handle of a file": "call(304, -100, b'', 0)",
    "disks": "os.mknod('/tmp/disk', 0o60600, os.makedev(254, 0)) or open('/tmp/disk').read(1)",
    "memory of the machine": "open('/dev/mem', 'rb').read(1)",
    "memory of the kernel": "open('/proc/kcore', 'rb').read(1)",
    "messages of the kernel": "open('/proc/kmsg', 'rb').read(1)",
    "a terminal": "open('/dev/tty')",
    "a new terminal": "os.openpty()",
    # writing
    "the root": "open('/written', 'w')",
    "the libraries": "open('/usr/lib/written', 'w')",
    "the standard library": "open(os.path.dirname(os.__file__) + '/written.py', 'w')",
    "an existing module": "open(os.__file__, 'a')",
    "devices": "open('/dev/written', 'w')",
    "the machine's name": "write('/proc/sys/kernel/hostname', b'x')",
    "where cores go": "write('/proc/sys/kernel/core_pattern', b'|/bin/sh')",
    "the magic key": "write('/proc/sysrq-trigger', b'c')",
    "a privilege in killing": "write('/proc/self/oom_score_adj', b'-1000')",
    "groups of a user": "write('/proc/self/uid_map', b'0 0 1')",
    # rights
    "root": "os.setuid(0)",
    "the group of root": "os.setgid(0)",
    "other groups": "os.setgroups([0])",
    "higher limits": "call(160, 7, (ctypes.c_ulong * 2)(10**5, 10**5))",
    "higher priority": "os.nice(-5)",
    "another root": "os.chroot('/tmp')",
    "an owner": "open('/tmp/mine', 'w').close() or os.chown('/tmp/mine', 0, 0)",
    # the kernel
    "unshare of users": "call(272, 0x10000000)",
    "unshare of mounts": "call(272, 0x00020000)",
    "clone with users": "call(56, 0x10000000 | 17, 0, 0, 0, 0)",
    "clone with a network": "call(56, 0x40000000 | 17, 0, 0, 0, 0)",
    "clone3": "call(435, 0, 0)",
    "joining a namespace": "call(308, os.open('/proc/1/ns/mnt', os.O_RDONLY), 0)",
    "mount": "call(165, b'none', b'/tmp', b'tmpfs', 0, 0)",
    "mount, the new way": "call(430, b'tmpfs', 0)",
    "unmount": "call(166, b'/proc', 2)",
    "remount": "call(165, b'none', b'/', b'none', 32, 0)",
    "ptrace": "call(101, 16, os.getppid(), 0, 0)",
    "memory of a process": "call(310, os.getppid(), 0, 0, 0, 0, 0)",
    "descriptors of a process": "call(438, os.pidfd_open(os.getppid()), 0, 0)",
    "keys": "call(250, 0, -3, 0)",
    "a new key": "call(248, b'user', b'x', b'y', 1, -3)",
    "bpf": "call(321, 0, 0, 0)",
    "io_uring": "call(425, 1, 0)",
    "performance events": "call(298, 0, 0, -1, -1, 0)",
    "userfaultfd": "call(323, 0)",
    "modules": "call(313, 0, b'', 0)",
    "reboot": "call(169, 0xfee1dead, 672274793, 0x1234567, 0)",
    "the clock": "call(227, 0, 0)",
    "another personality": "call(135, 0x0040000)",
    "a call of tomorrow": "call(451, 0, 0, 0)",
    "calls of the x32 kind": "call(0x40000000 + 39)",
    "typing into a terminal": "call(16, 0, 0x5412, b'x')",
    # network
    "the internet": "socket.create_connection(('1.1.1.1', 53), 2)",
    "this machine": "socket.create_connection(('127.0.0.1', 22), 2)",
    "the cloud's own service": "socket.create_connection(('169.254.169.254', 80), 2)",
    "names": "socket.getaddrinfo('example.com', 80)",
    "virtual machine sockets": "socket.socket(40, socket.SOCK_STREAM)",
    "the kernel's cryptography": "socket.socket(38, socket.SOCK_SEQPACKET)",
    "raw packets": "socket.socket(17, socket.SOCK_RAW, 3)",
    "raw addresses": "socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)",
    "netlink": "socket.socket(16, socket.SOCK_RAW)",
    "a pair of virtual machine sockets": "call(53, 40, 1, 0, 0)",
    # programs
    "a shell": "subprocess.run(['/bin/sh', '-c', 'id'])",
    "a debugger": "subprocess.run(['gdb', '-p', '1'])",
}
"""Attempts, of which each has to fail with an error of the operating system."""


@pytest.mark.parametrize("attempt", REFUSED.values(), ids=REFUSED.keys())
async def test_code_does_not_reach(bubblewrap: Bubblewrap, attempt: str) -> None:
    if "call(" in attempt and platform.machine() != "x86_64":
        pytest.skip("the numbers of the calls are those of x86-64")
    code = f"""
    try:
        result = ["reached", repr({attempt})]
    except OSError as error:
        result = ["refused", str(error)]
    """
    assert (await told(bubblewrap, code))[0] == "refused"


async def test_code_sees_no_environment_of_the_server(bubblewrap: Bubblewrap, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AF_SECRET_OF_THE_SERVER", "squeamish-ossifrage")
    seen = await told(
        bubblewrap,
        """
        texts = [str(dict(os.environ))]
        for pid in filter(str.isdigit, os.listdir("/proc")):
            for name in ("environ", "cmdline"):
                try:
                    texts.append(open(f"/proc/{pid}/{name}").read())
                except OSError:
                    pass
        result = " ".join(texts)
        """,
    )
    assert "ossifrage" not in seen
    assert "AF_SECRET" not in seen
    assert "/root" not in seen
    assert "/home" not in seen
    assert "site-packages" not in seen


async def test_code_sees_the_environment_of_its_task(bubblewrap: Bubblewrap) -> None:
    done = await bubblewrap.run(
        Job(code="import os\nresult = os.environ['COLOUR']", environment={"COLOUR": "blue"}, limits=QUICK)
    )
    assert done.result == "blue"


async def test_code_sees_no_other_processes(bubblewrap: Bubblewrap) -> None:
    pids = await told(bubblewrap, "result = sorted(int(p) for p in os.listdir('/proc') if p.isdigit())")
    assert len(pids) == 3
    assert max(pids) < 10


async def test_killing_everything_kills_nothing_outside(bubblewrap: Bubblewrap) -> None:
    with pytest.raises(Exception, match=r"ended|signal"):
        await told(bubblewrap, "os.kill(-1, 9)\nos.kill(os.getppid(), 9)")
    assert await told(bubblewrap, "result = 1") == 1


async def test_code_has_no_rights_at_all(bubblewrap: Bubblewrap) -> None:
    status = await told(
        bubblewrap,
        "result = dict(l.split(':', 1) for l in open('/proc/self/status').read().splitlines() if ':' in l)",
    )
    for kind in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
        assert int(status[kind], 16) == 0
    assert status["NoNewPrivs"].strip() == "1"
    assert status["Seccomp"].strip() == "2"
    assert "0" not in status["Uid"].split()
    assert "0" not in status["Gid"].split()
    assert status["Groups"].split() in ([], ["65534"])


async def test_a_program_with_the_bit_of_another_user_gains_nothing(bubblewrap: Bubblewrap) -> None:
    seen = await told(
        bubblewrap,
        """
        import shutil, sys
        shutil.copy(sys.executable, "/tmp/python")
        os.chmod("/tmp/python", 0o6755)
        asked = ["/tmp/python", "-S", "-c", "import os; print(os.geteuid() == os.getuid())"]
        home = {**os.environ, "PYTHONHOME": sys.prefix}
        done = subprocess.run(asked, env=home, capture_output=True)
        result = [done.stdout.decode(), done.stderr.decode()]
        """,
    )
    assert seen[0] == "True\n", seen[1]


async def test_code_holds_no_descriptors_but_its_own(bubblewrap: Bubblewrap) -> None:
    held = await told(
        bubblewrap,
        "result = [os.readlink(f'/proc/self/fd/{n}') for n in range(256) if os.path.lexists(f'/proc/self/fd/{n}')]",
    )
    assert held[0] == "/dev/null"
    assert all(name.startswith("pipe:") for name in held[1:] if name != "/dev/null"), held
    assert len(held) <= 6


async def test_code_has_a_private_folder_to_write_to(bubblewrap: Bubblewrap) -> None:
    written = "open('/tmp/left', 'w').write('behind')\nresult = sorted(os.listdir('/tmp'))"
    assert await told(bubblewrap, written) == ["left"]
    assert await told(bubblewrap, "result = os.listdir('/tmp')") == []


async def test_only_the_private_folder_can_be_written_to(bubblewrap: Bubblewrap) -> None:
    writable = await told(
        bubblewrap,
        """
        result = []
        for line in open("/proc/self/mountinfo"):
            place = line.split()[4]
            if os.access(place, os.W_OK) and os.path.isdir(place):
                result.append(place)
        """,
    )
    assert writable == ["/tmp"]  # noqa: S108 - the sandbox's own


async def test_packages_of_this_machine_stay_out(bubblewrap: Bubblewrap) -> None:
    found = await told(
        bubblewrap,
        """
        result = []
        for folder, names, files in os.walk("/"):
            if folder.endswith(("site-packages", "dist-packages")):
                result += names + files
            if folder.startswith("/proc"):
                names.clear()
        """,
    )
    assert found == []


async def test_code_uses_the_standard_library_and_processes_of_its_own(bubblewrap: Bubblewrap) -> None:
    done = await told(
        bubblewrap,
        """
        import sqlite3, zoneinfo, hashlib, decimal, multiprocessing, concurrent.futures as futures
        base = sqlite3.connect("/tmp/base")
        base.execute("create table t (x)")
        base.execute("insert into t values (?)", (str(decimal.Decimal("0.1") * 3),))
        with futures.ThreadPoolExecutor(4) as pool:
            squares = list(pool.map(lambda n: n * n, range(5)))
        lock = multiprocessing.Lock()
        with lock:
            result = [squares, base.execute("select x from t").fetchone()[0]]
        """,
    )
    assert done == [[0, 1, 4, 9, 16], "0.3"]


async def test_hidden_faults_in_the_codes_own_classes_are_contained(bubblewrap: Bubblewrap) -> None:
    """An exception whose text raises, an exit in the middle, a result that lies about its type."""
    with pytest.raises(Exception, match="Nasty"):
        await told(bubblewrap, "class Nasty(Exception):\n    def __str__(self):\n        raise SystemExit\nraise Nasty")
    with pytest.raises(Exception, match="exited with 3"):
        await told(bubblewrap, "raise SystemExit(3)")
    with pytest.raises(Exception, match="ended by itself"):
        await told(bubblewrap, "os._exit(0)")
    with pytest.raises(Exception, match="signal 11"):
        await told(bubblewrap, "ctypes.string_at(0)")
    assert await told(bubblewrap, "result = 5\nexit()") == 5
