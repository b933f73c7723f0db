"""Keys replaced while everything runs: what is sealed or wrapped by an old one is done anew, piece by piece.

Each step stands for itself, so that an interrupted rotation goes on where it
was, in whichever process; until it is through, the old keys still open what
they have sealed.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable
from uuid import UUID

import msgspec
import structlog

from agent_factory.database import data_keys, sealed
from agent_factory.database.base import Sealed
from agent_factory.database.pool import Pool
from agent_factory.database.sealed import SealedColumn, SealedValue
from agent_factory.kit.errors import Problem
from agent_factory.security.encryption.envelope import Place
from agent_factory.security.encryption.vault import Vault

log = structlog.stdlib.get_logger(__name__)

_PAUSE = 600.0
"""Seconds between two looks for what is sealed or wrapped by an old key."""


class Progress(msgspec.Struct):
    """What a rotation has done; `failed` counts values and data keys that cannot be opened, and stay as they are."""

    wrapped: int = 0
    sealed: int = 0
    failed: int = 0
    dropped: int = 0


async def renew(pool: Pool, vault: Vault, organizations: Iterable[UUID | None] | None = None) -> int:
    """Make new data keys, of all who have one if nobody is named; give their number. Values follow by `catch_up`."""
    chosen = list(await data_keys.organizations(pool) if organizations is None else organizations)
    for organization_id in chosen:
        await data_keys.succeed(pool, await vault.made(organization_id))
        vault.look_again(organization_id)
    return len(chosen)


async def catch_up(pool: Pool, vault: Vault) -> Progress:
    """Wrap and seal anew whatever an old key has, and drop the keys that nothing needs any more."""
    progress = Progress()
    await _rewrap(pool, vault, progress)
    for column in sealed.sealed_columns():
        await _all(column, lambda c: sealed.in_the_clear(pool, c), _sealing(pool, vault), progress)
        await _all(column, lambda c: sealed.under_old_keys(pool, c), _resealing(pool, vault), progress)
    progress.dropped = await sealed.drop_unused_keys(pool)
    return progress


async def keep_up_forever(pool: Pool, vault: Vault) -> None:
    """Catch up now and every ten minutes: what one process begins, any other ends."""
    while True:
        try:
            done = await catch_up(pool, vault)
            if done.failed:
                log.error("some sealed values cannot be opened", count=done.failed)
        except Problem as problem:
            log.warning("the rotation of keys waits", reason=problem.detail)
        except Exception:
            log.exception("the rotation of keys broke")  # the next look may find it mended
        await asyncio.sleep(_PAUSE * random.uniform(0.5, 1.5))  # noqa: S311 - spreads load, guards nothing


async def _rewrap(pool: Pool, vault: Vault, progress: Progress) -> None:
    if not await data_keys.wrapping(pool):
        return  # where nothing is sealed, no key has to be made yet
    wrapper = vault.wrappers[0]
    for key in await data_keys.wrapped_otherwise(pool, await wrapper.current()):
        try:
            plain = await vault.unwrap(key)
        except Problem as problem:
            if problem.retryable:
                raise
            progress.failed += 1  # one that was tampered with keeps nobody else's from being wrapped anew
            continue
        kek, wrapped = await wrapper.wrap(plain, key.id, key.organization_id)
        await data_keys.rewrap(pool, key, msgspec.structs.replace(key, kek=kek, wrapped=wrapped))
        progress.wrapped += 1


Change = Callable[[SealedColumn, SealedValue], Awaitable[None]]


def _sealing(pool: Pool, vault: Vault) -> Change:
    async def change(column: SealedColumn, found: SealedValue) -> None:
        await sealed.seal(pool, column, found, await _sealed(vault, column, found, found.value))

    return change


def _resealing(pool: Pool, vault: Vault) -> Change:
    async def change(column: SealedColumn, found: SealedValue) -> None:
        plain = await vault.decrypt(found.organization_id, _place(column, found), found.value)
        await sealed.replace(pool, column, found, await _sealed(vault, column, found, plain))

    return change


async def _sealed(vault: Vault, column: SealedColumn, found: SealedValue, plain: bytes) -> Sealed:
    return await vault.encrypt(found.organization_id, _place(column, found), plain)


def _place(column: SealedColumn, found: SealedValue) -> Place:
    return Place(column.table, column.column, found.row)


async def _all(
    column: SealedColumn,
    some: Callable[[SealedColumn], Awaitable[list[SealedValue]]],
    change: Change,
    progress: Progress,
) -> None:
    """Change values batch by batch until none is left but those that cannot be changed."""
    hopeless: set[object] = set()
    while batch := [found for found in await some(column) if found.row not in hopeless]:
        for found in batch:
            try:
                await change(column, found)
            except Problem as problem:
                if problem.retryable:
                    raise
                hopeless.add(found.row)
                progress.failed += 1
            else:
                progress.sealed += 1
