"""Values by organisation and digest, in a folder and in S3 (S70)."""

import asyncio
import hashlib
import os
import socket
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr

from agent_factory.kit.clock import now
from agent_factory.kit.errors import Problem
from agent_factory.storage.errors import (
    ObjectBroken,
    ObjectGone,
    ObjectTooLarge,
    StorageMisconfigured,
    StorageUnavailable,
)
from agent_factory.storage.settings import StorageSettings
from agent_factory.storage.store import Store

ACME, OTHER = "0190a1b2-0000-7000-8000-000000000001", "0190a1b2-0000-7000-8000-000000000002"


async def digests(store: Store, organization_id: str) -> set[str]:
    return {item.digest async for item in store.items(organization_id)}


@pytest.mark.parametrize("data", [b"", b"x", b"\0\xff" * 50_000, b"large" * 3_000_000])
async def test_a_value_comes_back_by_the_digest_of_its_content(store: Store, data: bytes) -> None:
    digest = await store.put(ACME, data)
    assert digest == hashlib.sha256(data).hexdigest()
    assert await store.get(ACME, digest) == data


async def test_the_same_value_is_stored_once(store: Store) -> None:
    first = await store.put(ACME, b"twice")
    [item] = [item async for item in store.items(ACME)]
    assert await store.put(ACME, b"twice") == first
    assert [item async for item in store.items(ACME)] == [item]
    assert (item.digest, item.bytes) == (first, 5)


async def test_many_writers_of_one_value_do_not_disturb_each_other(store: Store) -> None:
    data = os.urandom(200_000)
    made = await asyncio.gather(*(store.put(ACME, data) for _ in range(20)))
    assert len(set(made)) == 1
    assert await store.get(ACME, made[0]) == data


async def test_an_organisation_does_not_see_the_values_of_another(store: Store) -> None:
    digest = await store.put(ACME, b"ours")
    with pytest.raises(ObjectGone):
        await store.get(OTHER, digest)
    assert await digests(store, OTHER) == set()
    await store.delete(OTHER, [digest])
    assert await store.get(ACME, digest) == b"ours"


async def test_deleted_values_are_gone_and_missing_ones_are_no_error(store: Store) -> None:
    kept, first, second = [await store.put(ACME, data) for data in (b"kept", b"first", b"second")]
    await store.delete(ACME, [first, "0" * 64, second])
    assert await digests(store, ACME) == {kept}
    with pytest.raises(ObjectGone):
        await store.get(ACME, first)


async def test_values_expire_by_when_they_were_last_stored(store: Store) -> None:
    digest = await store.put(ACME, b"old")
    assert await store.expire(ACME, now() - timedelta(minutes=1)) == 0
    assert await store.get(ACME, digest) == b"old"
    assert await store.expire(ACME, now() + timedelta(minutes=1)) == 1
    assert await digests(store, ACME) == set()


async def test_an_organisation_that_leaves_takes_all_its_values_along(store: Store) -> None:
    theirs = await store.put(OTHER, b"stays")
    for number in range(5):
        await store.put(ACME, str(number).encode())
    assert await store.clear(ACME) == 5
    assert await digests(store, ACME) == set()
    assert await digests(store, OTHER) == {theirs}


async def test_a_value_that_is_too_large_is_refused_before_anything_is_written(store: Store) -> None:
    with pytest.raises(ObjectTooLarge):
        await store.put(ACME, b"x" * 20_000_001)
    assert await digests(store, ACME) == set()


NAMES = ["", "..", "../other", "/etc", "a/b", "a\\b", "a\0", ".hidden", "ä", "x" * 65]
DIGESTS = ["", "0" * 63, "0" * 65, "A" * 64, "../" * 21 + "0", "0" * 32 + "/" + "0" * 31, "0" * 63 + "\n"]


@pytest.mark.parametrize("name", NAMES)
async def test_what_is_no_organisation_reaches_no_file(store: Store, name: str) -> None:
    """Abuse 54: a name never becomes a path of its own making."""
    attempts: list[Callable[[], Awaitable[object]]] = [
        lambda: store.put(name, b"x"),
        lambda: store.get(name, "0" * 64),
        lambda: store.delete(name, ["0" * 64]),
        lambda: store.clear(name),
    ]
    for attempt in attempts:
        with pytest.raises(ObjectGone):
            await attempt()


@pytest.mark.parametrize("digest", DIGESTS)
async def test_what_is_no_digest_reaches_no_file(store: Store, digest: str) -> None:
    with pytest.raises(ObjectGone):
        await store.get(ACME, digest)
    with pytest.raises(ObjectGone):
        await store.delete(ACME, [digest])


def _file(folder: Path) -> Path:
    [file] = [path for path in folder.rglob("*") if path.is_file()]
    return file


