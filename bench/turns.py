"""What a persisted turn costs beside a bare pass-through, as CPU of whole process trees.

    python -m bench.turns            all rows, about three minutes
    python -m bench.turns --count 500 --rounds 1

One run starts a model server, a bare Starlette pass-through to it (the floor)
and the product on its embedded PostgreSQL, and sends the same number of
requests to each in turn. CPU is user and system time of the serving processes,
for the product with all of PostgreSQL's; the model server's and this client's
are left out. A turn with a tool makes two model calls, so its floor is two
requests.
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
from collections.abc import Awaitable, Callable, Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import aiohttp

from bench.processes import cpu_seconds, rss_megabytes

ROOT = Path(__file__).resolve().parents[1]
CONCURRENCIES = (1, 16, 64)
PLAIN = '{"say": "Hello from the model."}'
WITH_TOOL = '{"call": [{"name": "calculator", "arguments": {"expression": "2340 * 17.5"}}], "say": "It is 40950."}'

Send = Callable[[aiohttp.ClientSession], Awaitable[None]]


def free_port() -> int:
    """Find a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def process(*command: str, **environment: str) -> Generator[subprocess.Popen[bytes], None, None]:
    """Run a command until the block ends."""
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, **environment},  # noqa: TID251 - handed on whole
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as child:
        try:
            yield child
        finally:
            child.terminate()
            child.wait(30)


async def until_ready(client: aiohttp.ClientSession, url: str) -> float:
    """Wait until a URL answers 200; gives the seconds."""
    started = time.monotonic()
    while time.monotonic() - started < 60:
        try:
            async with client.get(url) as answer:
                if answer.status == 200:
                    return time.monotonic() - started
        except aiohttp.ClientConnectionError:
            pass
        await asyncio.sleep(0.05)
    raise TimeoutError(url)


class Product:
    """The running product and what the requests need."""

    def __init__(self, port: int, home: Path) -> None:
        """Read the key that the first start made."""
        self.url = f"http://127.0.0.1:{port}"
        key = json.loads((home / "credentials.json").read_text())["api_key"]
        self.headers = {"authorization": f"Bearer {key}"}

    async def post(self, client: aiohttp.ClientSession, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Send a request that has to succeed."""
        async with client.post(self.url + path, json=body, headers=self.headers) as answer:
            text = await answer.text()
            if answer.status >= 300:
                raise RuntimeError(f"{path}: {answer.status} {text}")
            return json.loads(text)

    async def deploy(self, client: aiohttp.ClientSession) -> str:
        """Make the agent that the benchmark talks to."""
        definition = {"name": "bench", "model": "local:echo", "instructions": "Help.", "tools": ["calculator"]}
        made = await self.post(client, "/api/v1/agents", definition)
        await self.post(client, f"/api/v1/agents/{made['id']}:deploy", {})
        return made["id"]

    def turn(self, agent: str, message: str) -> Send:
        """A turn of a new session over /api/v1: two requests, of which one makes the session."""

        async def send(client: aiohttp.ClientSession) -> None:
            done = await self.post(client, "/api/v1/runs?wait=30", {"agent": agent, "input": message})
            if done["run"]["status"] != "completed":
                raise RuntimeError(str(done))

        return send

    def session_turn(self, sessions: asyncio.Queue[str], message: str) -> Send:
        """A turn of a session that exists."""

        async def send(client: aiohttp.ClientSession) -> None:
            session = sessions.get_nowait()
            done = await self.post(client, f"/api/v1/sessions/{session}/messages?wait=30", {"content": message})
            sessions.put_nowait(session)
            if done["run"]["status"] != "completed":
                raise RuntimeError(str(done))

        return send

    def chat(self, message: str) -> Send:
        """A turn over the OpenAI API."""

        async def send(client: aiohttp.ClientSession) -> None:
            body = {"model": "agent:bench", "messages": [{"role": "user", "content": message}]}
            done = await self.post(client, "/v1/chat/completions", body)
            if not done["choices"][0]["message"]["content"]:
                raise RuntimeError(str(done))

        return send


def floor_send(url: str, message: str) -> Send:
    """The same model call through the pass-through."""

    async def send(client: aiohttp.ClientSession) -> None:
        body = {"model": "echo", "messages": [{"role": "user", "content": message}]}
        async with client.post(url, json=body) as answer:
            if answer.status != 200:
                raise RuntimeError(await answer.text())
            await answer.read()

    return send


async def measure(
    client: aiohttp.ClientSession, send: Send, count: int, concurrency: int, pids: list[int]
) -> tuple[float, float, float]:
    """Send `count` requests; gives CPU seconds per 1,000, requests a second, and the median latency in ms."""
    left = count
    latencies: list[float] = []

    async def caller() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            began = time.perf_counter()
            await send(client)
            latencies.append(time.perf_counter() - began)

    before, began = cpu_seconds(pids), time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(concurrency)))
    elapsed = time.perf_counter() - began
    used = cpu_seconds(pids) - before
    return used / count * 1000, count / elapsed, statistics.median(latencies) * 1000


async def main() -> None:
    """Measure everything and print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=2000, help="requests a row and round")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    with ExitStack() as stack:
        upstream = stack.enter_context(process(sys.executable, "-m", "tests.doubles.model_server", "--port", "0"))
        assert upstream.stdout is not None
        model = f"http://127.0.0.1:{json.loads(upstream.stdout.readline())['port']}"
        floor_port, port = free_port(), free_port()
        floor = stack.enter_context(
            process(sys.executable, "-m", "bench.floor", str(floor_port), FLOOR_UPSTREAM=f"{model}/v1/chat/completions")
        )
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="af-bench-")))
        began = time.monotonic()
        product = stack.enter_context(
            process(
                str(Path(sys.executable).parent / "agent-factory"),
                "up",
                "--port",
                str(port),
                AF_HOME=str(home),
                AF_MODELS__ENDPOINTS=json.dumps({"local": {"url": f"{model}/v1"}}),
                AF_LOGGING__LEVEL="warning",
                AF_LIMITS__ENABLED="false",
            )
        )
        connector = aiohttp.TCPConnector(limit=256)
        async with aiohttp.ClientSession(connector=connector) as client:
            await until_ready(client, f"http://127.0.0.1:{port}/ready")
            served = Product(port, home)
            agent = await served.deploy(client)
            await served.chat(PLAIN)(client)
            cold = time.monotonic() - began
            idle = rss_megabytes([product.pid])
            await floor_send(f"http://127.0.0.1:{floor_port}/v1/chat/completions", PLAIN)(client)
            cases = Cases(floor_send(f"http://127.0.0.1:{floor_port}/v1/chat/completions", PLAIN), served, agent)
            rows = await table(client, args, cases, floor.pid, product.pid)
            after = rss_megabytes([product.pid])
    print(f"Cold start to the first answer: {cold:.1f} s (initdb, migrations, agent, turn)")
    print(f"Memory of the server without PostgreSQL: {idle:.0f} MB idle, {after:.0f} MB after the load\n")
    print(f"{args.count} requests a row and round, median of {args.rounds} rounds\n")
    print(f"{'':34}{'concurrency':>12}{'CPU s/1,000':>13}{'x floor':>9}{'req/s':>8}{'p50 ms':>8}")
    for row in rows:
        print(row)


