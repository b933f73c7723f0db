"""Some time after an organisation was deleted nothing is left of it but its audit trail (S210).

An organisation here has a row in every table that names one; which tables
there are comes from the database's own catalogue.
"""

import asyncio
import sys
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import cast
from uuid import UUID

import pytest
from sqlalchemy import text

from agent_factory.database import purge
from agent_factory.database.session import Database
from agent_factory.kit.errors import Problem
from agent_factory.kit.ids import uuid7
from agent_factory.runtime.home import FirstOrganization
from agent_factory.security.encryption import CannotDecrypt, EncryptionSettings, Vault, open_vault
from agent_factory.storage.errors import StorageUnavailable
from agent_factory.storage.settings import StorageSettings
from agent_factory.storage.store import Store
from tests.database.tenants import Tenant
from tests.enterprise.purging import ROOT, purge_of
from tests.security.sealing import trail_of


async def _account(database: Database) -> UUID:
    account_id = uuid7()
    async with database.system() as session:
        statement = text("insert into accounts (id, email) values (:id, :email)")
        await session.execute(statement, {"id": account_id, "email": f"{account_id}@example.com"})
    return account_id


@pytest.fixture
async def ours(fresh_database_url: str) -> AsyncGenerator[Database]:
    opened = Database(fresh_database_url)
    yield opened
    await opened.close()


@pytest.fixture
def vault(ours: Database, tmp_path: Path) -> Vault:
    return open_vault(EncryptionSettings(), ours.pool, tmp_path)


@pytest.fixture
async def two(ours: Database) -> tuple[Tenant, Tenant, UUID, UUID]:
    """Two organisations that share an account, and the account that is in the first alone."""
    shared, own = await _account(ours), await _account(ours)
    doomed, neighbour = Tenant(ours), Tenant(ours)
    await doomed.fill(shared, own)
    await neighbour.fill(shared, await _account(ours))
    return doomed, neighbour, shared, own


async def _accounts(database: Database) -> set[UUID]:
    return {row["id"] for row in await database.pool.fetch("select id from accounts")}


async def _events(database: Database, organization_id: UUID) -> list[str]:
    sql = "select action from audit_events where organization_id = $1 order by id"
    return [row["action"] for row in await database.pool.fetch(sql, organization_id)]


async def test_every_table_that_names_an_organisation_is_purged(database: Database) -> None:
    """By the catalogue, so that a table that is added later cannot be forgotten."""
    rows = await database.pool.fetch(
        """
        select c.relname as name, has_table_privilege('af_app', c.oid, 'DELETE') as app,
            has_table_privilege('af_system', c.oid, 'DELETE, SELECT') as system
        from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attname = 'organization_id'
        where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p', 'm', 'f') and not c.relispartition
        """
    )
    assert {row["name"] for row in rows} == {*purge.tenant_tables(), *purge.KEPT}
    for row in rows:
        if row["name"] not in purge.KEPT:
            assert row["app"] or row["system"], f"nobody could remove rows from {row['name']}"


async def test_what_names_organisations_by_another_column_is_known(database: Database) -> None:
    """Columns that hold ids of organisations are called organization_id, or are these."""
    rows = await database.pool.fetch(
        "select attrelid::regclass || '.' || attname as name from pg_attribute"
        " join pg_class c on c.oid = attrelid where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p')"
        " and (attname ~ 'organi[sz]ation|tenant|(^|_)org(_|$)') and attname <> 'organization_id'"
    )
    assert [row["name"] for row in rows] == []


