"""Lost updates refused (ETag, If-Match), and partial updates (RFC 7396)."""

from typing import Annotated, Any, cast

from fastapi import Header

from agent_factory.kit.errors import Kind, Problem

IfMatch = Annotated[
    str | None,
    Header(max_length=200, description="The ETag that the change is based on; 412 if it is no longer current."),
]


class PreconditionFailed(Problem):
    """The object has changed since the caller read it."""

    kind = Kind.PRECONDITION_FAILED
    code = "precondition_failed"
    title = "The object has changed"


def etag(revision: int) -> str:
    """Write an object's revision as an ETag."""
    return f'"{revision}"'


def check(if_match: str | None, revision: int) -> None:
    """Raise `PreconditionFailed` unless `if_match` is absent, `*`, or names this revision."""
    if if_match is None:
        return
    wanted = {tag.strip() for tag in if_match.split(",")}
    if "*" not in wanted and etag(revision) not in wanted:
        raise PreconditionFailed("Read the object again, then repeat the change with its new ETag.")


def merge_patch(target: Any, patch: Any) -> Any:  # noqa: ANN401 - any JSON value
    """Apply a JSON merge patch (RFC 7396): null removes, objects merge, anything else replaces."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(cast("dict[str, Any]", target)) if isinstance(target, dict) else {}
    for name, value in cast("dict[str, Any]", patch).items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge_patch(merged.get(name), value)
    return merged
