"""What every dialect takes and gives, and the ways that a statement fails."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from agent_factory.core.tool import ToolError
from agent_factory.kit.errors import FieldError, Invalid, Kind

MAX_BYTES = 2_000_000
"""Characters or bytes of all rows together; reading stops there."""


class SqlFailed(ToolError):
    """A statement that the database refused."""

    kind = Kind.INVALID
    code = "sql_failed"
    title = "The database refused the statement"


class DatabaseUnreachable(ToolError):
    """A database that does not answer, or does not let us in."""

    kind = Kind.UNAVAILABLE
    code = "database_unreachable"
    title = "The database cannot be reached"
    retryable = True


class Statement(msgspec.Struct, frozen=True):
    """One statement with the values of its placeholders, and what it may cost."""

    sql: str
    values: Sequence[Any]
    write: bool
    rows: int
    seconds: float


class Rows(msgspec.Struct):
    """The rows that a statement gave, as objects; the note says when there are more."""

    rows: list[Any]
    note: str | msgspec.UnsetType = msgspec.UNSET


class Changed(msgspec.Struct):
    """How many rows a statement changed."""

    changed: int


_WORD = r"(insert|update|delete|merge|replace|truncate|create|alter|drop)\b"
_CHANGE = re.compile(_WORD, re.IGNORECASE)
_CHANGE_BELOW = re.compile(rf"with\b.*\b{_WORD}", re.IGNORECASE | re.DOTALL)


def changes(sql: str) -> bool:
    """Tell whether a statement may be one that changes data or tables.

    The others are run as queries, also where writing is allowed: COPY to a
    program or SELECT INTO a file are not for a model.
    """
    return bool(_CHANGE.match(sql) or _CHANGE_BELOW.match(sql))


def refuse_change(sql: str) -> None:
    """Say clearly that a statement would write; what stops it in any case is the database."""
    if _CHANGE.match(sql):
        raise SqlFailed("Only queries run here: SELECT, WITH, VALUES.")


def failed(message: str) -> SqlFailed:
    """Make the error of a refused statement from the database's own words."""
    return SqlFailed(message.strip().splitlines()[0][:500] if message.strip() else "It gave no reason.")


def wrong_values(detail: str) -> Invalid:
    """Make the error of values that do not fit the placeholders."""
    return Invalid("The values do not fit the statement.", errors=[FieldError("/values", detail[:500])])


def unique(columns: Iterable[str]) -> list[str]:
    """Number the columns whose names occur twice, so that a row can be an object."""
    seen: dict[str, int] = {}
    out: list[str] = []
    for column in columns:
        seen[column] = seen.get(column, 0) + 1
        out.append(column if seen[column] == 1 else f"{column}_{seen[column]}")
    return out


def shortened(rows: int) -> str:
    """Say that there is more than is shown."""
    return f"Only the first {rows} rows are shown; the others are too many or too large."


class Collector:
    """Takes rows until there are enough of them, or enough of their bytes."""

    def __init__(self, columns: Iterable[str], most: int) -> None:
        """Start empty; `most` counts rows."""
        self._columns = unique(columns)
        self._most = most
        self._bytes = 0
        self.result = Rows([])

    def full(self, row: Sequence[Any]) -> bool:
        """Add a row; tell whether it was one too many, and is left out."""
        self._bytes += sum(len(v) if isinstance(v, str | bytes) else 8 for v in row)
        if len(self.result.rows) == self._most or self._bytes > MAX_BYTES:
            self.result.note = shortened(len(self.result.rows))
            return True
        self.result.rows.append(dict(zip(self._columns, row, strict=True)))
        return False
