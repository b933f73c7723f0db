"""What the vault seals, who can open it, and how its keys are replaced (S200, S202)."""

import asyncio
import os
import stat
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest
from sqlalchemy import text

from agent_factory.database import data_keys
from agent_factory.database.models import OrganizationRow, SecretRow, TriggerRow, WorkflowRow
from agent_factory.database.sealed import sealed_columns
from agent_factory.database.session import Database
from agent_factory.kit.ids import uuid7
from agent_factory.security.encryption import (
    CannotDecrypt,
    EncryptionSettings,
    KeyFileExposed,
    KeyMissing,
    Place,
    Vault,
    open_vault,
)
from agent_factory.security.encryption.errors import KeyFileBroken
from agent_factory.security.encryption.key_file import KeyFile
from agent_factory.security.encryption.rotation import catch_up, renew

SECRET = b"the value of a secret"


def place(row: UUID | None = None) -> Place:
    return Place("secrets", "value", row or uuid7())


@pytest.fixture
async def fresh(fresh_database_url: str) -> AsyncGenerator[Database, None]:
    """A migrated database that no other test writes to."""
    opened = Database(fresh_database_url)
    yield opened
    await opened.close()


Open = Callable[..., Vault]


@pytest.fixture
def open_fresh(fresh: Database, tmp_path: Path) -> Open:
    """Open the vault of `fresh`, as each process does for itself."""

    def make(folder: Path = tmp_path, **settings: object) -> Vault:
        return open_vault(EncryptionSettings.model_validate(settings), fresh.pool, folder)

    return make


async def keep_secret(database: Database, vault: Vault, value: bytes = SECRET) -> tuple[UUID, UUID]:
    """Keep a secret of a new organisation; give the ids of both."""
    organization, secret = uuid7(), uuid7()
    async with database.system() as session:
        session.add(OrganizationRow(id=organization, name=f"Organisation {organization}"))
    async with database.write(organization) as session:
        session.add(
            SecretRow(
                id=secret,
                organization_id=organization,
                name="KEY",
                description="",
                hosts=["example.com"],
                value=await vault.encrypt(organization, place(secret), value),
                fingerprint="0",
            )
        )
    return organization, secret


async def kept(database: Database, organization: UUID, secret: UUID) -> bytes:
    async with database.read(organization) as session:
        return (await session.get_one(SecretRow, secret)).value


async def test_a_sealed_value_opens_where_it_was_sealed_and_shows_nothing(vault: Vault) -> None:
    organization, where = uuid7(), place()
    sealed = await vault.encrypt(organization, where, SECRET)
    assert SECRET not in sealed
    assert await vault.decrypt(organization, where, sealed) == SECRET


async def test_the_same_value_is_never_sealed_the_same_way_twice(vault: Vault) -> None:
    organization, where = uuid7(), place()
    assert len({await vault.encrypt(organization, where, SECRET) for _ in range(50)}) == 50


@pytest.mark.parametrize("moved", ["table", "column", "row", "organization", "system"])
async def test_a_value_that_was_moved_does_not_open(vault: Vault, moved: str) -> None:
    """Abuse 44: not in another row, column or table, and not for another organisation."""
    organization, where = uuid7(), place()
    sealed = await vault.encrypt(organization, where, SECRET)
    await vault.encrypt(None, where, SECRET)
    other = {"organization": uuid7(), "system": None}.get(moved, organization)
    there = where._replace(**{moved: "other"}) if moved in Place._fields else where
    with pytest.raises(CannotDecrypt):
        await vault.decrypt(other, there, sealed)


async def test_a_value_of_one_organisation_does_not_open_with_the_key_of_another(vault: Vault) -> None:
    """Not even where the id of the key before it is exchanged."""
    one, other, where = uuid7(), uuid7(), place()
    sealed = await vault.encrypt(one, where, SECRET)
    theirs = await vault.encrypt(other, where, SECRET)
    with pytest.raises(CannotDecrypt):
        await vault.decrypt(other, where, theirs[:17] + sealed[17:])


