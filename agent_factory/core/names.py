"""The names that expressions of a task may use."""

from collections.abc import Mapping

RESERVED = frozenset(
    {"input", "run", "args", "result", "index", "iteration", "error", "event", "results"}
    | {"true", "false", "null", "none", "and", "or", "not", "in", "is", "if", "else", "lambda"}
    | {"True", "False", "None", "catch", "finally", "undo"}
)
"""What a task cannot be called: words of expressions, their own names, and steps of paths."""

ALWAYS = frozenset({"input", "run"})
"""Names that every expression of a workflow may use."""


class Names:
    """Names by themselves, those of the tasks of a level that run before, and those from outside.

    A level's tasks are bits of an integer, so that ten thousand tasks in a row stay cheap.
    """

    def __init__(self, extra: frozenset[str], outer: "Names | None" = None) -> None:
        """Begin a level that knows some names by itself."""
        self._extra = extra
        self._outer = outer
        self._index: Mapping[str, int] = {}
        self._bits = 0

    def before(self, index: Mapping[str, int], bits: int) -> "Names":
        """Give the names of one task of this level: those whose bit is set run before it."""
        found = Names(frozenset(), self)
        found._index, found._bits = index, bits
        return found

    def __contains__(self, name: str) -> bool:
        """Tell whether a name may be used."""
        if name in self._extra or (name in self._index and self._bits >> self._index[name] & 1):
            return True
        return self._outer is not None and name in self._outer

    def some(self) -> list[str]:
        """List names for a message, at most thirty."""
        found = {*self._extra, *(n for n, i in self._index.items() if self._bits >> i & 1)}
        if self._outer is not None:
            found |= set(self._outer.some())
        return sorted(found)[:30]
