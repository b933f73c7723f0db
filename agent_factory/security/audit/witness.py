"""Copies of checkpoints outside of the database, so that cutting the chain's end is found (S198)."""

import re
from collections.abc import AsyncGenerator
from pathlib import Path

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError

from agent_factory.security.audit.checkpoints import Checkpoint
from agent_factory.storage.errors import StorageUnavailable
from agent_factory.storage.settings import StorageSettings
from agent_factory.storage.store import open_store

_FOLDER = "checkpoints"
_NAME = re.compile(rf"{_FOLDER}/([0-9]{{19}})\.json")


class Witness:
    """Keeps one object a checkpoint, and never writes over one. Raises `StorageUnavailable`."""

    def __init__(self, settings: StorageSettings, folder: Path) -> None:
        """Open the store that the settings name, else `folder`."""
        self._store = open_store(settings, folder)

    async def keep(self, checkpoint: Checkpoint) -> None:
        """Keep a copy; one that is there already stays as it is."""
        name = f"{_FOLDER}/{checkpoint.number:019}.json"
        try:
            await obstore.put_async(self._store, name, checkpoint.encoded(), mode="create", use_multipart=False)
        except (AlreadyExistsError, FileExistsError):
            return
        except (BaseError, OSError) as error:
            raise _away(error) from error

    async def numbers(self) -> list[int]:
        """List what is kept, in order."""
        found: list[int] = []
        try:
            pages = obstore.list(self._store, _FOLDER, chunk_size=1000)  # pyright: ignore[reportUnknownMemberType] - one of its forms gives tables of a library that is not here
            async for page in pages:
                found += [int(name[1]) for item in page if (name := _NAME.fullmatch(item["path"]))]
        except (BaseError, OSError) as error:
            raise _away(error) from error
        return sorted(found)

    async def read(self, number: int) -> Checkpoint | None:
        """Read a copy; None where there is none, or what is there is no checkpoint."""
        try:
            answer = await obstore.get_async(self._store, f"{_FOLDER}/{number:019}.json")
            return Checkpoint.decoded(bytes(await answer.bytes_async()))
        except (FileNotFoundError, ValueError):
            return None
        except (BaseError, OSError) as error:
            raise _away(error) from error

    async def all(self) -> AsyncGenerator[Checkpoint, None]:
        """Read every copy in order; what is no checkpoint is passed over."""
        for number in await self.numbers():
            kept = await self.read(number)
            if kept is not None:
                yield kept


def _away(error: Exception) -> StorageUnavailable:
    return StorageUnavailable(
        f"The witness of the audit trail failed ({type(error).__name__}); look at audit.witness and its state."
    )