async def test_a_value_that_was_changed_in_the_store_is_not_given_out(tmp_path: Path) -> None:
    store = Store(StorageSettings(), tmp_path)
    digest = await store.put(ACME, b"true words")
    _file(tmp_path).write_bytes(b"fake words")
    with pytest.raises(ObjectBroken):
        await store.get(ACME, digest)


async def test_a_value_that_was_cut_in_the_store_is_healed_by_storing_it_again(tmp_path: Path) -> None:
    store = Store(StorageSettings(), tmp_path)
    digest = await store.put(ACME, b"true words")
    _file(tmp_path).write_bytes(b"true")
    with pytest.raises(ObjectBroken):
        await store.get(ACME, digest)
    await store.put(ACME, b"true words")
    assert await store.get(ACME, digest) == b"true words"


async def test_a_file_that_has_grown_past_the_limit_is_not_read(tmp_path: Path) -> None:
    store = Store(StorageSettings(max_bytes=100), tmp_path)
    digest = await store.put(ACME, b"short")
    _file(tmp_path).write_bytes(b"x" * 101)
    with pytest.raises(ObjectTooLarge):
        await store.get(ACME, digest)


async def test_an_old_value_is_young_again_once_it_is_stored_again(tmp_path: Path) -> None:
    """Retention must not take what a newer run has stored in the meantime."""
    store = Store(StorageSettings(), tmp_path)
    digest = await store.put(ACME, b"shared")
    month_ago = (now() - timedelta(days=30)).timestamp()
    os.utime(_file(tmp_path), (month_ago, month_ago))
    await store.put(ACME, b"shared")
    assert await store.expire(ACME, now() - timedelta(days=7)) == 0
    assert await store.get(ACME, digest) == b"shared"


async def test_a_folder_is_closed_to_others_and_keeps_nothing_half_written(tmp_path: Path) -> None:
    folder = tmp_path / "state" / "objects"
    store = Store(StorageSettings(), folder)
    digest = await store.put(ACME, b"x" * 1_000_000)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert [p.name for p in folder.rglob("*") if p.is_file()] == [digest]


async def test_a_folder_may_be_named_by_url(tmp_path: Path) -> None:
    folder = tmp_path / "by url"
    digest = await Store(StorageSettings(url=folder.as_uri()), tmp_path / "unused").put(ACME, b"here")
    assert await Store(StorageSettings(), folder).get(ACME, digest) == b"here"


async def test_two_machines_share_what_lies_in_s3(s3: StorageSettings, tmp_path: Path) -> None:
    here, there = Store(s3, tmp_path / "here"), Store(s3, tmp_path / "there")
    assert await there.get(ACME, await here.put(ACME, b"shared")) == b"shared"


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("ftp://somewhere", {}),
        ("nonsense", {}),
        ("s3://", {}),
        ("s3://bucket", {"no_such_option": "x"}),
        ("az://container", {}),
        ("file:///proc/nothing/here", {}),
    ],
)
def test_a_url_that_names_no_store_is_told_at_once(url: str, options: dict[str, str], tmp_path: Path) -> None:
    settings = StorageSettings(url=url, options={name: SecretStr(value) for name, value in options.items()})
    with pytest.raises(StorageMisconfigured, match=r"storage\.url"):
        Store(settings, tmp_path)


@pytest.mark.parametrize("url", ["gs://bucket/prefix", "az://container/prefix", "s3://bucket"])
def test_every_vendor_is_a_url(url: str, tmp_path: Path) -> None:
    options = {"account_name": "account", "account_key": "a2V5"} if url.startswith("az:") else {}
    Store(StorageSettings(url=url, options={n: SecretStr(v) for n, v in options.items()}), tmp_path)


async def test_a_store_that_is_away_is_a_problem_that_may_pass_and_tells_no_secret(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        options = {
            "endpoint": f"http://127.0.0.1:{taken.getsockname()[1]}",
            "region": "us-east-1",
            "access_key_id": "key",
            "secret_access_key": "very-secret",
        }
        settings = StorageSettings(
            url="s3://bucket", options={n: SecretStr(v) for n, v in options.items()}, timeout=0.5
        )
        store = Store(settings, tmp_path)
        with pytest.raises(StorageUnavailable) as told:
            await store.put(ACME, b"x")
    assert told.value.retryable
    assert "very-secret" not in str(told.value)
    assert "very-secret" not in repr(settings)


async def test_a_folder_that_has_become_a_file_is_a_problem_that_may_pass(tmp_path: Path) -> None:
    folder = tmp_path / "objects"
    store = Store(StorageSettings(), folder)
    folder.rmdir()
    folder.write_text("in the way")
    attempts: list[Callable[[], Awaitable[object]]] = [
        lambda: store.put(ACME, b"x"),
        lambda: store.clear(ACME),
    ]
    for attempt in attempts:
        with pytest.raises(Problem) as told:
            await attempt()
        assert told.value.code == "storage_unavailable"
        assert str(tmp_path) not in told.value.detail
