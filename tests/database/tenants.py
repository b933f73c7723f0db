"""An organisation with a row in every table that names one, as the models say which there are."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, Boolean, Column, Date, DateTime, Integer, LargeBinary, Numeric, String, Table, Uuid, text
from sqlalchemy.dialects.postgresql import JSONB

from agent_factory.database import purge
from agent_factory.database.base import Base
from agent_factory.database.session import Database
from agent_factory.kit.clock import now
from agent_factory.kit.ids import uuid7

CHOSEN: dict[str, dict[str, Any]] = {
    "budgets": {"subject": "agent", "metric": "usd", "period": "month"},
    "quotas": {"metric": "runs"},
    "grants": {"team_id": None, "workflow_id": None},
    "triggers": {"type": "cron"},
    "run_waits": {"kind": "timer"},
}
"""Values where not every one will do; a new table with such columns needs its own here."""

_ROWS = "select count(*) from {} where organization_id = :id"


class Tenant:
    """An organisation with a row everywhere; an account of its own, and one that is a member elsewhere, too."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.id = uuid7()
        self.known: dict[tuple[str, str], Any] = {("organizations", "id"): self.id}
        for parent in ("runs", "sessions"):  # nothing refers to them by a foreign key
            self.known[parent, "id"] = uuid7()

    async def fill(self, shared: UUID, own: UUID) -> None:
        async with self.database.system() as session:
            await session.execute(text("insert into organizations (id, name) values (:id, 'Doomed')"), {"id": self.id})
        tables = {t.name: t for t in Base.metadata.sorted_tables}
        for name in reversed(purge.tenant_tables()):
            for account in (shared, own) if name == "users" else (None,):
                await self._insert(tables[name], {"account_id": account} if account else {})

    async def delete(self, days: int = 31) -> None:
        async with self.database.system() as session:
            statement = text("update organizations set deleted_at = :at where id = :id")
            await session.execute(statement, {"id": self.id, "at": now() - timedelta(days=days)})

    async def rows(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for table in purge.tenant_tables():
            async with purge._session(self.database, self.id, table) as session:
                found[table] = await session.scalar(text(_ROWS.format(table)), {"id": self.id}) or 0
        return found

    async def _insert(self, table: Table, values: dict[str, Any]) -> None:
        given = CHOSEN.get(table.name, {}) | values
        wanted = [c for c in table.columns if self._is_needed(c) or c.name in given]
        row = {c.name: given[c.name] if c.name in given else self._value(c) for c in wanted}
        for name, value in row.items():
            if name == "id" or (table.name, name) not in self.known:
                self.known[table.name, name] = value
        mine = await self.database.pool.fetchval("select has_table_privilege('af_app', $1, 'INSERT')", table.name)
        async with self.database.write(self.id) if mine else self.database.system() as session:
            await session.execute(table.insert().values(row))

    def _is_needed(self, column: Column[Any]) -> bool:
        refers = bool(column.foreign_keys) and (column.name != "account_id" or not column.nullable)
        return refers or column.name == "organization_id" or (not column.nullable and column.server_default is None)

    def _value(self, column: Column[Any]) -> Any:
        if column.name == "organization_id":
            return self.id
        if column.name == "id" and column.table.name in ("runs", "sessions"):
            return self.known[column.table.name, "id"]
        for key in column.foreign_keys:
            return self.known[key.column.table.name, key.column.name]
        if column.name in ("run_id", "session_id") and column.table.name in ("run_steps", "messages"):
            return self.known[{"run_id": "runs", "session_id": "sessions"}[column.name], "id"]
        return _any(column)


def _any(column: Column[Any]) -> Any:
    kinds: list[tuple[type, Callable[[], Any]]] = [
        (Uuid, uuid7),
        (JSONB, dict),
        (ARRAY, list),
        (String, lambda: uuid7().hex[: getattr(column.type, "length", None) or 32]),
        (LargeBinary, lambda: uuid7().bytes),
        (Boolean, bool),
        (Integer, lambda: 1),
        (Numeric, lambda: 1),
        (DateTime, now),
        (Date, lambda: now().date()),
    ]
    return next(make for kind, make in kinds if isinstance(column.type, kind))()
