"""What goes wrong between us and PostgreSQL, as problems that every floor understands."""

from collections.abc import Generator
from contextlib import contextmanager

import asyncpg
import structlog
from sqlalchemy.exc import TimeoutError as PoolTimeout

from agent_factory.database.base import Base
from agent_factory.kit.errors import Conflict, Invalid, Kind, Problem, Unavailable

log = structlog.stdlib.get_logger(__name__)


class ConnectionLost(Unavailable):
    """A connection that was gone when it was used, or went away meanwhile."""


class StatementTimeout(Problem):
    """A statement that took longer than the settings allow."""

    kind = Kind.TIMEOUT
    code = "database_timeout"
    title = "The database took too long"
    retryable = True


_AWAY = "The database does not answer; try again in a moment."
_BUSY = "The database is busy; try again in a moment."
_SLOW = "The database took too long over this request; ask for less at a time, or try again."
_UNFIT = "A value cannot be stored: it is too long, out of range, or not valid text (U+0000 is not)."
_LOGIN = "The database refuses the product's login; its operator has to check the settings."
_SETUP = "The database is not set up; its operator has to run the migrations."

_BY_STATE: dict[str, tuple[type[Problem], str]] = {
    "22000": (Invalid, _UNFIT),  # the driver's own, before it asks the server
    "22001": (Invalid, _UNFIT),
    "22003": (Invalid, _UNFIT),
    "22008": (Invalid, _UNFIT),
    "22021": (Invalid, _UNFIT),
    "22P05": (Invalid, _UNFIT),
    "23001": (Conflict, "This never changes once it is made; make a new one."),
    "23503": (Conflict, "This refers to something that is not there, or something still refers to it."),
    "25P03": (ConnectionLost, _AWAY),
    "28000": (Unavailable, _LOGIN),
    "28P01": (Unavailable, _LOGIN),
    "3D000": (Unavailable, _LOGIN),
    "40001": (Unavailable, _BUSY),
    "40P01": (Unavailable, _BUSY),
    "42P01": (Unavailable, _SETUP),
    "53300": (Unavailable, _BUSY),
    "55P03": (Unavailable, _BUSY),
    "57014": (StatementTimeout, _SLOW),
    "57P01": (ConnectionLost, _AWAY),
    "57P02": (ConnectionLost, _AWAY),
    "57P03": (Unavailable, "The database is starting or stopping; try again in a moment."),
    "57P05": (ConnectionLost, _AWAY),
}
"""What PostgreSQL's error codes mean for a caller; whatever is not here is a fault of ours."""

_BY_CLASS: tuple[tuple[type[Exception], type[Problem], str], ...] = (
    (PoolTimeout, Unavailable, _BUSY),
    (TimeoutError, StatementTimeout, _SLOW),
    (OSError, ConnectionLost, _AWAY),
)
"""The same for errors without a code; the first that fits counts."""

_DRIVER = asyncpg.PostgresError | asyncpg.InterfaceError | asyncpg.InternalClientError


def problem(error: BaseException) -> Problem | None:
    """Give the problem that an error of the driver or of SQLAlchemy means, or None for a fault of ours."""
    if isinstance(error, Problem):
        return error
    if isinstance(error.__cause__, _DRIVER):
        error = error.__cause__  # SQLAlchemy wraps the driver's own
    if isinstance(error, asyncpg.PostgresError):
        return _from_state(error)
    if isinstance(error, asyncpg.InternalClientError):
        # a farewell in the middle of an exchange leaves the driver at a loss: that connection is of no use any more
        return ConnectionLost(_AWAY, retry_after=1)
    if isinstance(error, asyncpg.InterfaceError):
        # the driver says by words alone whether the connection is gone or we misuse it
        return ConnectionLost(_AWAY, retry_after=1) if "closed" in str(error) else None
    for kind, meant, words in _BY_CLASS:
        if isinstance(error, kind):
            return meant(words, retry_after=1 if meant.retryable else None)
    return None


@contextmanager
def translated(*kinds: type[Exception]) -> Generator[None]:
    """Raise the problem that an error inside means; faults of ours pass as they are.

    Around code that is not only the driver's, `kinds` says which errors can be the driver's.
    """
    try:
        yield
    except Exception as error:
        meant = None if kinds and not isinstance(error, kinds) else problem(error)
        if meant is None or meant is error:
            raise
        raise meant from error


def _from_state(error: asyncpg.PostgresError) -> Problem | None:
    state: str = getattr(error, "sqlstate", None) or ""
    if state == "23505":
        return Conflict(_taken(error))
    if state == "22023" and '"role"' in str(error):
        state = "42P01"  # the roles come with the tables
    if state.startswith("08"):
        state = "57P01"
    kind, words = _BY_STATE.get(state, (None, ""))
    if kind is None:
        return None
    if words in (_LOGIN, _SETUP):
        log.error("the database is there, but not usable", state=state, reason=str(error))
    return kind(words, retry_after=1 if kind.retryable else None)


def _taken(error: asyncpg.PostgresError) -> str:
    """Say what is taken, in the words that the constraint itself carries."""
    name: str | None = getattr(error, "constraint_name", None)
    for table in Base.metadata.tables.values():
        for rule in (*table.indexes, *table.constraints):
            if rule.name == name and "taken" in rule.info:
                return str(rule.info["taken"])
    return "This exists already."
