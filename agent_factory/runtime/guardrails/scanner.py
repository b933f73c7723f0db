"""Takes spans out of a text that arrives in pieces, releasing what can no longer change."""

import msgspec

from agent_factory.core.guardrail import Action
from agent_factory.runtime.guardrails.finder import BREAK, KEEP, Finder


class Armed(msgspec.Struct, frozen=True):
    """A finder with the rule that it belongs to and what happens to its spans."""

    rule: str
    action: Action
    finder: Finder


class _Tail(msgspec.Struct):
    """How far the spans of one finder go on, for all that hang together; positions are into the scanner's buffer.

    Overlapping spans of a finder have the same end ahead of them, so it is
    looked for once: that keeps a text full of beginnings linear.
    """

    finder: Finder
    searched: int
    limit: int
    found: tuple[int, int] | None = None


class Scanner:
    """The state of one text.

    Overlapping spans are taken out as one, under the label of the first. The
    result does not depend on how the text was cut into pieces.
    """

    def __init__(self, armed: tuple[Armed, ...]) -> None:
        self.hits: dict[Action, dict[str, None]] = {}
        self._armed = armed
        self._hold = max((a.finder.longest for a in armed), default=0)
        self._keep = max((a.finder.before for a in armed), default=0) + KEEP
        self._buffer = ""
        self._mark = 0
        """Everything before has been decided."""
        self._covered = 0
        """Everything before belongs to a span that has been replaced."""
        self._tails: dict[int, _Tail] = {}

    def feed(self, text: str, *, last: bool = False) -> str:
        """Take more of the text and give what may leave now; with `last` that is all the rest."""
        seen = len(self._buffer)
        self._buffer += text
        if last:
            return self._release(len(self._buffer))
        cut = max(self._mark, len(self._buffer) - self._hold)
        for found in BREAK.finditer(self._buffer, max(0, seen - 1)):
            cut = max(cut, found.end())
        return self._release(cut) if cut > self._mark else ""

    def note(self, rule: str, label: str, action: Action) -> None:
        """Keep what was found, once, for the reason."""
        self.hits.setdefault(action, {})[f"{rule} ({label})"] = None

    def _release(self, cut: int) -> str:
        buffer = self._buffer
        for tail in self._tails.values():
            self._follow(tail)
        found = [
            (start, -end, end, armed)
            for armed in self._armed
            for start, end in armed.finder.spans(buffer, self._mark, cut)
        ]
        found.sort(key=lambda item: item[:2])
        out: list[str] = []
        done = max(self._covered, self._mark)
        for start, _, end, armed in found:
            self.note(armed.rule, armed.finder.label, armed.action)
            if armed.action != "redact":
                continue
            if start >= done:
                out += (buffer[done:start], f"[{armed.finder.label} removed]")
            done = max(done, end if armed.finder.until is None else self._end(armed.finder, end))
        self._covered = done
        if done < cut:
            out.append(buffer[done:cut])
        self._forget(cut)
        return "".join(out)

    def _end(self, finder: Finder, end: int) -> int:
        """Give how far everything that is known reaches, with this span."""
        tail = self._tails.get(id(finder))
        seen = len(self._buffer)
        if tail is None or (tail.found is not None and end > tail.found[0]):
            tail = self._tails[id(finder)] = _Tail(finder, end, end + finder.most)
        elif tail.found is None:
            if tail.limit <= seen:
                tail.searched = max(tail.searched, end)
            tail.limit = max(tail.limit, end + finder.most)
        return self._follow(tail)

    def _follow(self, tail: _Tail) -> int:
        """Look for the end of a tail in what has arrived since; give how far everything reaches."""
        assert tail.finder.until is not None
        if tail.found is None and tail.searched < tail.limit:
            ending = tail.finder.until.search(self._buffer, tail.searched, tail.limit)
            # An end may have begun in what has been searched.
            tail.searched = max(tail.searched, min(tail.limit, len(self._buffer) - KEEP))
            tail.found = ending.span() if ending else None
        reach = tail.found[1] if tail.found else min(tail.limit, len(self._buffer))
        self._covered = max(self._covered, reach)
        return self._covered

    def _forget(self, cut: int) -> None:
        drop = max(0, cut - self._keep)
        self._buffer = self._buffer[drop:]
        self._mark = cut - drop
        self._covered -= drop
        for tail in self._tails.values():
            tail.searched = max(0, tail.searched - drop)
            tail.limit -= drop
            if tail.found:
                tail.found = (tail.found[0] - drop, tail.found[1] - drop)
