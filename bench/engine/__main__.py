"""Durable steps of several engines side by side: steps per second, and the CPU that they take.

    python -m bench.engine                          about ten minutes
    python -m bench.engine --seconds 1 --rounds 1   a look, about a minute

The same workflow of ten steps that do nothing runs in our engine, in DBOS with
a step a node, in LangGraph with its SQLite and PostgreSQL checkpointers, and,
as the limit, as bare rows that go out in one statement a commit. Every one has
an embedded PostgreSQL of its own with fsync on, and commits a step before the
next one starts. CPU is that of the client's process and of its PostgreSQL.
The peers are installed by uv into a folder that goes away again.
"""

import argparse
import statistics
import subprocess
import tempfile
from contextlib import ExitStack
from pathlib import Path

from bench.engine.contenders import CONTENDERS, Measure, Running, peers, running

CONCURRENCIES = (1, 32, 128)
STEPS = 10

Found = dict[tuple[str, int, int], list[Measure]]
"""What was measured, by contender, steps and concurrency."""


def opened(stack: ExitStack, folder: Path) -> list[Running]:
    """Start every contender that can be had; the others are named."""
    python: Path | None = None
    try:
        python = peers(folder / "peers")
    except (subprocess.CalledProcessError, FileNotFoundError) as error:
        print(f"The other engines cannot be installed: {getattr(error, 'stderr', '') or error}\n")
    found: list[Running] = []
    for number, contender in enumerate(CONTENDERS):
        if contender.peer and python is None:
            continue
        try:
            found.append(stack.enter_context(running(contender, python or Path(), folder / str(number))))
        except RuntimeError as error:
            print(f"Left out: {error}\n")
    return found


def measured(contenders: list[Running], rounds: int, seconds: float) -> Found:
    """Measure all in turn, again and again, so that what else the machine does falls on each; tell each as it comes."""
    found: Found = {}
    for steps in (STEPS, 1):
        for concurrency in CONCURRENCIES:
            for one in contenders:
                one.measure(steps, concurrency, min(0.5, seconds))  # opens connections and caches
            for _ in range(rounds):
                for one in contenders:
                    made = one.measure(steps, concurrency, seconds)
                    found.setdefault((one.name, steps, concurrency), []).append(made)
            for one in contenders:
                made = medians(found, one.name, steps, concurrency)
                rate = f"{made.steps_per_second:,.0f} steps/s, {made.cpu_per_1000:.3f} CPU s/1,000"
                print(f"{steps:>3} steps at {concurrency:>3}  {one.name:36}{rate}", flush=True)
    return found


def medians(found: Found, name: str, steps: int, concurrency: int) -> Measure:
    """Give the median of each figure."""
    return Measure(*(statistics.median(values) for values in zip(*found[name, steps, concurrency], strict=True)))


def show(found: Found, names: list[str]) -> None:
    """Print both tables and the goals."""
    head = "".join(f"{f'at {c}':>10}" for c in CONCURRENCIES)
    print(f"\n{'':36}{'steps/s':>30}{'CPU s/1,000 steps':>30}{'1-step runs/s':>30}")
    print(f"{'':36}{head}{head}{head}")
    for name in names:
        ten = [medians(found, name, STEPS, c) for c in CONCURRENCIES]
        one = [medians(found, name, 1, c) for c in CONCURRENCIES]
        rates = "".join(f"{m.steps_per_second:>10,.0f}" for m in ten)
        cpu = "".join(f"{m.cpu_per_1000:>10.3f}" for m in ten)
        runs = "".join(f"{m.runs_per_second:>10,.0f}" for m in one)
        print(f"{name:36}{rates}{cpu}{runs}")
    if "Agent Factory" not in names:
        return
    ours = medians(found, "Agent Factory", STEPS, 32)
    print("\nAgent Factory at 32, beside the others:")
    for name in names:
        other = medians(found, name, STEPS, 32)
        rate, cpu = ours.steps_per_second / other.steps_per_second, ours.cpu_per_1000 / other.cpu_per_1000
        print(f"  {name:36}{rate:>7.2f} x the steps a second, {cpu:>6.3f} x the CPU a step")


def main() -> None:
    """Measure everything and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="af-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        folder.chmod(0o711)  # PostgreSQL may run as another user
        contenders = opened(stack, folder)
        print(f"{STEPS} steps that do nothing; {args.seconds:g} s each, medians of {args.rounds} interleaved rounds\n")
        show(measured(contenders, args.rounds, args.seconds), [one.name for one in contenders])


if __name__ == "__main__":
    main()
