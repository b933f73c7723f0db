"""What clients that never finish their headers cost everybody else: the p99 of `GET /health` beside them.

    python -m bench.slow                    1,000 slow clients, three rounds of 4 x 12 s: about three minutes
    python -m bench.slow --clients 100 --seconds 3 --rounds 1

`agent-factory up`, with its embedded PostgreSQL, serves `GET /health` to one
caller at a steady pace, over one connection. Beside it there are, by turns,
nobody; clients that have sent half of their headers and say no more; clients
that go on sending them a byte at a time; and the same dripping clients at a
socket of another process, which only reads. What the last costs, the dripping
itself costs on this machine, whoever it drips on. A client whose connection is
closed opens another. Caller, clients and socket are processes of their own.
"""

import argparse
import asyncio
import json
import os
import re
import selectors
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
UP = Path(sys.executable).parent / "agent-factory"
SETTINGS = {
    "AF_LIMITS__ENABLED": "false",
    "AF_LOGGING__REQUESTS": "false",
    "AF_QUEUE__WORKER": "false",
    "AF_SCHEDULER__ENABLED": "false",
    "AF_MAIL__DELIVER": "false",
}
PACE = 0.005
"""Seconds between two requests of the caller."""
DRIP = 1.0
"""Seconds between two bytes of one client."""
REQUEST = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
UNFINISHED = b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-Slow: "


def call(port: int, seconds: float) -> list[float]:
    """Be the caller: give the milliseconds of each answer."""
    found: list[float] = []
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        ends = time.perf_counter() + seconds
        while (began := time.perf_counter()) < ends:
            connection.sendall(REQUEST)
            answer = b""
            while not answer.endswith(b"}"):
                piece = connection.recv(65_536)
                if not piece:
                    raise RuntimeError(f"the server hung up after {answer!r}")
                answer += piece
            took = time.perf_counter() - began
            if not answer.startswith(b"HTTP/1.1 200"):
                raise RuntimeError(f"the server answers {answer!r}")
            found.append(took * 1000)
            time.sleep(max(0.0, PACE - took))
    return found


def be_slow(port: int, clients: int, *, dripping: bool) -> None:
    """Be so many clients, evenly over time, until killed."""
    waiting = selectors.DefaultSelector()
    connections: dict[int, socket.socket] = {}
    turn = 0
    print("ready", flush=True)
    began = time.perf_counter()
    while True:
        due = int((time.perf_counter() - began) / DRIP * clients)
        while turn < due:
            n, turn = turn % clients, turn + 1
            found = connections.get(n)
            if found is None:
                connections[n] = made = socket.create_connection(("127.0.0.1", port))
                made.settimeout(0)
                waiting.register(made, selectors.EVENT_READ, n)
                made.send(UNFINISHED)
            elif dripping:
                with suppress(OSError):  # it is seen below
                    found.send(b"a")
        for key, _ in waiting.select(DRIP / clients):
            waiting.unregister(key.fileobj)
            connections.pop(key.data).close()


def only_read() -> None:
    """Be a server that reads what comes and does nothing about it."""
    waiting = selectors.DefaultSelector()
    with socket.create_server(("127.0.0.1", 0), backlog=4096) as listening:
        listening.settimeout(0)
        waiting.register(listening, selectors.EVENT_READ)
        print(listening.getsockname()[1], flush=True)
        while True:
            for key, _ in waiting.select():
                if key.fileobj is listening:
                    made = listening.accept()[0]
                    made.settimeout(0)
                    waiting.register(made, selectors.EVENT_READ, made)
                elif not key.data.recv(65_536):
                    waiting.unregister(key.data)
                    key.data.close()


