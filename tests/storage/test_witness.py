"""Copies of checkpoints outside of the database are written once, in a folder and in S3 alike (S198)."""

from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent_factory.kit.clock import now
from agent_factory.kit.ids import uuid7
from agent_factory.security.audit import chain
from agent_factory.security.audit.checkpoints import Checkpoint, sign
from agent_factory.security.audit.witness import Witness
from agent_factory.storage.errors import StorageUnavailable
from agent_factory.storage.settings import StorageSettings


@pytest.fixture(params=["folder", "s3"])
def settings(request: pytest.FixtureRequest) -> StorageSettings:
    return request.getfixturevalue("s3") if request.param == "s3" else StorageSettings()


def checkpoint(before: Checkpoint | None = None) -> Checkpoint:
    leaf = chain.Leaf(uuid7(), None, b"\1" * 32)
    return sign(
        uuid7(),
        Ed25519PrivateKey.generate(),
        before=before,
        last=before.last + 1 if before else 1,
        head=b"\2" * 32,
        leaves=leaf.encoded(),
        signed_at=now(),
    )


async def test_a_copy_is_given_back_as_it_was_and_never_written_over(settings: StorageSettings, tmp_path: Path) -> None:
    witness = Witness(settings, tmp_path)
    first = checkpoint()
    second = checkpoint(first)
    await witness.keep(second)
    await witness.keep(first)
    await witness.keep(msgspec.structs.replace(first, head=b"\3" * 32))
    assert [copy async for copy in Witness(settings, tmp_path).all()] == [first, second]
    assert await witness.numbers() == [1, 2]


async def test_what_is_no_checkpoint_is_passed_over(tmp_path: Path) -> None:
    witness = Witness(StorageSettings(), tmp_path)
    await witness.keep(checkpoint())
    folder = tmp_path / "checkpoints"
    (folder / "notes.txt").write_text("hello")
    (folder / f"{2:019}.json").write_text("{}")
    assert len([copy async for copy in witness.all()]) == 1


async def test_a_store_that_is_away_is_told_as_such(s3: StorageSettings, tmp_path: Path) -> None:
    assert s3.url is not None
    gone = s3.model_copy(update={"url": s3.url.replace("values-", "nowhere-")})
    with pytest.raises(StorageUnavailable):
        await Witness(gone, tmp_path).keep(checkpoint())
