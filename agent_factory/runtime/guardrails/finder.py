"""What a rule looks for: bounded patterns whose every decision is local."""

import re
from collections.abc import Callable, Iterator

import msgspec

BREAK = re.compile(r"\n|[^A-Z0-9\s)(+/-]\s|[^\x00-\x7f\u00a0\u202f\U000e0000-\U000e007f]")
"""After a match of this no span of any `Finder` goes on, so that a stream may leave.

Spans hold white space only after a capital, a digit or one of `)(+/-`, and
beyond ASCII only the two no-break spaces and single hidden characters.
"""

KEEP = 64
"""Characters that stay readable behind a decision: more than any lookbehind and any `until` of a `Finder` is long."""


class Finder(msgspec.Struct, frozen=True):
    """One kind of thing to find.

    A span is the group `span` of `pattern` where it has one, else the whole match. It
    is looked for at every place on its own, so whether a span starts at a
    character depends on at most `before` characters in front of it and
    `longest` from it on: that makes streaming exact. `check` says how much of
    a candidate is real, 0 for none. A span goes on until `until` matches, at
    most `most` characters further. `hint` is a cheap test whether a search
    pays at all.
    """

    label: str
    pattern: re.Pattern[str]
    longest: int
    hint: re.Pattern[str]
    before: int = 0
    check: Callable[[str], int] | None = None
    until: re.Pattern[str] | None = None
    most: int = 8_192

    def spans(self, text: str, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """Give `(from, to)` of every span that starts in `text[start:stop]`; `until` is not looked at."""
        at = max(0, start - self.before)
        if self.hint.search(text, at) is None:
            return
        group = "span" if "span" in self.pattern.groupindex else 0
        while (found := self.pattern.search(text, at)) is not None and found.start() < stop:
            at = found.start() + 1
            begin, end = found.span(group)
            if not start <= begin < stop:
                continue
            if self.check is not None:
                end = begin + self.check(text[begin:end])
            if end > begin:
                yield begin, end