async def test_no_bit_of_a_sealed_value_can_be_changed(vault: Vault) -> None:
    organization, where = uuid7(), place()
    sealed = await vault.encrypt(organization, where, b"x")
    for index in range(len(sealed)):
        changed = sealed[:index] + bytes([sealed[index] ^ 1]) + sealed[index + 1 :]
        with pytest.raises(CannotDecrypt):
            await vault.decrypt(organization, where, changed)
    for cut in (b"", sealed[:1], sealed[:28], sealed[:-1], sealed + b"\0"):
        with pytest.raises(CannotDecrypt):
            await vault.decrypt(organization, where, cut)


async def test_places_whose_parts_read_alike_together_are_not_the_same(vault: Vault) -> None:
    sealed = await vault.encrypt(None, ("ab", "c", "d"), SECRET)
    for where in (("a", "bc", "d"), ("ab", "cd", ""), ("abc", "", "d")):
        with pytest.raises(CannotDecrypt):
            await vault.decrypt(None, where, sealed)


async def test_an_organisation_has_one_key_however_many_ask_for_the_first(fresh: Database, open_fresh: Open) -> None:
    organization, where = uuid7(), place()
    vaults = [open_fresh() for _ in range(10)]
    sealed = await asyncio.gather(*(v.encrypt(organization, where, SECRET) for v in vaults))
    assert len({value[1:17] for value in sealed}) == 1
    opened = await asyncio.gather(*(open_fresh().decrypt(organization, where, value) for value in sealed))
    assert set(opened) == {SECRET}
    assert await data_keys.organizations(fresh.pool) == [organization]


async def test_requests_see_no_data_key_at_all(database: Database, vault: Vault, organization: UUID) -> None:
    await vault.encrypt(organization, place(), SECRET)
    async with database.read(organization) as session:
        with pytest.raises(Exception, match="permission denied"):
            await session.execute(text("select * from data_keys"))


async def test_the_system_may_seal_every_sealed_column_anew(database: Database) -> None:
    """A rotation that may not write a column would leave it under the old key for ever."""
    columns = list(sealed_columns())
    assert {"secrets", "triggers"} <= {c.table for c in columns}
    for column in columns:
        for right in ("SELECT", "UPDATE"):
            query = "select has_column_privilege('af_system', $1, $2, $3)"
            assert await database.pool.fetchval(query, column.table, column.column, right), f"{right} on {column.table}"


async def test_an_organisations_keys_go_with_it(fresh: Database, open_fresh: Open) -> None:
    """What it had sealed opens nowhere any more, not in a copy either."""
    mine, theirs = await keep_secret(fresh, open_fresh()), await keep_secret(fresh, open_fresh())
    copy = await kept(fresh, *mine)
    owner = await asyncpg.connect(fresh.url)
    try:
        for table in ("organizations", "secrets", "data_keys"):
            await owner.execute(f"alter table {table} no force row level security")
        await owner.execute("delete from organizations where id = $1", mine[0])
    finally:
        await owner.close()
    assert await data_keys.organizations(fresh.pool) == [theirs[0]]
    with pytest.raises(CannotDecrypt):
        await open_fresh().decrypt(mine[0], place(mine[1]), copy)


