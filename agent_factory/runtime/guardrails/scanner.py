"""Takes spans out of a text that arrives in pieces, releasing what can no longer change."""

import msgspec

from agent_factory.core.guardrail import Action
from agent_factory.runtime.guardrails.finder import BREAK, KEEP, Finder


class Armed(msgspec.Struct, frozen=True):
    """A finder with the rule that it belongs to and what happens to its spans."""

    rule: str
    action: Action
    finder: Finder


class _Open(msgspec.Struct):
    """A span whose end has not arrived; positions are into the scanner's buffer."""

    finder: Finder
    searched: int
    limit: int


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
        self._open: list[_Open] = []

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
        self._close()
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
        self._open.append(_Open(finder, end, end + finder.most))
        return self._close()

    def _close(self) -> int:
        """Look for the ends of open spans; give where the last one that is known ends."""
        still: list[_Open] = []
        for item in self._open:
            assert item.finder.until is not None
            ending = item.finder.until.search(self._buffer, item.searched, item.limit)
            if ending is not None:
                self._covered = max(self._covered, ending.end())
            elif len(self._buffer) >= item.limit:
                self._covered = max(self._covered, item.limit)
            else:
                still.append(item)
                self._covered = max(self._covered, len(self._buffer))
        self._open = still
        return self._covered

    def _forget(self, cut: int) -> None:
        drop = max(0, cut - self._keep)
        # The pattern of an end may have begun in what was searched already.
        for item in self._open:
            item.searched = max(item.searched, len(self._buffer) - self._keep)
            drop = min(drop, item.searched)
        self._buffer = self._buffer[drop:]
        self._mark = cut - drop
        self._covered -= drop
        for item in self._open:
            item.searched -= drop
            item.limit -= drop
