"""Deliberate errors: one class, one kind, one stable public code each."""

from enum import StrEnum
from typing import ClassVar

import msgspec


class Kind(StrEnum):
    """What a caller can do about an error; each entrance maps it to its own signal."""

    INVALID = "invalid"
    MALFORMED = "malformed"
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    CONFLICT = "conflict"
    PRECONDITION_FAILED = "precondition_failed"
    TOO_LARGE = "too_large"
    UNSUPPORTED_MEDIA = "unsupported_media"
    LIMITED = "limited"
    BUDGET = "budget"
    CANCELLED = "cancelled"
    UPSTREAM = "upstream"
    TIMEOUT = "timeout"
    SLOW = "slow"
    UNAVAILABLE = "unavailable"
    INTERNAL = "internal"


class FieldError(msgspec.Struct, frozen=True):
    """One fault in a document, at a JSON pointer (RFC 6901) into it."""

    pointer: str
    detail: str


class Problem(Exception):
    """An error that we mean; subclasses fix `kind`, `code` and `title`.

    `detail` is one sentence that tells the reader what to do next. It never
    holds a stack, a statement, a path of the server or a secret.
    """

    kind: ClassVar[Kind] = Kind.INTERNAL
    code: ClassVar[str] = "internal_error"
    title: ClassVar[str] = "Internal error"
    retryable: ClassVar[bool] = False

    def __init__(
        self,
        detail: str = "",
        *,
        errors: list[FieldError] | None = None,
        retry_after: float | None = None,
    ) -> None:
        """Keep the sentence, the faults by pointer and the seconds to wait."""
        super().__init__(detail or self.title)
        self.detail = detail or self.title
        self.errors: list[FieldError] = errors or []
        self.retry_after = retry_after

    def as_dict(self) -> dict[str, object]:
        """Give the parts that are safe to store with a failed run."""
        out: dict[str, object] = {"code": self.code, "title": self.title, "detail": self.detail}
        if self.errors:
            out["errors"] = [{"pointer": e.pointer, "detail": e.detail} for e in self.errors]
        return out


class Invalid(Problem):
    """A document that breaks its schema or its rules."""

    kind = Kind.INVALID
    code = "validation_failed"
    title = "Validation failed"


class NotFound(Problem):
    """An object that is not there, or not the caller's to see."""

    kind = Kind.NOT_FOUND
    code = "not_found"
    title = "Not found"


class Conflict(Problem):
    """A write that contradicts what is there."""

    kind = Kind.CONFLICT
    code = "conflict"
    title = "Conflict"


class Unavailable(Problem):
    """A part that is away for now; the same call may succeed later."""

    kind = Kind.UNAVAILABLE
    code = "unavailable"
    title = "Temporarily unavailable"
    retryable = True
