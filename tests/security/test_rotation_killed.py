"""Rotations that are killed at every stage, beside processes that go on reading and writing (S200, S202)."""

import asyncio
import signal
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from uuid import UUID

import pytest

from agent_factory.database import data_keys
from agent_factory.database.models import OrganizationRow, SecretRow
from agent_factory.database.session import Database
from agent_factory.kit.ids import uuid7
from agent_factory.security.encryption import EncryptionSettings, Place, Vault, open_vault

SCRIPT = Path(sys.executable).parent / "agent-factory"
ROOT = Path(__file__).parents[2]
ORGANIZATIONS, EACH = 5, 40

Reached = Callable[[], Awaitable[bool]]


@pytest.fixture
async def fresh(fresh_database_url: str) -> AsyncGenerator[Database, None]:
    opened = Database(fresh_database_url)
    yield opened
    await opened.close()


class Shop:
    """Organisations whose secrets are read and written all the while, each process with a vault of its own."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.database = database
        self.file = folder / "encryption.key"
        self.values: dict[tuple[UUID, UUID], bytes] = {}
        self.read = 0

    def vault(self) -> Vault:
        return open_vault(EncryptionSettings(key_file=self.file), self.database.pool, self.file.parent)

    async def add(self, vault: Vault, organization: UUID) -> None:
        row, value = uuid7(), uuid7().bytes
        sealed = await vault.encrypt(organization, Place("secrets", "value", row), value)
        kept = SecretRow(
            id=row, organization_id=organization, name=f"N{row.hex}", description="", hosts=["a.example"], value=sealed,
            fingerprint="0",
        )  # fmt: skip
        async with self.database.write(organization) as session:
            session.add(kept)
        self.values[organization, row] = value

    async def check(self, vault: Vault, organization: UUID, row: UUID) -> None:
        async with self.database.read(organization) as session:
            sealed = (await session.get_one(SecretRow, row)).value
        assert (
            await vault.decrypt(organization, Place("secrets", "value", row), sealed) == self.values[organization, row]
        )
        self.read += 1

    async def trade(self) -> None:
        """Read and write for ever, as requests do: with keys in memory, and with none."""
        running = self.vault()
        while True:
            for organization, row in list(self.values)[:: max(1, len(self.values) // 20)]:
                await self.check(running, organization, row)
                await self.check(self.vault(), organization, row)
                await self.add(running, organization)

    async def fill(self) -> None:
        vault = self.vault()
        for _ in range(ORGANIZATIONS):
            organization = uuid7()
            async with self.database.system() as session:
                session.add(OrganizationRow(id=organization, name=f"Organisation {organization}"))
            for _ in range(EACH):
                await self.add(vault, organization)

    async def rotate(self, until: Reached | None = None) -> int:
        """Run the command; kill it with no warning as soon as a stage is reached."""
        self.before = self.keys()
        process = await asyncio.create_subprocess_exec(
            SCRIPT, "secrets", "rotate", "--kek",
            env={
                "PATH": f"{SCRIPT.parent}:/usr/bin:/bin", "PYTHONPATH": str(ROOT), "HOME": str(self.file.parent),
                "AF_HOME": str(self.file.parent), "AF_DATABASE__URL": self.database.url,
                "AF_ENCRYPTION__KEY_FILE": str(self.file), "LC_ALL": "C.UTF-8",
            },
            stdout=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        if until is not None:
            async with asyncio.timeout(60):
                while not await until() and process.returncode is None:
                    pass
            with suppress(ProcessLookupError):
                process.kill()
        return await process.wait()

    def keys(self) -> int:
        return self.file.read_text().count("af-kek-1:")

    async def in_the_file(self, begun: UUID) -> bool:
        return (
            await self._since(begun, "select count(*) from data_keys where id > $1") == 0 and self.keys() > self.before
        )

    async def among_data_keys(self, begun: UUID) -> bool:
        return 0 < await self._since(begun, "select count(*) from data_keys where id > $1") < ORGANIZATIONS

    async def among_values(self, begun: UUID) -> bool:
        sealed = "select count(*) from secrets where encode(substring(value from 2 for 16), 'hex')::uuid > $1"
        return 5 < await self._since(begun, sealed) < ORGANIZATIONS * EACH // 2

    async def _since(self, begun: UUID, sql: str) -> int:
        """Count by the ids of data keys, which tell when those were made."""
        return await self.database.pool.fetchval(sql, begun)


async def test_a_rotation_that_is_killed_at_any_stage_loses_nothing(fresh: Database, tmp_path: Path) -> None:
    """Once the new key is in the file, in the midst of data keys, in the midst of values; then one runs through."""
    shop = Shop(fresh, tmp_path)
    await shop.fill()
    trading = asyncio.create_task(shop.trade())

    runs = 0
    for stage in (shop.in_the_file, shop.among_data_keys, shop.among_values):
        code = 0
        while code == 0:  # it was through before anybody saw it at that stage
            begun = uuid7()
            code = await shop.rotate(lambda: stage(begun))  # noqa: B023 - asked at once
            runs += 1
            assert shop.keys() == 1 + runs
            assert not trading.done(), trading
        assert code == -signal.SIGKILL
    assert await shop.rotate() == 0
    trading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await trading
    assert shop.read > ORGANIZATIONS
    assert shop.keys() == runs + 2, "one from the start, and one of each run"
    newest = shop.vault()
    assert await data_keys.wrapping(fresh.pool) == [await newest.wrappers[0].current()]
    for organization, row in shop.values:
        await shop.check(newest, organization, row)
