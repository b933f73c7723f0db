"""What goes wrong between us and PostgreSQL, as problems that every floor understands."""

from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg
import structlog
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from agent_factory.database.base import Base
from agent_factory.kit.errors import Conflict, Invalid, Kind, Problem, Unavailable

log = structlog.stdlib.get_logger(__name__)

_AWAY = "The database does not answer; try again in a moment."
_BUSY = "The database is busy; try again in a moment."


class ConnectionLost(Unavailable):
    """A connection that was gone when it was used, or went away meanwhile."""


class StatementTimeout(Problem):
    """A statement that took longer than the settings allow."""

    kind = Kind.TIMEOUT
    code = "database_timeout"
    title = "The database took too long"
    retryable = True


def problem(error: BaseException) -> Problem | None:
    """Give the problem that an error of the driver or of SQLAlchemy means, or None for a fault of ours."""
    if isinstance(error, Problem):
        return error
    cause = _root(error)
    if isinstance(cause, asyncpg.PostgresError):
        return _from_state(cause)
    if isinstance(cause, asyncpg.DataError | UnicodeEncodeError):
        return Invalid("A value cannot be stored: it is out of range or not valid text.")
    if isinstance(cause, asyncpg.InterfaceError | ConnectionError) or (
        isinstance(error, DBAPIError) and error.connection_invalidated
    ):
        return ConnectionLost(_AWAY, retry_after=1)
    if isinstance(cause, PoolTimeout):
        return Unavailable(_BUSY, retry_after=1)
    if isinstance(cause, OSError):
        return Unavailable(_AWAY, retry_after=1)
    return None


@contextmanager
def translated() -> Iterator[None]:
    """Raise the problem that an error inside means; faults of ours pass as they are."""
    try:
        yield
    except Exception as error:
        meant = problem(error)
        if meant is None or meant is error:
            raise
        raise meant from error


def _root(error: BaseException) -> BaseException:
    """Find the driver's own error beneath SQLAlchemy's."""
    if isinstance(error, DBAPIError) and error.orig is not None:
        error = error.orig
    if not isinstance(error, asyncpg.PostgresError | asyncpg.InterfaceError) and error.__cause__ is not None:
        return error.__cause__
    return error


def _from_state(error: asyncpg.PostgresError) -> Problem | None:
    state: str = error.sqlstate or ""
    match state:
        case "23505":
            return Conflict(_taken(error))
        case "23001":
            return Conflict(f"This cannot be changed: {error.args[0]}.")
        case "57014":
            return StatementTimeout("The database took too long over this request; ask for less at a time.")
        case "22001" | "22003" | "22008" | "22021" | "22P05":
            return Invalid("A value cannot be stored: it is too long, out of range, or holds the character U+0000.")
        case "55P03" | "40001" | "40P01" | "53300":
            return Unavailable(_BUSY, retry_after=1)
        case "57P01" | "57P02" | "25P03" | "57P05":
            return ConnectionLost(_AWAY, retry_after=1)
        case "57P03":
            return Unavailable("The database is starting or stopping; try again in a moment.", retry_after=1)
        case "28000" | "28P01" | "3D000":
            log.error("the database refuses the login; check its URL in the settings", reason=str(error))
            return Unavailable("The database refuses the product's login; its operator has to check the settings.")
        case "22023" if '"role"' in str(error):
            log.error("the database's roles are missing or not granted; run the migrations", reason=str(error))
            return Unavailable("The database is not set up yet; its operator has to run the migrations.")
        case _:
            return ConnectionLost(_AWAY, retry_after=1) if state.startswith("08") else None


def _taken(error: asyncpg.PostgresError) -> str:
    """Say what is taken, in the words that the constraint itself carries."""
    name: str | None = getattr(error, "constraint_name", None)
    for table in Base.metadata.tables.values():
        for rule in (*table.indexes, *table.constraints):
            if rule.name == name and "taken" in rule.info:
                return str(rule.info["taken"])
    return "This exists already."