@asynccontextmanager
async def up(folder: Path) -> AsyncGenerator[int, None]:
    """Run the product and give its port."""
    environment = {"PATH": os.defpath, "PYTHONPATH": str(ROOT), "HOME": str(folder), "AF_HOME": str(folder), **SETTINGS}
    process = await asyncio.create_subprocess_exec(
        UP, "up", "--port", "0", env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert process.stdout is not None
    told = b""
    try:
        while not (found := re.search(rb"ready at http://127\.0\.0\.1:(\d+)", told)):
            line = await process.stdout.readline()
            if not line:
                raise RuntimeError(told.decode())
            told += line
        yield int(found[1])
    finally:
        process.terminate()
        await process.communicate()


@asynccontextmanager
async def beside(*arguments: str) -> AsyncGenerator[str, None]:
    """Run a part of this file in a process of its own, and give the first line that it says."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.slow", *arguments, cwd=ROOT, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        yield (await process.stdout.readline()).decode().strip()
    finally:
        process.kill()
        await process.wait()


async def timed(port: int, seconds: float) -> list[float]:
    """Let the caller call."""
    async with beside("--caller", str(port), str(seconds)) as told:
        return json.loads(told)


async def timed_beside(port: int, seconds: float, clients: int, at: int, *, dripping: bool) -> list[float]:
    """Let the caller call while slow clients are at a port."""
    async with beside("--slow", str(at), str(clients), "drip" if dripping else "still"):
        await asyncio.sleep(2 * DRIP)  # until all are there
        return await timed(port, seconds)


def p99(values: list[float]) -> float:
    """Give the value that 99 of 100 stay below."""
    return statistics.quantiles(values, n=100)[98]


async def measure(clients: int, seconds: float, rounds: int, folder: Path) -> None:
    """Time the caller beside nobody and beside slow clients, in turns, and print medians of the rounds."""
    rows: dict[str, list[list[float]]] = {
        "nobody": [],
        f"{clients} in unfinished headers": [],
        f"{clients} dripping": [],
        f"{clients} dripping elsewhere": [],
    }
    idle, still, dripping, elsewhere = rows.values()
    async with up(folder) as port, beside("--reader") as reader:
        await timed(port, 1)
        for _ in range(rounds):
            idle.append(await timed(port, seconds))
            still.append(await timed_beside(port, seconds, clients, port, dripping=False))
            dripping.append(await timed_beside(port, seconds, clients, port, dripping=True))
            elsewhere.append(await timed_beside(port, seconds, clients, int(reader), dripping=True))
    print(f"medians of {rounds} rounds of {seconds:g} s; load of the machine: {os.getloadavg()[0]:.1f}\n")
    print(f"{'GET /health beside':>32}{'p50 ms':>10}{'p99 ms':>10}{'p99 ÷ idle':>12}")
    usual = statistics.median(p99(values) for values in idle)
    for name, found in rows.items():
        middle = statistics.median(statistics.median(values) for values in found)
        high = statistics.median(p99(values) for values in found)
        print(f"{name:>32}{middle:>10.2f}{high:>10.2f}{high / usual:>12.2f}")


def main() -> None:
    """Measure, or be one of the others."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=12.0, help="of each; the server waits 10 for headers")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--caller", nargs=2, metavar=("PORT", "SECONDS"), help="be the caller that is timed")
    parser.add_argument("--slow", nargs=3, metavar=("PORT", "CLIENTS", "HOW"), help="be the slow clients")
    parser.add_argument("--reader", action="store_true", help="be the socket that only reads")
    args = parser.parse_args()
    if args.caller:
        print(json.dumps(call(int(args.caller[0]), float(args.caller[1]))))
    elif args.slow:
        be_slow(int(args.slow[0]), int(args.slow[1]), dripping=args.slow[2] == "drip")
    elif args.reader:
        only_read()
    else:
        with tempfile.TemporaryDirectory(prefix="af-bench-") as folder:
            Path(folder).chmod(0o711)  # PostgreSQL may run as another user
            asyncio.run(measure(args.clients, args.seconds, args.rounds, Path(folder)))


if __name__ == "__main__":
    main()
