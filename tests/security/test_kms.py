"""The key-encryption key in AWS KMS, as moto's server plays it in a process of its own (S200)."""

import asyncio
import socket
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import boto3
import pytest

from agent_factory.database import data_keys
from agent_factory.database.session import Database
from agent_factory.kit.ids import uuid7
from agent_factory.security.encryption import (
    CannotDecrypt,
    EncryptionSettings,
    KeyMissing,
    KeyServiceAway,
    Place,
    Vault,
    open_vault,
)
from agent_factory.security.encryption.rotation import catch_up

SECRET = b"the value of a secret"
REGION = "eu-central-1"
WHERE = Place("secrets", "value", "one")

pytestmark = pytest.mark.usefixtures("_credentials")


@pytest.fixture(scope="module")
async def kms_url() -> AsyncGenerator[str, None]:
    """The address of a KMS that forgets everything at its end."""
    async with _serving(_free_port()) as url:
        yield url


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@asynccontextmanager
async def _serving(port: int) -> AsyncGenerator[str, None]:
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        await _answers(port)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        await process.wait()


async def _answers(port: int) -> None:
    async with asyncio.timeout(30):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.05)  # nothing tells when a port begins to answer
            else:
                writer.close()
                return


@pytest.fixture
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture
def kms(kms_url: str, _credentials: None) -> Any:
    """KMS as its operator sees it."""
    return boto3.client("kms", endpoint_url=kms_url, region_name=REGION)


@pytest.fixture
def key(kms: Any) -> str:
    """The ARN of a new key."""
    return kms.create_key()["KeyMetadata"]["Arn"]


@pytest.fixture
async def fresh(fresh_database_url: str) -> AsyncGenerator[Database, None]:
    opened = Database(fresh_database_url)
    yield opened
    await opened.close()


def vault_with(database: Database, folder: Path, url: str, key: str) -> Vault:
    settings = EncryptionSettings(kms_key_id=key, kms_endpoint=url, kms_region=REGION)
    return open_vault(settings, database.pool, folder)


async def test_data_keys_are_wrapped_by_kms_and_no_key_file_is_made(
    fresh: Database, tmp_path: Path, kms_url: str, key: str
) -> None:
    organization = uuid7()
    sealed = await vault_with(fresh, tmp_path, kms_url, key).encrypt(organization, WHERE, SECRET)
    assert await data_keys.wrapping(fresh.pool) == [f"kms:{key}"]
    assert await vault_with(fresh, tmp_path, kms_url, key).decrypt(organization, WHERE, sealed) == SECRET
    assert not (tmp_path / "encryption.key").exists()


async def test_an_alias_stands_for_its_key(fresh: Database, tmp_path: Path, kms_url: str, kms: Any, key: str) -> None:
    alias = f"alias/{uuid7().hex}"
    kms.create_alias(AliasName=alias, TargetKeyId=key)
    vault = vault_with(fresh, tmp_path, kms_url, alias)
    await vault.encrypt(None, WHERE, SECRET)
    assert await vault.wrappers[0].current() == f"kms:{key}"
    assert (await catch_up(fresh.pool, vault)).wrapped == 0, "the alias leads to the key that wraps already"


async def test_kms_itself_refuses_a_data_key_that_was_moved_to_another_organisation(
    fresh: Database, tmp_path: Path, kms_url: str, key: str
) -> None:
    one, other = uuid7(), uuid7()
    sealed = await vault_with(fresh, tmp_path, kms_url, key).encrypt(one, WHERE, SECRET)
    await fresh.pool.execute("update data_keys set organization_id = $1", other)
    with pytest.raises(CannotDecrypt):
        await vault_with(fresh, tmp_path, kms_url, key).decrypt(other, WHERE, sealed)


async def test_without_its_key_nothing_opens(fresh: Database, tmp_path: Path, kms_url: str, key: str) -> None:
    sealed = await vault_with(fresh, tmp_path, kms_url, key).encrypt(None, WHERE, SECRET)
    unknown = key.replace(key.rpartition("/")[2], str(uuid7()))
    await fresh.pool.execute("update data_keys set kek = $1", f"kms:{unknown}")
    with pytest.raises((KeyMissing, CannotDecrypt)):
        await vault_with(fresh, tmp_path, kms_url, key).decrypt(None, WHERE, sealed)


async def test_while_kms_is_away_known_keys_work_and_others_are_told_to_wait(
    fresh: Database, tmp_path: Path, kms_url: str, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    vault = vault_with(fresh, tmp_path, kms_url, key)
    organization = uuid7()
    sealed = await vault.encrypt(organization, WHERE, SECRET)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        nowhere = f"http://127.0.0.1:{closed.getsockname()[1]}"
        away = vault_with(fresh, tmp_path, nowhere, key)
        with pytest.raises(KeyServiceAway) as caught:
            await away.decrypt(organization, WHERE, sealed)
    assert caught.value.retryable
    assert await vault.decrypt(organization, WHERE, sealed) == SECRET


async def test_a_process_goes_on_by_itself_once_kms_is_back(fresh: Database, tmp_path: Path) -> None:
    """What it was refused it may ask for again: nothing of the failure is remembered."""
    port = _free_port()
    vault = vault_with(fresh, tmp_path, f"http://127.0.0.1:{port}", "alias/af")
    with pytest.raises(KeyServiceAway) as caught:
        await vault.encrypt(None, WHERE, SECRET)
    assert "127.0.0.1" not in str(caught.value)
    async with _serving(port) as url:
        served = boto3.client("kms", endpoint_url=url, region_name=REGION)
        served.create_alias(AliasName="alias/af", TargetKeyId=served.create_key()["KeyMetadata"]["KeyId"])
        sealed = await vault.encrypt(None, WHERE, SECRET)
    assert await vault.decrypt(None, WHERE, sealed) == SECRET, "from memory"
    assert len(await data_keys.wrapping(fresh.pool)) == 1


async def test_an_installation_moves_from_a_key_file_to_kms(
    fresh: Database, tmp_path: Path, kms_url: str, key: str
) -> None:
    """What the file has wrapped is read meanwhile, and wrapped by KMS in the end."""
    organization = uuid7()
    sealed = await open_vault(EncryptionSettings(), fresh.pool, tmp_path).encrypt(organization, WHERE, SECRET)
    moved = vault_with(fresh, tmp_path, kms_url, key)
    assert await moved.decrypt(organization, WHERE, sealed) == SECRET
    assert (await catch_up(fresh.pool, moved)).wrapped == 1
    (tmp_path / "encryption.key").unlink()
    assert await vault_with(fresh, tmp_path, kms_url, key).decrypt(organization, WHERE, sealed) == SECRET


async def test_another_key_of_kms_takes_over(fresh: Database, tmp_path: Path, kms_url: str, kms: Any, key: str) -> None:
    sealed = await vault_with(fresh, tmp_path, kms_url, key).encrypt(None, WHERE, SECRET)
    other = kms.create_key()["KeyMetadata"]["Arn"]
    vault = vault_with(fresh, tmp_path, kms_url, other)
    assert (await catch_up(fresh.pool, vault)).wrapped == 1
    assert await data_keys.wrapping(fresh.pool) == [f"kms:{other}"]
    assert await vault_with(fresh, tmp_path, kms_url, other).decrypt(None, WHERE, sealed) == SECRET
