"""Texts with expressions between `{{ }}`, in any JSON document (S85, S103)."""

from collections.abc import Callable
from typing import Any, cast

import msgspec

from agent_factory.core.expressions import (
    Context,
    Evaluation,
    Expression,
    ExpressionFailed,
    ExpressionInvalid,
    compile_expression,
)
from agent_factory.core.functions import MAX_TEXT, weighed
from agent_factory.core.schema import pointer
from agent_factory.kit.errors import FieldError

Renderer = Callable[[Context], Any]


def compile_template(
    document: Any,  # noqa: ANN401 - any JSON value
    compiler: Callable[[str], Expression] = compile_expression,
) -> Renderer:
    """Turn a JSON document into a function of a context.

    A text that is one `{{ expression }}` and nothing else gives the value
    itself; an expression amid other words is written as text, null as nothing,
    lists and objects as JSON. Keys of objects are taken as they are. All
    expressions of a document together make no more than one may. Raises
    one `ExpressionInvalid` with the pointer of every broken expression, which
    are those that `compiler` does not take.
    """
    faults: list[FieldError] = []
    render = _Templates(compiler, faults).compile(document, [])
    if faults:
        raise ExpressionInvalid(f"{len(faults)} broken expression(s).", errors=faults)
    return lambda context: render(context if isinstance(context, Evaluation) else Evaluation(context))


def expressions_in(document: Any) -> list[tuple[str, str]]:  # noqa: ANN401 - any JSON value
    """List the pointer and the text of every expression in a document."""
    found: list[tuple[str, str]] = []

    def walk(value: Any, path: list[str | int]) -> None:  # noqa: ANN401 - any JSON value
        if isinstance(value, str):
            found.extend((pointer(path), text) for is_code, text in _split(value) if is_code)
        elif isinstance(value, dict):
            for key, item in cast("dict[str, Any]", value).items():
                walk(item, [*path, key])
        elif isinstance(value, list | tuple):
            for index, item in enumerate(cast("list[Any]", value)):
                walk(item, [*path, index])

    walk(document, [])
    return found


class _Templates:
    """Compiles documents, collecting the faults of their expressions."""

    def __init__(self, compiler: Callable[[str], Expression], faults: list[FieldError]) -> None:
        self._compiler = compiler
        self._faults = faults

    def compile(self, value: Any, path: list[str | int]) -> Renderer:  # noqa: ANN401 - any JSON value
        if isinstance(value, str):
            return self._text(value, path)
        if isinstance(value, dict):
            fields = {k: self.compile(v, [*path, k]) for k, v in cast("dict[str, Any]", value).items()}
            return lambda context: {key: render(context) for key, render in fields.items()}
        if isinstance(value, list | tuple):
            items = [self.compile(v, [*path, i]) for i, v in enumerate(cast("list[Any]", value))]
            return lambda context: [render(context) for render in items]
        return lambda _context: value

    def _text(self, text: str, path: list[str | int]) -> Renderer:
        parts: list[str | Expression] = []
        for is_code, piece in _split(text):
            if not is_code:
                parts.append(piece)
                continue
            try:
                parts.append(self._compiler(piece))
            except ExpressionInvalid as error:
                self._faults.append(FieldError(pointer(path), error.detail))
        if len(parts) == 1:
            only = parts[0]
            return only if callable(only) else lambda _context: only
        if not any(callable(p) for p in parts):
            return lambda _context: text

        def render(context: Context) -> str:
            words = [_written(p(context)) if callable(p) else p for p in parts]
            if sum(map(len, words)) > MAX_TEXT:
                raise ExpressionFailed(f"The text would be longer than {MAX_TEXT} characters.")
            return "".join(words)

        return render


def _split(text: str) -> list[tuple[bool, str]]:
    """Cut a text at `{{` and `}}`; an opening without an end is plain text."""
    parts: list[tuple[bool, str]] = []
    at = 0
    while (start := text.find("{{", at)) >= 0 and (end := text.find("}}", start + 2)) >= 0:
        if start > at:
            parts.append((False, text[at:start]))
        parts.append((True, text[start + 2 : end]))
        at = end + 2
    if at < len(text) or not parts:
        parts.append((False, text[at:]))
    return parts


def _written(value: Any) -> str:  # noqa: ANN401 - any JSON value
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    try:
        weighed(value, MAX_TEXT)
    except ValueError as error:
        raise ExpressionFailed(f"A text is written: {error}.") from None
    return msgspec.json.encode(value).decode()
