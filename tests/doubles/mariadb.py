"""A real MariaDB on a free loopback port, in a folder of its own, without root's rights."""

import asyncio
import os
import pwd
import shutil
import socket
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncmy

PASSWORD = "test"


def found() -> str | None:
    """Tell where the server is, if it is installed (Debian: mariadb-server)."""
    return shutil.which("mariadbd", path=f"{os.defpath}:/usr/sbin:/usr/local/sbin")


@asynccontextmanager
async def running() -> AsyncGenerator[str, None]:
    """Start the server with a database `test`; give the URL of its user."""
    with tempfile.TemporaryDirectory(prefix="af-test-") as folder:  # where another user may enter
        async with _running(Path(folder)) as url:
            yield url


@asynccontextmanager
async def _running(folder: Path) -> AsyncGenerator[str, None]:
    server = found()
    assert server is not None
    user = _unprivileged(folder)
    data = folder / "data"
    await _done("mariadb-install-db", f"--datadir={data}", f"--user={user}", "--auth-root-authentication-method=normal")
    port = _free_port()
    process = await asyncio.create_subprocess_exec(
        server,
        "--no-defaults",
        f"--user={user}",
        f"--datadir={data}",
        f"--socket={folder / 'socket'}",
        f"--pid-file={folder / 'pid'}",
        "--bind-address=127.0.0.1",
        f"--port={port}",
        "--innodb-flush-log-at-trx-commit=0",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        await _prepared(folder / "socket", process)
        yield f"mysql://test:{PASSWORD}@127.0.0.1:{port}/test"
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


def _unprivileged(folder: Path) -> str:
    """Give the folder to a user without rights when we are root; else it is ours already."""
    if os.geteuid() != 0:
        return pwd.getpwuid(os.geteuid()).pw_name
    user = next(p for p in pwd.getpwall() if p.pw_name in ("mysql", "nobody"))
    os.chown(folder, user.pw_uid, user.pw_gid)
    folder.chmod(0o755)
    return user.pw_name


async def _done(*command: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()


async def _prepared(socket_path: Path, process: asyncio.subprocess.Process) -> None:
    async with asyncio.timeout(60):
        while True:
            assert process.returncode is None, "mariadbd ended at once"
            try:
                connection = await asyncmy.connect(unix_socket=str(socket_path), user="root")
            except (OSError, asyncmy.errors.Error):
                await asyncio.sleep(0.05)  # the server tells nobody when it is ready
            else:
                break
    async with connection.cursor() as cursor:
        await cursor.execute("CREATE DATABASE IF NOT EXISTS test")
        await cursor.execute(f"CREATE USER test@'127.0.0.1' IDENTIFIED BY '{PASSWORD}'")
        await cursor.execute("GRANT ALL ON *.* TO test@'127.0.0.1'")
    await connection.ensure_closed()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
