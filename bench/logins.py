"""What many logins at once cost everybody else: the p99 of another endpoint, idle and under 200 parallel logins.

    python -m bench.logins                  200 logins at a time for 10 s, about half a minute
    python -m bench.logins --logins 20      a look

A server in a process of its own, with the embedded PostgreSQL beside it and
the password parameters of the product, serves `GET /api/v1/agents` to one
caller at a steady pace; meanwhile people with accounts of their own log in by
their passwords, each again as soon as the answer is there. Limits of requests
are switched off, for everything comes from one address.
"""

import argparse
import asyncio
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from agent_factory.database.embedded import Server
from agent_factory.database.migrations import migrate
from agent_factory.database.session import Database
from agent_factory.security.passwords import Hashed, Passwords
from agent_factory.services.auth import service as auth
from agent_factory.services.organizations.service import bootstrap

ROOT = Path(__file__).resolve().parents[1]
PASSWORD = "correct-horse-staple-9"  # noqa: S105 - of people who exist for a minute
SETTINGS = {
    "AF_LIMITS__ENABLED": "false",
    "AF_LOGGING__REQUESTS": "false",
    "AF_LOGGING__LEVEL": "warning",
    "AF_QUEUE__WORKER": "false",
    "AF_SCHEDULER__ENABLED": "false",
    "AF_MAIL__DELIVER": "false",
    "AF_PASSWORDS__WRONG_FROM_ADDRESS": "1000000",
}
PACE = 0.02
"""Seconds between two requests of the caller whose answers are timed."""


async def people(url: str, count: int) -> str:
    """Make an organisation with so many people who have the same password; gives the owner's key."""
    database = Database(url)
    founded = await bootstrap(database)
    if founded is None:
        raise RuntimeError("the database was not empty")
    passwords = Passwords()
    hashed: Hashed = await passwords.hash(PASSWORD)
    passwords.close()
    async with database.system() as session:
        for n in range(count):
            email = f"person-{n}@example.com"
            account = await auth.create_account(session, email=email, password=hashed, name="", verified=True)
            await auth.add_user(
                session, founded.organization_id, email=email, name="", role="viewer", account_id=account.id
            )
    await database.close()
    return founded.secret


@asynccontextmanager
async def serving(url: str, folder: Path) -> AsyncGenerator[str, None]:
    """Run the product and give its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "granian", "--interface", "asgi", "--factory", "agent_factory.server:app"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--log-level", "warning"]
    environment = {"PATH": os.defpath, "AF_DATABASE__URL": url, "AF_DATABASE__DATA_DIR": str(folder), **SETTINGS}
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, env=environment)
    root = f"http://127.0.0.1:{port}"
    try:
        await _answering(root)
        yield root
    finally:
        process.terminate()
        await process.wait()


async def _answering(root: str) -> None:
    async with asyncio.timeout(60), aiohttp.ClientSession() as http:
        while True:
            try:
                async with http.get(f"{root}/health") as answer:
                    if answer.status == 200:
                        return
            except aiohttp.ClientConnectionError:
                await asyncio.sleep(0.1)


async def timed(root: str, key: str, seconds: float) -> list[float]:
    """Ask another endpoint at a steady pace; gives milliseconds for each answer."""
    command = [sys.executable, "-m", "bench.logins", "--caller", root, key, str(seconds)]
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=subprocess.PIPE)
    told, _ = await process.communicate()
    return json.loads(told)


async def call(root: str, key: str, seconds: float) -> list[float]:
    """Be the caller; a process of its own, so that the load's clients are not in its way."""
    found: list[float] = []
    headers = {"Authorization": f"Bearer {key}"}
    async with aiohttp.ClientSession(headers=headers) as http:
        ends = time.perf_counter() + seconds
        while (began := time.perf_counter()) < ends:
            async with http.get(f"{root}/api/v1/agents") as answer:
                await answer.read()
                answer.raise_for_status()
            took = time.perf_counter() - began
            found.append(took * 1000)
            await asyncio.sleep(max(0.0, PACE - took))
    return found


async def log_in(root: str, count: int, until: asyncio.Event) -> Counter[int]:
    """Let so many people log in, again and again; counts the answers by status."""
    statuses: Counter[int] = Counter()
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(120)) as http:

        async def person(n: int) -> None:
            body = {"email": f"person-{n}@example.com", "password": PASSWORD}
            while not until.is_set():
                async with http.post(f"{root}/api/v1/auth/login", json=body) as answer:
                    await answer.read()
                    statuses[answer.status] += 1

        await asyncio.gather(*(person(n) for n in range(count)))
    return statuses


def p99(values: list[float]) -> float:
    """Give the value that 99 of 100 stay below."""
    return statistics.quantiles(values, n=100)[98]


async def measure(url: str, folder: Path, logins: int, seconds: float) -> None:
    """Time the other endpoint twice: alone, and while people log in."""
    key = await people(url, logins)
    async with serving(url, folder) as root:
        await timed(root, key, 2)
        idle = await timed(root, key, seconds)
        until = asyncio.Event()
        load = asyncio.create_task(log_in(root, logins, until))
        await asyncio.sleep(1)
        busy = await timed(root, key, seconds)
        until.set()
        statuses = await load
    lines: list[tuple[str, Any]] = [
        ("idle", idle),
        (f"{logins} parallel logins", busy),
    ]
    print(f"{'GET /api/v1/agents':>24}{'p50 ms':>10}{'p99 ms':>10}{'most':>10}")
    for name, values in lines:
        print(f"{name:>24}{statistics.median(values):>10.2f}{p99(values):>10.2f}{max(values):>10.2f}")
    told = ", ".join(f"{count} with {status}" for status, count in sorted(statuses.items()))
    print(f"\np99 under load: {p99(busy) / p99(idle):.2f} times that of an idle server; logins answered: {told}")


def main() -> None:
    """Measure, and print both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--logins", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--caller", nargs=3, metavar=("ROOT", "KEY", "SECONDS"), help="be the caller that is timed")
    args = parser.parse_args()
    if args.caller:
        root, key, seconds = args.caller
        print(json.dumps(asyncio.run(call(root, key, float(seconds)))))
        return
    with tempfile.TemporaryDirectory(prefix="af-bench-") as name:
        Path(name).chmod(0o711)  # PostgreSQL may run as another user
        server = Server(Path(name) / "postgres")
        url = server.start_sync()
        try:
            asyncio.run(migrate(url))
            asyncio.run(measure(url, Path(name), args.logins, args.seconds))
        finally:
            server.stop_sync()


if __name__ == "__main__":
    main()
