"""SQL on databases that the operator names: PostgreSQL, MySQL, SQLite; read-only unless allowed to write (S82)."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from pydantic import Field

from agent_factory.core.plugin import Settings, ToolPlugin
from agent_factory.core.tool import Tool, ToolContext
from agent_factory.kit.errors import FieldError, Invalid, NotFound
from agent_factory.tools.sql import mysql, postgresql, sqlite
from agent_factory.tools.sql.statement import Changed, Rows, Statement, refuse_change

_MAX_LENGTH = 20_000


class SqlSettings(Settings):
    """Which database, and what a statement may do and cost."""

    database: str = Field(min_length=1, max_length=100, description="Name of a database that the operator set up.")
    write: bool = Field(default=False, description="Allow statements that change data.")
    max_rows: int = Field(default=100, ge=1, le=1_000)
    timeout: float = Field(default=30.0, gt=0, le=300, description="Seconds for one statement.")
    description: str = Field(default="", max_length=10_000, description="What the model should know of the tables.")


Run = Callable[[str, Statement], Awaitable[Rows | Changed]]

_DIALECTS: dict[str, tuple[str, str, Run]] = {
    "postgresql": ("PostgreSQL", "$1, $2", postgresql.run),
    "postgres": ("PostgreSQL", "$1, $2", postgresql.run),
    "postgresql+asyncpg": ("PostgreSQL", "$1, $2", postgresql.run),
    "mysql": ("MySQL", "?", mysql.run),
    "mariadb": ("MariaDB", "?", mysql.run),
    "mysql+asyncmy": ("MySQL", "?", mysql.run),
    "sqlite": ("SQLite", "?", sqlite.run),
}


def _dialect(url: str) -> tuple[str, str, Run]:
    scheme = url.partition(":")[0].lower()
    if scheme not in _DIALECTS:
        raise Invalid(
            "The URL of this database is of no kind that is known.",
            errors=[FieldError("/config/database", f"known kinds are {', '.join(_DIALECTS)}")],
        )
    return _DIALECTS[scheme]


def _url(name: str, context: ToolContext) -> str:
    databases: Mapping[str, str] = context.need("databases", plugin.name)
    if name not in databases:
        raise NotFound(f"No database {name!r} is set up here; there are: {', '.join(databases) or 'none'}.")
    return databases[name]


def _description(settings: SqlSettings, context: ToolContext) -> str:
    databases: Mapping[str, str] = context.resources.get("databases") or {}
    url = databases.get(settings.database)
    kind, marks, _ = _dialect(url) if url else ("SQL", "$1 (PostgreSQL) or ? (MySQL, SQLite)", None)
    what = "queries and changes" if settings.write else "queries, without changing anything,"
    words = f"Runs one {kind} statement that {what} the database {settings.database!r}. Placeholders: {marks}."
    return f"{words}\n{settings.description}".strip()


_PARAMETERS = {
    "type": "object",
    "properties": {
        "sql": {"type": "string", "minLength": 1, "maxLength": _MAX_LENGTH, "description": "One statement."},
        "values": {
            "type": "array",
            "maxItems": 100,
            "items": {"type": ["string", "number", "boolean", "null", "array", "object"]},
            "description": "The values of the placeholders, in order.",
        },
    },
    "required": ["sql"],
    "additionalProperties": False,
}


async def _make(settings: SqlSettings, name: str | None, context: ToolContext) -> list[Tool]:
    async def query(sql: str, context: ToolContext, values: list[Any] | None = None) -> Rows | Changed:
        if "\0" in sql or not sql.strip().rstrip(";"):
            raise Invalid("This is no statement.", errors=[FieldError("/sql", "is empty or has a NUL character")])
        if not settings.write:
            refuse_change(sql.strip())
        url = _url(settings.database, context)
        statement = Statement(sql, values or [], settings.write, settings.max_rows, settings.timeout)
        return await _dialect(url)[2](url, statement)

    return [
        Tool(
            name or plugin.name,
            _description(settings, context),
            _PARAMETERS,
            query,
            pure=not settings.write,
            timeout=settings.timeout + 15,
            takes_context=True,
        )
    ]


plugin = ToolPlugin(
    "sql_query",
    "Queries a database that the operator set up: PostgreSQL, MySQL or SQLite; read-only unless writing is allowed.",
    SqlSettings,
    _make,
    example={"database": "main"},
)
