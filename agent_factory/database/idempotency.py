"""The statements behind Idempotency-Key: which requests were made, and what was answered."""

from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import text

from agent_factory.database.session import ReadSession, Session

_LOCK = text("select pg_try_advisory_xact_lock(hashtextextended(:name, 0))")
_FIND = text("""
    select body_hash, status, response, headers from idempotency_keys
    where organization_id = :organization_id and key = :key and method_path = :method_path
      and created_at > now() - interval '24 hours'
""")
_FORGET_OLD = text("""
    delete from idempotency_keys where organization_id = :organization_id and created_at <= now() - interval '24 hours'
""")
_CLAIM = text("""
    insert into idempotency_keys (organization_id, key, method_path, body_hash, created_at)
    values (:organization_id, :key, :method_path, :body_hash, now())
    on conflict (organization_id, key, method_path) do nothing
    returning 1
""")
_SETTLE = text("""
    update idempotency_keys set status = :status, response = :response, headers = cast(:headers as jsonb)
    where organization_id = :organization_id and key = :key and method_path = :method_path
""")
_DROP = text("""
    delete from idempotency_keys
    where organization_id = :organization_id and key = :key and method_path = :method_path and status is null
""")


class RequestKey(msgspec.Struct, frozen=True):
    """What names one request of an organisation."""

    organization_id: UUID
    key: str
    method_path: str

    def parameters(self) -> dict[str, Any]:
        """Give the statement parameters."""
        return msgspec.structs.asdict(self)


class Kept(msgspec.Struct, frozen=True):
    """What is known of an earlier request; `status` is absent while it has no answer."""

    body_hash: bytes
    status: int | None
    response: bytes
    headers: dict[str, str]


async def lock(session: Session, request: RequestKey) -> bool:
    """Take the request's lock until the transaction ends; false if another transaction has it."""
    name = f"{request.organization_id}\n{request.key}\n{request.method_path}"
    return bool((await session.execute(_LOCK, {"name": name})).scalar_one())


async def find(session: ReadSession, request: RequestKey) -> Kept | None:
    """Return what the last 24 hours know of the request."""
    row = (await session.execute(_FIND, request.parameters())).one_or_none()
    return None if row is None else Kept(row.body_hash, row.status, row.response or b"", row.headers or {})


async def claim(session: Session, request: RequestKey, body_hash: bytes) -> bool:
    """Note that the request has begun; false if it already had."""
    await session.execute(_FORGET_OLD, {"organization_id": request.organization_id})
    row = await session.execute(_CLAIM, {**request.parameters(), "body_hash": body_hash})
    return row.scalar_one_or_none() is not None


async def settle(session: Session, request: RequestKey, status: int, response: bytes, headers: dict[str, str]) -> None:
    """Keep the request's answer."""
    answer = {"status": status, "response": response, "headers": msgspec.json.encode(headers).decode()}
    await session.execute(_SETTLE, request.parameters() | answer)


async def drop(session: Session, request: RequestKey) -> None:
    """Forget a request that had no effect, so that it may be made again."""
    await session.execute(_DROP, request.parameters())
