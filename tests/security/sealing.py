"""A process that seals until it is killed: `python sealing.py URL FOLDER`."""

import asyncio
import sys
from pathlib import Path

from agent_factory.database.session import Database
from agent_factory.security.audit import AuditSettings, Trail
from agent_factory.security.encryption import EncryptionSettings, open_vault

ROOT = Path(__file__).resolve().parents[2]


def trail_of(database: Database, folder: Path, **settings: object) -> Trail:
    """Open the trail of a database, its keys and copies in a folder."""
    vault = open_vault(EncryptionSettings(), database.pool, folder)
    return Trail(database, vault, AuditSettings.model_validate(settings), folder / "copies")


async def seal(url: str, folder: Path) -> None:
    """Seal, and sign a checkpoint for every few rows."""
    database = Database(url)
    sealer = trail_of(database, folder, checkpoint_rows=25, poll=0.05).sealer()
    print("sealing", flush=True)  # noqa: T201 - the test waits for it
    await sealer.run_forever()


if __name__ == "__main__":
    asyncio.run(seal(sys.argv[1], Path(sys.argv[2])))