async def test_nothing_is_left_of_a_purged_organisation_and_its_neighbour_keeps_everything(
    ours: Database, two: tuple[Tenant, Tenant, UUID, UUID], tmp_path: Path
) -> None:
    doomed, neighbour, shared, own = two
    before = await doomed.rows()
    assert all(before.values()), before
    theirs = await neighbour.rows()
    store = Store(StorageSettings(), tmp_path / "objects")
    for each in (doomed, neighbour):
        await store.put(str(each.id), b'"a large value"')
        folder = tmp_path / "files" / str(each.id)
        folder.mkdir(parents=True)
        (folder / "note.txt").write_text("x")
    await doomed.delete()
    assert await purge_of(ours, tmp_path).sweep() == 1
    assert not any((await doomed.rows()).values())
    assert await ours.pool.fetchval("select count(*) from organizations where id = $1", doomed.id) == 0
    assert [item async for item in store.items(str(doomed.id))] == []
    assert not (tmp_path / "files" / str(doomed.id)).exists()
    assert await neighbour.rows() == theirs
    assert len([item async for item in store.items(str(neighbour.id))]) == 1
    assert (tmp_path / "files" / str(neighbour.id) / "note.txt").exists()
    accounts = await _accounts(ours)
    assert shared in accounts
    assert own not in accounts
    assert await _events(ours, doomed.id) == ["organizations.purge_began", "organizations.purged"]
    assert await purge_of(ours, tmp_path).sweep() == 0


async def test_before_its_time_nothing_is_purged(
    ours: Database, two: tuple[Tenant, Tenant, UUID, UUID], tmp_path: Path
) -> None:
    doomed, *_ = two
    before = await doomed.rows()
    assert await purge_of(ours, tmp_path).sweep() == 0
    await doomed.delete(days=29)
    assert await purge_of(ours, tmp_path).sweep() == 0
    assert await doomed.rows() == before
    assert await purge_of(ours, tmp_path, days=28).sweep() == 1


async def test_what_it_had_sealed_cannot_be_opened_from_a_copy_either(
    ours: Database, two: tuple[Tenant, Tenant, UUID, UUID], vault: Vault, tmp_path: Path
) -> None:
    """The data key is gone: crypto-erasure."""
    doomed, neighbour, *_ = two
    await ours.pool.execute("delete from data_keys")  # the filler's keys open nothing
    place = ("secrets", "value", uuid7())
    copies = {each: await vault.encrypt(each.id, place, b"secret") for each in (doomed, neighbour)}
    await doomed.delete()
    await purge_of(ours, tmp_path).sweep()
    fresh = open_vault(EncryptionSettings(), ours.pool, tmp_path)
    assert await fresh.decrypt(neighbour.id, place, copies[neighbour]) == b"secret"
    with pytest.raises(CannotDecrypt):
        await fresh.decrypt(doomed.id, place, copies[doomed])


async def _stepping(url: str, folder: Path) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.enterprise.purging", url, str(folder), cwd=ROOT,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip


@pytest.mark.timeout(120)
async def test_a_purge_that_is_killed_after_each_of_its_steps_is_ended_by_the_next(
    ours: Database, two: tuple[Tenant, Tenant, UUID, UUID], fresh_database_url: str, tmp_path: Path
) -> None:
    """One process is killed after its first batch, the next after its second more, and so on; none begins anew."""
    doomed, neighbour, _, own = two
    theirs = await neighbour.rows()
    await doomed.delete()
    killed: list[str] = []
    for steps in (1, 2, 3, 5, 8):
        process = await _stepping(fresh_database_url, tmp_path)
        assert process.stdout is not None
        assert process.stdin is not None
        for number in range(steps):
            if number:
                process.stdin.write(b"\n")
            killed.append((await process.stdout.readline()).decode().strip())
        process.kill()
        await process.wait()
        assert await ours.pool.fetchval("select purge_began_at is not null from organizations where id = $1", doomed.id)
    assert len(set(killed)) == len(killed), "no table was begun anew"
    assert await purge_of(ours, tmp_path).sweep() == 1
    assert not any((await doomed.rows()).values())
    assert own not in await _accounts(ours)
    assert await neighbour.rows() == theirs
    assert await _events(ours, doomed.id) == ["organizations.purge_began", "organizations.purged"]


