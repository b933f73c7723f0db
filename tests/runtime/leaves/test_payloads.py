"""Large values of runs in the object store: out of line, once each, checked when they are read."""

import json
from pathlib import Path
from typing import Any

import pytest

from agent_factory.core.journal import MemoryJournal
from agent_factory.runtime.flow.outcome import Completed, FlowLimit
from agent_factory.runtime.payloads import PayloadLost, StoredPayloads
from agent_factory.storage.errors import StorageUnavailable
from agent_factory.storage.settings import StorageSettings
from agent_factory.storage.store import Store
from tests.doubles.fixtures import EffectsServer
from tests.runtime.leaves.parts import Flows, task

ORGANISATION = "org-1"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(StorageSettings(max_bytes=1_000_000), tmp_path / "objects")


@pytest.fixture
def stored(flows: Flows, store: Store) -> Flows:
    """A run whose large values lie in the store."""
    flows.payloads = StoredPayloads(store, ORGANISATION)
    return flows


def fetch(url: str, task_id: str = "fetch", /) -> dict[str, Any]:
    return task(task_id, "http", {"url": url})


async def count(store: Store) -> int:
    return len([item async for item in store.items(ORGANISATION)])


async def test_a_large_output_lies_in_the_store_and_the_journal_names_it(
    stored: Flows, store: Store, effects_server: EffectsServer
) -> None:
    use = task("use", "transform", {"value": "{{ len(fetch.output.body.padding) }}"}, depends_on=["fetch"])
    assert await stored.output(fetch(f"{effects_server.url}?size=100000"), use) == 100_000
    entry = json.loads(bytes(stored.entry("fetch").output))
    assert len(bytes(stored.entry("fetch").output)) < 1000
    kept = json.loads(await store.get(ORGANISATION, entry["output"]["$payload"]))
    assert kept["body"]["padding"] == "x" * 100_000


async def test_a_restart_reads_it_from_the_store(stored: Flows, effects_server: EffectsServer) -> None:
    definition = fetch(f"{effects_server.url}?size=100000")
    await stored.run(definition)
    use = task("use", "transform", {"value": "{{ len(fetch.output.body.padding) }}"}, depends_on=["fetch"])
    assert await stored.output(definition, use) == 100_000
    assert (await effects_server.of(f"{stored.run_id}/fetch"))["requests"] == 1


async def test_the_same_value_of_many_tasks_is_stored_once(stored: Flows, store: Store) -> None:
    names = ("one", "two", "three")
    tasks = [task(name, "transform", {"value": "{{ input }}"}, depends_on=[]) for name in names]
    last = task("last", "transform", {"value": 1}, depends_on=list(names))
    await stored.output(*tasks, last, document={"text": "x" * 50_000})
    assert len({bytes(stored.entry(name).output) for name in names}) == 1
    assert await count(store) == 1


async def test_a_value_that_was_changed_in_the_store_fails_the_task_that_needs_it(
    stored: Flows, tmp_path: Path, effects_server: EffectsServer
) -> None:
    definition = fetch(f"{effects_server.url}?size=100000")
    await stored.run(definition)
    [file] = [p for p in (tmp_path / "objects").rglob("*") if p.is_file()]
    file.write_bytes(file.read_bytes().replace(b"xxx", b"yyy"))
    use = task("use", "transform", {"value": "{{ len(fetch.output.body.padding) }}"}, depends_on=["fetch"])
    error = await stored.error(definition, use)
    assert (error["code"], error["path"]) == ("payload_lost", "use")


async def test_a_value_that_is_gone_says_so(store: Store) -> None:
    with pytest.raises(PayloadLost):
        await StoredPayloads(store, ORGANISATION).get("0" * 64)


async def test_a_value_of_another_organisation_is_gone(store: Store) -> None:
    digest = await StoredPayloads(store, ORGANISATION).put(b"ours")
    with pytest.raises(PayloadLost):
        await StoredPayloads(store, "org-2").get(digest)


async def test_a_value_that_is_too_large_fails_its_task_and_nothing_else(
    stored: Flows, effects_server: EffectsServer
) -> None:
    with pytest.raises(FlowLimit):
        await stored.payloads.put(b"x" * 1_000_001)
    large = task("large", "http", {"url": f"{effects_server.url}?size=1100000", "max_bytes": 2_000_000})
    error = await stored.error(large)
    assert (error["code"], error["path"]) == ("workflow_limit_exceeded", "large")


async def test_a_store_that_is_away_interrupts_the_run_and_fails_no_task(
    stored: Flows, tmp_path: Path, effects_server: EffectsServer
) -> None:
    folder, aside = tmp_path / "objects", tmp_path / "aside"
    folder.rename(aside)
    folder.write_text("in the way")
    definition = fetch(f"{effects_server.url}?size=100000")
    with pytest.raises(StorageUnavailable):
        await stored.run(definition)
    assert isinstance(stored.journal, MemoryJournal)
    assert stored.recorded() == []
    folder.unlink()
    aside.rename(folder)
    end = await stored.run(definition)
    assert isinstance(end, Completed)
    found = await effects_server.of(f"{stored.run_id}/fetch")
    assert (found["requests"], found["effects"]) == (2, 1)
