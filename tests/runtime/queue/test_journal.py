"""The journal of a run: what it remembers, and what a later activation has to load."""

from typing import Any

import msgspec
import pytest

from agent_factory.core.journal import Entry
from agent_factory.kit.ids import uuid7
from agent_factory.runtime.journal import Fenced, Put, Writer
from agent_factory.runtime.queue.activation import needed
from agent_factory.runtime.queue.journal import FlowJournal
from agent_factory.runtime.queue.rows import Known
from agent_factory.runtime.queue.snapshots import Pinned
from tests.runtime.queue.parts import act, flow


class Ledger(Writer):
    """A writer that keeps what it is given, or refuses it."""

    def __init__(self) -> None:
        self.puts: list[Put] = []
        self.refuse: Exception | None = None

    async def put(self, op: Put) -> None:
        if self.refuse is not None:
            raise self.refuse
        self.puts.append(op)


def entry(path: str, **more: Any) -> Entry:
    return Entry(path=path, kind="task", name="http", input=msgspec.Raw(b"null"), output=msgspec.Raw(b"1"), **more)


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


@pytest.fixture
def journal(ledger: Ledger) -> FlowJournal:
    return FlowJournal(ledger, uuid7(), uuid7(), 1)


async def test_what_is_committed_is_forgotten_and_what_is_not_is_known(journal: FlowJournal, ledger: Ledger) -> None:
    await journal.put(entry("a"), durable=False)
    assert journal.get("a") is not None
    assert ledger.puts == []
    await journal.put(entry("b"), durable=True)
    assert [[e.path for _, e in put.entries] for put in ledger.puts] == [["a", "b"]]
    assert journal.get("a") is None
    assert journal.get("b") is None
    assert (journal.number("a"), journal.number("b"), journal.last) == (1, 2, 2)


async def test_a_thousand_tasks_without_effects_do_not_pile_up(journal: FlowJournal, ledger: Ledger) -> None:
    for index in range(1000):
        await journal.put(entry(f"t{index}"), durable=False)
    assert sum(len(put.entries) for put in ledger.puts) > 800
    assert sum(journal.get(f"t{index}") is not None for index in range(1000)) < 200


async def test_what_came_from_outside_is_known_until_somebody_asks(journal: FlowJournal) -> None:
    await journal.note(entry("ask/approval"))
    await journal.flush()
    assert journal.get("ask/approval") is not None


async def test_what_could_not_be_written_is_written_with_the_next(journal: FlowJournal, ledger: Ledger) -> None:
    ledger.refuse = Fenced("gone")
    with pytest.raises(Fenced):
        await journal.put(entry("a"), durable=True)
    assert isinstance(journal.broken, Fenced)
    assert [e.path for _, e in journal.take()] == ["a"]


async def test_tokens_and_money_are_summed(journal: FlowJournal) -> None:
    await journal.put(entry("a", input_tokens=3, output_tokens=1, cost_usd="0.10"), durable=False)
    await journal.put(entry("b", input_tokens=2, output_tokens=2), durable=False)
    await journal.put(entry("c", cost_usd="0.05"), durable=False)
    assert (journal.spent.input_tokens, journal.spent.output_tokens, str(journal.spent.cost_usd)) == (5, 3, "0.15")


def known(*paths: str) -> list[Known]:
    return [Known(path, number, "task", "http", is_error=False) for number, path in enumerate(paths, start=1)]


def test_what_lies_inside_a_recorded_task_is_not_loaded() -> None:
    paths = ["ask/model/0", "ask", "each[0]/get", "each[0]", "each[1]/get", "each#2[0]/get", "box/left/in", "try/in"]
    found = needed(known(*paths, "each#2"), Pinned(flow(act("a"))))
    assert sorted(found) == ["ask", "box/left/in", "each#2", "each[0]", "each[1]/get", "try/in"]
    assert sorted(needed(known(*paths, "each", "box", "try"), Pinned(flow(act("a"))))) == ["ask", "box", "each", "try"]


def test_where_something_can_be_undone_everything_is_loaded() -> None:
    undo = {"type": "http", "config": {"url": "/undo"}}
    attempt = {"id": "attempt", "type": "try", "config": {"tasks": [act("book", compensate=undo)]}}
    paths = ["attempt/book", "attempt"]
    assert needed(known(*paths), Pinned(flow(attempt))) == paths