class TestKeyFile:
    async def test_it_is_made_at_the_first_start_for_its_owner_alone(self, open_fresh: Open, tmp_path: Path) -> None:
        await open_fresh(tmp_path / "state").encrypt(None, place(), SECRET)
        made = tmp_path / "state" / "encryption.key"
        assert stat.S_IMODE(made.stat().st_mode) == 0o600
        assert [p.name for p in made.parent.iterdir()] == ["encryption.key"]

    async def test_the_settings_say_where_it_is(self, open_fresh: Open, tmp_path: Path) -> None:
        chosen = tmp_path / "elsewhere" / "kek"
        await open_fresh(key_file=chosen).encrypt(None, place(), SECRET)
        assert chosen.exists()

    @pytest.mark.parametrize("mode", [0o604, 0o640, 0o620, 0o666, 0o644])
    async def test_one_that_others_can_read_is_refused(self, open_fresh: Open, tmp_path: Path, mode: int) -> None:
        where = place()
        sealed = await open_fresh().encrypt(None, where, SECRET)
        (tmp_path / "encryption.key").chmod(mode)
        with pytest.raises(KeyFileExposed, match="chmod 600"):
            await open_fresh().decrypt(None, where, sealed)

    @pytest.mark.parametrize("content", ["", "# nothing\n", "af-kek-1:short\n", "af-kek-1:!!!\n", "secret\n"])
    async def test_one_that_is_no_key_file_is_refused(self, open_fresh: Open, tmp_path: Path, content: str) -> None:
        await open_fresh().encrypt(None, place(), SECRET)
        (tmp_path / "encryption.key").write_text(content)
        with pytest.raises(KeyFileBroken):
            await open_fresh().encrypt(None, place(), SECRET)

    async def test_without_it_nothing_opens_and_no_new_one_is_made(self, open_fresh: Open, tmp_path: Path) -> None:
        """S202: what is on the disk of the database says nothing to whoever lacks the key."""
        organization, where = uuid7(), place()
        sealed = await open_fresh().encrypt(organization, where, SECRET)
        other = tmp_path / "other"
        with pytest.raises(KeyMissing):
            await open_fresh(other).decrypt(organization, where, sealed)
        with pytest.raises(KeyMissing):
            await open_fresh(other).encrypt(uuid7(), where, SECRET)
        assert not other.exists()

    async def test_another_installations_key_opens_nothing(self, open_fresh: Open, tmp_path: Path) -> None:
        organization, where = uuid7(), place()
        sealed = await open_fresh().encrypt(organization, where, SECRET)
        other = KeyFile(tmp_path / "other" / "encryption.key")
        await other.prepare()
        with pytest.raises(KeyMissing):
            await open_fresh(tmp_path / "other").decrypt(organization, where, sealed)

    async def test_a_data_key_that_was_given_to_another_organisation_does_not_open(
        self, fresh: Database, open_fresh: Open
    ) -> None:
        """Whoever can write to the database cannot make one organisation read what belongs to another."""
        one, other, where = uuid7(), uuid7(), place()
        sealed = await open_fresh().encrypt(one, where, SECRET)
        await fresh.pool.execute("update data_keys set organization_id = $1", other)
        with pytest.raises(CannotDecrypt):
            await open_fresh().decrypt(other, where, sealed)

    async def test_a_new_key_is_used_by_who_runs_already(
        self, open_fresh: Open, fresh: Database, tmp_path: Path
    ) -> None:
        """Else a new organisation's data key would need the old one, whose line the operator may delete."""
        running = open_fresh()
        await running.encrypt(uuid7(), place(), SECRET)
        path = tmp_path / "encryption.key"
        name = KeyFile(path).add()
        await catch_up(fresh.pool, open_fresh())
        path.write_text("\n".join(path.read_text().splitlines()[:-1]) + "\n")
        organization, where = uuid7(), place()
        sealed = await running.encrypt(organization, where, SECRET)
        assert await data_keys.wrapping(fresh.pool) == [name]
        assert await open_fresh().decrypt(organization, where, sealed) == SECRET

    async def test_while_it_is_away_nothing_new_is_wrapped_and_what_is_known_opens(
        self, open_fresh: Open, tmp_path: Path
    ) -> None:
        running = open_fresh()
        organization, where = uuid7(), place()
        sealed = await running.encrypt(organization, where, SECRET)
        running._opened.drop(UUID(bytes=sealed[1:17]))
        (tmp_path / "encryption.key").rename(tmp_path / "away")
        with pytest.raises(KeyMissing, match="put it back"):
            await running.encrypt(uuid7(), place(), SECRET)
        assert await running.decrypt(organization, where, sealed) == SECRET
        (tmp_path / "away").rename(tmp_path / "encryption.key")
        assert await running.encrypt(uuid7(), place(), SECRET)

    async def test_a_new_key_is_not_put_where_the_file_is_lost(self, open_fresh: Open, tmp_path: Path) -> None:
        """Data keys would be wrapped by it, and the mistake be noticed when the old ones are needed."""
        await open_fresh().encrypt(uuid7(), place(), SECRET)
        for path in (tmp_path / "other.key", tmp_path / "nowhere" / "other.key"):
            with pytest.raises(KeyMissing):
                KeyFile(path).add()
            assert not path.exists()

    async def test_no_key_is_lost_when_several_are_added_at_once(self, tmp_path: Path) -> None:
        """Data keys may be wrapped by each of them already."""
        path = tmp_path / "encryption.key"
        await KeyFile(path).prepare()
        names = await asyncio.gather(*(asyncio.to_thread(KeyFile(path).add) for _ in range(20)))
        held = [line for line in path.read_text().splitlines() if line.startswith("af-kek-1:")]
        assert len(held) == 21
        assert len(set(names)) > 1
        assert not list(path.parent.glob(".*")), "nothing half-written is left"

    async def test_its_rights_its_owner_and_a_link_to_it_stay_when_a_key_is_added(self, tmp_path: Path) -> None:
        """A server that runs as another user than who rotates must still be able to read it."""
        kept, link = tmp_path / "kept" / "key", tmp_path / "link"
        await KeyFile(kept).prepare()
        os.chown(kept, os.getuid(), os.getgid())
        kept.chmod(0o400)
        link.symlink_to(kept)
        before = kept.stat()
        KeyFile(link).add()
        after = kept.stat()
        assert link.is_symlink()
        assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
        assert after.st_size > before.st_size

    async def test_what_the_system_refuses_is_told_without_the_place_of_the_file(
        self, open_fresh: Open, tmp_path: Path
    ) -> None:
        folder = tmp_path / "encryption.key"
        folder.mkdir(mode=0o700)
        with pytest.raises(KeyFileBroken, match="Is a directory") as caught:
            await open_fresh().encrypt(uuid7(), place(), SECRET)
        assert str(tmp_path) not in str(caught.value)