class Cases:
    """The rows of the table, with sessions to talk in."""

    def __init__(self, floor: Send, served: Product, agent: str) -> None:
        """Prepare the requests; the number beside each is that of its model calls, 0 for the floor."""
        self.sessions: asyncio.Queue[str] = asyncio.Queue()
        self._served, self._agent = served, agent
        self.rows: list[tuple[str, Send, int]] = [
            ("floor: bare pass-through", floor, 0),
            ("/api/v1 run, one model call", served.turn(agent, PLAIN), 1),
            ("/api/v1 session, one model call", served.session_turn(self.sessions, PLAIN), 1),
            ("/v1/chat/completions, one call", served.chat(PLAIN), 1),
            ("/api/v1 run, with a tool", served.turn(agent, WITH_TOOL), 2),
            ("/v1/chat/completions, with a tool", served.chat(WITH_TOOL), 2),
        ]

    async def new_sessions(self, client: aiohttp.ClientSession, count: int) -> None:
        """Begin conversations, one for each caller."""
        while not self.sessions.empty():
            self.sessions.get_nowait()
        for _ in range(count):
            made = await self._served.post(client, "/api/v1/sessions", {"agent": self._agent})
            self.sessions.put_nowait(made["id"])


async def table(
    client: aiohttp.ClientSession, args: argparse.Namespace, cases: Cases, floor_pid: int, product_pid: int
) -> list[str]:
    """Measure every row, interleaved, and write it."""
    written: list[str] = []
    for concurrency in CONCURRENCIES:
        found: list[list[tuple[float, float, float]]] = [[] for _ in cases.rows]
        for _ in range(args.rounds):
            await cases.new_sessions(client, concurrency)
            for index, (name, send, calls) in enumerate(cases.rows):
                # a session grows with every turn, so its row is kept short
                count = min(args.count, 20 * concurrency) if "session" in name else args.count
                pids = [product_pid if calls else floor_pid]
                found[index].append(await measure(client, send, count, concurrency, pids))
        medians = [tuple(statistics.median(v) for v in zip(*rounds, strict=True)) for rounds in found]
        for (name, _, calls), (cpu, rate, p50) in zip(cases.rows, medians, strict=True):
            ratio = f"{cpu / (medians[0][0] * calls):.1f}" if calls else ""
            written.append(f"{name:34}{concurrency:>12}{cpu:>13.2f}{ratio:>9}{rate:>8.0f}{p50:>8.1f}")
    return written


if __name__ == "__main__":
    asyncio.run(main())
