"""SQLite: opened read-only, watched by an authorizer, stopped by a progress handler."""

import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from urllib.parse import quote

from agent_factory.core.deadline import in_thread
from agent_factory.tools.sql.statement import (
    MAX_BYTES,
    Changed,
    Collector,
    DatabaseUnreachable,
    Rows,
    SqlFailed,
    Statement,
    failed,
    wrong_values,
)

_STEPS = 10_000
"""Virtual machine steps between two looks at the clock, far below a millisecond."""

_READS = frozenset({sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_RECURSIVE})
_WRITES = frozenset(
    {
        sqlite3.SQLITE_INSERT,
        sqlite3.SQLITE_UPDATE,
        sqlite3.SQLITE_DELETE,
        sqlite3.SQLITE_TRANSACTION,
        sqlite3.SQLITE_CREATE_TABLE,
        sqlite3.SQLITE_CREATE_INDEX,
        sqlite3.SQLITE_CREATE_VIEW,
        sqlite3.SQLITE_DROP_TABLE,
        sqlite3.SQLITE_DROP_INDEX,
        sqlite3.SQLITE_DROP_VIEW,
        sqlite3.SQLITE_ALTER_TABLE,
        sqlite3.SQLITE_REINDEX,
    }
)
_PRAGMAS = frozenset({"table_info", "table_xinfo", "table_list", "index_list", "index_info", "foreign_key_list"})
_NO_FUNCTIONS = frozenset({"load_extension", "fts3_tokenizer", "readfile", "writefile", "edit"})


async def run(url: str, statement: Statement) -> Rows | Changed:
    """Run one statement on the file of a `sqlite:///path` URL."""
    cancelled = threading.Event()
    path = Path(url.partition(":///")[2])
    try:
        return await in_thread(partial(_run, path, statement, cancelled), statement.seconds + 1)
    finally:
        cancelled.set()


def _run(path: Path, statement: Statement, cancelled: threading.Event) -> Rows | Changed:
    mode = "rw" if statement.write else "ro"
    deadline = time.monotonic() + statement.seconds
    try:
        uri = f"file:{quote(str(path.absolute()))}?mode={mode}"
        connection = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=min(5.0, statement.seconds))
    except sqlite3.Error:
        raise DatabaseUnreachable("The database file cannot be opened.") from None
    with closing(connection):
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_BYTES)  # no value grows past what is shown anyway
        connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
        connection.set_authorizer(_authorizer(write=statement.write))
        connection.set_progress_handler(lambda: cancelled.is_set() or time.monotonic() > deadline, _STEPS)
        try:
            return _fetch(connection, statement)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorname == "SQLITE_INTERRUPT":
                raise SqlFailed(f"The statement took longer than {statement.seconds:g} s.") from None
            raise failed(str(error)) from None
        except (sqlite3.InterfaceError, sqlite3.ProgrammingError, OverflowError) as error:
            if "one statement" in str(error):
                raise failed(str(error)) from None
            raise wrong_values(str(error)) from None
        except (sqlite3.Error, sqlite3.Warning) as error:
            raise failed(str(error)) from None


def _fetch(connection: sqlite3.Connection, statement: Statement) -> Rows | Changed:
    cursor = connection.execute(statement.sql, list(statement.values))
    if cursor.description is None:
        return Changed(max(cursor.rowcount, 0))
    collector = Collector((c[0] for c in cursor.description), statement.rows)
    for row in cursor:
        if collector.full(row):
            break
    return collector.result


def _authorizer(*, write: bool) -> Callable[[int, str | None, str | None, str | None, str | None], int]:
    allowed = _READS | _WRITES if write else _READS

    def decide(action: int, first: str | None, second: str | None, _database: str | None, _by: str | None) -> int:
        if action == sqlite3.SQLITE_FUNCTION:
            good = (second or "").lower() not in _NO_FUNCTIONS
        elif action == sqlite3.SQLITE_PRAGMA:
            good = (first or "").lower() in _PRAGMAS
        else:
            good = action in allowed
        return sqlite3.SQLITE_OK if good else sqlite3.SQLITE_DENY

    return decide