class TestCache:
    async def test_a_data_key_is_unwrapped_once_and_forgotten_in_time(self, open_fresh: Open) -> None:
        vault = open_fresh(cache_seconds=0.05)
        await vault.encrypt(uuid7(), place(), SECRET)
        assert len(vault._opened) == 1
        await asyncio.sleep(0.06)
        assert len(vault._opened) == 0, "it left the memory, too"

    async def test_no_more_keys_are_held_than_the_settings_allow(self, open_fresh: Open) -> None:
        vault = open_fresh(cache_keys=3)
        for _ in range(10):
            await vault.encrypt(uuid7(), place(), SECRET)
        assert len(vault._opened) == 3


class TestRotation:
    async def test_values_are_sealed_with_the_new_data_key_and_open_all_the_while(
        self, fresh: Database, open_fresh: Open
    ) -> None:
        vault = open_fresh()
        rows = [await keep_secret(fresh, vault) for _ in range(3)]
        before = [await kept(fresh, *row) for row in rows]
        assert await renew(fresh.pool, vault) == 3
        for (organization, secret), value in zip(rows, before, strict=True):
            assert await open_fresh().decrypt(organization, place(secret), value) == SECRET, "not sealed anew yet"
        done = await catch_up(fresh.pool, vault)
        assert (done.sealed, done.failed) == (3, 0)
        for (organization, secret), value in zip(rows, before, strict=True):
            now = await kept(fresh, organization, secret)
            assert now[1:17] != value[1:17], "under the same key"
            assert await open_fresh().decrypt(organization, place(secret), now) == SECRET

    async def test_one_that_was_interrupted_goes_on_in_another_process(self, fresh: Database, open_fresh: Open) -> None:
        first = open_fresh()
        organization, secret = await keep_secret(fresh, first)
        await renew(fresh.pool, first)
        assert (await catch_up(fresh.pool, open_fresh())).sealed == 1
        assert (await catch_up(fresh.pool, open_fresh())).sealed == 0
        assert (
            await open_fresh().decrypt(organization, place(secret), await kept(fresh, organization, secret)) == SECRET
        )

    async def test_only_one_organisation_can_be_chosen(self, fresh: Database, open_fresh: Open) -> None:
        vault = open_fresh()
        mine, theirs = await keep_secret(fresh, vault), await keep_secret(fresh, vault)
        unmoved = await kept(fresh, *theirs)
        await renew(fresh.pool, vault, [mine[0]])
        assert (await catch_up(fresh.pool, vault)).sealed == 1
        assert await kept(fresh, *theirs) == unmoved

    async def test_an_old_data_key_is_dropped_once_nothing_needs_it(self, fresh: Database, open_fresh: Open) -> None:
        vault = open_fresh()
        await keep_secret(fresh, vault)
        await renew(fresh.pool, vault)
        assert (await catch_up(fresh.pool, vault)).dropped == 0, "another process may be sealing with it at the moment"
        await fresh.pool.execute("update data_keys set retired_at = retired_at - interval '2 hours'")
        assert (await catch_up(fresh.pool, vault)).dropped == 1

    async def test_a_data_key_that_is_still_needed_is_never_dropped(self, fresh: Database, open_fresh: Open) -> None:
        vault = open_fresh()
        organization, secret = await keep_secret(fresh, vault)
        await fresh.pool.execute("update secrets set value = set_byte(value, 30, (get_byte(value, 30) + 1) % 256)")
        await renew(fresh.pool, vault)
        await fresh.pool.execute("update data_keys set retired_at = retired_at - interval '2 hours'")
        done = await catch_up(fresh.pool, vault)
        assert (done.failed, done.dropped) == (1, 0)
        assert (await kept(fresh, organization, secret))[1:17]

    async def test_a_new_key_in_the_file_wraps_every_data_key_and_no_value_changes(
        self, fresh: Database, open_fresh: Open, tmp_path: Path
    ) -> None:
        running, organization, secret = open_fresh(), *await keep_secret(fresh, open_fresh())
        value = await kept(fresh, organization, secret)
        assert await running.decrypt(organization, place(secret), value) == SECRET
        before = await data_keys.wrapping(fresh.pool)
        name = KeyFile(tmp_path / "encryption.key").add()
        assert (await catch_up(fresh.pool, open_fresh())).wrapped == 1
        assert await data_keys.wrapping(fresh.pool) == [name] != before
        assert await kept(fresh, organization, secret) == value
        running._opened.drop(UUID(bytes=value[1:17]))
        assert await running.decrypt(organization, place(secret), value) == SECRET, "it reads the file again"

    async def test_a_data_key_that_was_tampered_with_keeps_no_other_from_being_wrapped_anew(
        self, fresh: Database, open_fresh: Open, tmp_path: Path
    ) -> None:
        broken, whole = await keep_secret(fresh, open_fresh()), await keep_secret(fresh, open_fresh())
        await fresh.pool.execute(
            "update data_keys set wrapped = set_byte(wrapped, 20, (get_byte(wrapped, 20) + 1) % 256)"
            " where organization_id = $1",
            broken[0],
        )
        KeyFile(tmp_path / "encryption.key").add()
        done = await catch_up(fresh.pool, open_fresh())
        assert (done.wrapped, done.failed) == (1, 1)
        assert await open_fresh().decrypt(whole[0], place(whole[1]), await kept(fresh, *whole)) == SECRET

    async def test_once_wrapped_anew_the_old_key_may_leave_the_file(
        self, fresh: Database, open_fresh: Open, tmp_path: Path
    ) -> None:
        organization, secret = await keep_secret(fresh, open_fresh())
        path = tmp_path / "encryption.key"
        KeyFile(path).add()
        await catch_up(fresh.pool, open_fresh())
        lines = path.read_text().splitlines()
        path.write_text("\n".join(lines[:-1]) + "\n")
        assert (
            await open_fresh().decrypt(organization, place(secret), await kept(fresh, organization, secret)) == SECRET
        )

    async def test_what_an_earlier_version_kept_in_the_clear_is_sealed(self, fresh: Database, open_fresh: Open) -> None:
        """A webhook's key, as it was before there were sealed ones."""
        vault = open_fresh()
        organization, _ = await keep_secret(fresh, vault)
        trigger = await _old_trigger(fresh, organization)
        assert (await catch_up(fresh.pool, vault)).sealed == 1
        async with fresh.read(organization) as session:
            row = await session.get_one(TriggerRow, trigger)
        assert row.secret is None
        assert row.sealed_secret is not None
        assert await vault.decrypt(organization, ("triggers", "sealed_secret", trigger), row.sealed_secret) == SECRET


async def _old_trigger(database: Database, organization: UUID) -> UUID:
    workflow, trigger = uuid7(), uuid7()
    async with database.write(organization) as session:
        session.add(WorkflowRow(id=workflow, organization_id=organization, name="w"))
        await session.flush()
        session.add(
            TriggerRow(id=trigger, organization_id=organization, workflow_id=workflow, type="webhook", secret=SECRET)
        )
    return trigger
