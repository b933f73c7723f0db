"""The end of an organisation: some time after it was deleted, everything that is left of it is removed (S210).

Each step stands for itself and is known by what is left, so that a purge that
was interrupted goes on where it was, in whichever process; the organisation's
own row goes last.
"""

import asyncio
import random
import shutil
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from uuid import UUID

import structlog

from agent_factory.database import purge
from agent_factory.database.purge import Doomed
from agent_factory.database.session import Database
from agent_factory.kit import ids
from agent_factory.kit.clock import now, rfc3339
from agent_factory.kit.errors import Problem
from agent_factory.security.audit import Event, record
from agent_factory.storage.store import Store

log = structlog.stdlib.get_logger(__name__)

_KEYS = "data_keys"
_PAUSE = 3600.0
"""Seconds between two looks."""


class Purge:
    """Purges the organisations of one database that were deleted longer than `grace` ago; every process may have one.

    `store` holds large values, and `workspace` a folder of files for each
    organisation, on the disk of this process.
    """

    def __init__(self, database: Database, store: Store, workspace: Path, grace: timedelta) -> None:
        """Remember what there is to purge; nothing is connected yet."""
        self._database = database
        self._store = store
        self._workspace = workspace
        self._grace = grace

    async def keep_forever(self) -> None:
        """Look now and once an hour, until cancelled."""
        while True:
            try:
                await self.sweep()
            except Problem as problem:
                log.warning("deleted organisations could not be purged; that is tried again", reason=problem.detail)
            except Exception:
                log.exception("deleted organisations could not be purged; that is tried again")
            await asyncio.sleep(_PAUSE * random.uniform(0.5, 1.5))  # noqa: S311 - spreads load, guards nothing

    async def sweep(self) -> int:
        """Purge all that are due, and give how many; one that cannot be now keeps no other."""
        before = now() - self._grace
        count = 0
        for each in await purge.due(self._database.pool, before):
            try:
                count += await self._purge(each, before)
            except Problem as problem:
                log.warning(
                    "an organisation could not be purged; that is tried again",
                    organization_id=str(each.id),
                    reason=problem.detail,
                )
            except Exception:
                log.exception("an organisation could not be purged; that is tried again", organization_id=str(each.id))
        await self._remove_folders()
        return count

    async def _purge(self, doomed: Doomed, before: datetime) -> bool:
        """Remove one organisation; false where another process was faster, or somebody has restored it."""
        if doomed.purge_began_at is None and not await self._begin(doomed, before):
            return False
        # its keys first: from here on, nothing that it had sealed can be opened, in copies neither
        tables = [_KEYS, *(table for table in purge.tenant_tables() if table != _KEYS)]
        removed = left = await self._empty(doomed.id, tables)
        while left:  # until nothing has come meanwhile
            left = await self._empty(doomed.id, tables)
            removed += left
        values = await self._store.clear(str(doomed.id))
        return await self._end(doomed, {"rows": removed, "stored_values": values})

    async def _begin(self, doomed: Doomed, before: datetime) -> bool:
        async with self._database.system() as session:
            begun = await purge.begin(session, doomed.id, before)
            if begun:
                await record(session, _event(doomed, "organizations.purge_began", {}))
        return begun

    async def _empty(self, organization_id: UUID, tables: list[str]) -> int:
        removed = 0
        for table in tables:
            async for count in purge.empty(self._database, organization_id, table):
                removed += count
        return removed

    async def _end(self, doomed: Doomed, counts: dict[str, int]) -> bool:
        async with self._database.system() as session:
            ended = await purge.end(session, doomed.id)
            if ended:
                await record(session, _event(doomed, purge.PURGED, counts))
        if ended:
            log.info("a deleted organisation was purged", organization_id=str(doomed.id), **counts)
        return ended

    async def _remove_folders(self) -> None:
        """Remove from this disk the folders of files of all who were purged, by whichever process."""
        folders = await asyncio.to_thread(_folders, self._workspace)
        if folders:
            for organization_id in await purge.gone(self._database.pool, folders):
                await asyncio.to_thread(_remove, folders[organization_id])


def _remove(folder: Path) -> None:
    with suppress(FileNotFoundError):  # another process of the same disk is at it, too
        shutil.rmtree(folder)


def _folders(workspace: Path) -> dict[UUID, Path]:
    """Find the folders whose name is an organisation's id."""
    found: dict[UUID, Path] = {}
    for path in workspace.iterdir() if workspace.is_dir() else ():
        try:
            found[UUID(path.name)] = path
        except ValueError:
            continue
    return found


def _event(doomed: Doomed, action: str, details: dict[str, int]) -> Event:
    return Event(
        action=action,
        organization_id=doomed.id,
        resource=ids.encode("org", doomed.id),
        details={"deleted_at": rfc3339(doomed.deleted_at), **details},
    )
