"""Stores in a folder and in S3, whose server is moto's in a process of its own."""

import json
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from uuid import uuid4

import pytest
from pydantic import SecretStr

from agent_factory.security.egress import Egress
from agent_factory.storage.settings import StorageSettings
from agent_factory.storage.store import Store

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def s3_url() -> Generator[str, None, None]:
    """The URL of a server that speaks S3."""
    command = [sys.executable, "-m", "tests.doubles.s3_server"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())["url"]
        process.stdin.close()
        process.wait(10)


@pytest.fixture
async def s3(s3_url: str) -> StorageSettings:
    """Settings of a new bucket."""
    bucket = f"values-{uuid4().hex}"
    egress = Egress().trusting(s3_url.removeprefix("http://"))
    assert (await egress.request("PUT", f"{s3_url}/{bucket}")).status == 200
    await egress.close()
    options = {"endpoint": s3_url, "region": "us-east-1", "access_key_id": "key", "secret_access_key": "secret"}
    return StorageSettings(
        url=f"s3://{bucket}/agent-factory", options={name: SecretStr(value) for name, value in options.items()}
    )


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """A new store of each kind."""
    if request.param == "folder":
        return Store(StorageSettings(max_bytes=20_000_000), tmp_path / "objects")
    settings: StorageSettings = request.getfixturevalue("s3")
    return Store(settings.model_copy(update={"max_bytes": 20_000_000}), tmp_path / "unused")
