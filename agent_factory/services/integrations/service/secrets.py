"""Secrets as people keep them: sealed before they are written, and shown to nobody (S149)."""

import os
from collections.abc import Sequence
from uuid import UUID

from agent_factory.database.models import SecretRow
from agent_factory.database.session import ReadSession, Session
from agent_factory.kit.clock import now
from agent_factory.kit.ids import uuid7
from agent_factory.kit.pages import Page
from agent_factory.security.auth import Actor
from agent_factory.security.encryption import Vault
from agent_factory.services.integrations import queries
from agent_factory.services.integrations.errors import SecretNotFound
from agent_factory.services.integrations.rules import check_secret, place_of

_FINGERPRINT_BYTES = 6


async def keep_secret(
    session: Session, vault: Vault, actor: Actor, name: str, value: str, *, hosts: Sequence[str], description: str
) -> SecretRow:
    """Keep a new secret; raises `SecretInvalid`, or `Conflict` for a name that is taken."""
    bound = check_secret(value, hosts)
    secret_id = uuid7()
    row = SecretRow(
        id=secret_id,
        organization_id=actor.organization_id,
        name=name,
        description=description,
        hosts=bound,
        value=await vault.encrypt(actor.organization_id, place_of(secret_id), value.encode()),
        fingerprint=os.urandom(_FINGERPRINT_BYTES).hex(),
        created_by=actor.user_id,
    )
    await queries.add_secret(session, row)
    return row


async def get_secret(session: ReadSession, actor: Actor, secret_id: UUID) -> SecretRow:
    """Find a secret; raises `SecretNotFound`."""
    row = await queries.secret(session, actor, secret_id)
    if row is None:
        raise SecretNotFound("There is no such secret in your organisation.")
    return row


async def list_secrets(
    session: ReadSession, actor: Actor, limit: int, after: UUID | None, *, name: str | None = None
) -> Page[SecretRow]:
    """List secrets, newest first."""
    return await queries.secrets(session, actor, limit, after, name=name)


async def replace_secret(
    session: Session,
    vault: Vault,
    actor: Actor,
    secret_id: UUID,
    value: str,
    *,
    hosts: Sequence[str] | None,
    description: str | None,
) -> SecretRow:
    """Give a secret another value, and perhaps other hosts; the value before is gone.

    Raises `SecretNotFound` or `SecretInvalid`.
    """
    row = await get_secret(session, actor, secret_id)
    bound = check_secret(value, row.hosts if hosts is None else hosts)
    row.value = await vault.encrypt(actor.organization_id, place_of(row.id), value.encode())
    row.fingerprint = os.urandom(_FINGERPRINT_BYTES).hex()
    if hosts is not None:
        row.hosts = bound
    if description is not None:
        row.description = description
    row.updated_at = now()
    await queries.save(session, row)
    return row


async def delete_secret(session: Session, actor: Actor, secret_id: UUID) -> None:
    """Remove a secret; raises `SecretNotFound`."""
    await queries.remove(session, await get_secret(session, actor, secret_id))