async def test_a_purge_that_has_begun_goes_on_whatever_the_setting_says_later(
    ours: Database, two: tuple[Tenant, Tenant, UUID, UUID], tmp_path: Path
) -> None:
    doomed, *_ = two
    await doomed.delete()
    async with ours.system() as session:
        await session.execute(text("update organizations set purge_began_at = now() where id = :i"), {"i": doomed.id})
    assert await purge_of(ours, tmp_path, days=3000).sweep() == 1


async def test_two_processes_that_purge_at_once_leave_one_event(
    ours: Database, two: tuple[Tenant, Tenant, UUID, UUID], tmp_path: Path
) -> None:
    doomed, *_ = two
    await doomed.delete()
    outcomes = await asyncio.gather(*(purge_of(ours, tmp_path).sweep() for _ in range(4)), return_exceptions=True)
    assert all(isinstance(each, int | Problem) for each in outcomes), outcomes
    assert sum(each for each in outcomes if isinstance(each, int)) == 1
    assert await _events(ours, doomed.id) == ["organizations.purge_began", "organizations.purged"]


async def test_an_organisation_that_cannot_be_purged_now_keeps_no_other(
    ours: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = Tenant(ours), Tenant(ours)
    for each in (one, other):
        async with ours.system() as session:
            await session.execute(text("insert into organizations (id, name) values (:id, 'x')"), {"id": each.id})
        await each.delete()
    whole = Store.clear

    async def clear(store: Store, organization_id: str) -> int:
        if organization_id == str(one.id):
            raise StorageUnavailable("The object store failed.")
        return await whole(store, organization_id)

    with monkeypatch.context() as patch:
        patch.setattr(Store, "clear", clear)
        assert await purge_of(ours, tmp_path).sweep() == 1
    assert await _events(ours, one.id) == ["organizations.purge_began"]
    assert await purge_of(ours, tmp_path).sweep() == 1
    assert await _events(ours, one.id) == ["organizations.purge_began", "organizations.purged"]


async def test_the_trail_of_a_purged_organisation_stays_and_verifies(
    ours: Database, two: tuple[Tenant, Tenant, UUID, UUID], tmp_path: Path
) -> None:
    doomed, *_ = two
    await doomed.delete()
    trail = trail_of(ours, tmp_path)
    sealer = trail.sealer()
    await purge_of(ours, tmp_path).sweep()
    await sealer.finish()
    assert [f async for f in trail.verify()] == []
    assert [f async for f in trail.verify(doomed.id)] == []


async def test_whoever_came_second_does_not_inherit_what_is_open_to_the_first(ours: Database, tmp_path: Path) -> None:
    first, second = Tenant(ours), Tenant(ours)
    for each in (first, second):
        async with ours.system() as session:
            await session.execute(text("insert into organizations (id, name) values (:id, 'x')"), {"id": each.id})
    assert await FirstOrganization(ours.pool)() == first.id
    await first.delete()
    await purge_of(ours, tmp_path).sweep()
    assert await FirstOrganization(ours.pool)() is None


async def test_more_rows_than_one_batch_takes_are_purged(ours: Database, tmp_path: Path) -> None:
    tenant = Tenant(ours)
    async with ours.system() as session:
        await session.execute(text("insert into organizations (id, name) values (:id, 'x')"), {"id": tenant.id})
        sessions = (
            "insert into sessions (id, organization_id) select gen_random_uuid(), :id from generate_series(1, 1200)"
        )
        await session.execute(text(sessions), {"id": tenant.id})
        messages = """
            insert into messages (organization_id, session_id, seq, id, role, parts)
            select organization_id, id, n, gen_random_uuid(), 'user', '[]' from sessions, generate_series(1, 3) n
        """
        await session.execute(text(messages))
    await tenant.delete()
    await purge_of(ours, tmp_path).sweep()
    assert not any((await tenant.rows()).values())
    sql = "select details::text as details from audit_events where organization_id = $1 and action = $2"
    (row,) = await ours.pool.fetch(sql, tenant.id, purge.PURGED)
    assert '"rows": 4800' in cast("str", row["details"])
