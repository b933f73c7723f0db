"""Values that are known to be secret, in every form in which they may turn up: found in texts and in streams."""

import base64
import html
import json
import re
from collections.abc import Iterable, Iterator
from urllib.parse import quote, quote_plus

import msgspec

MASK = "[redacted]"
SHORTEST = 6
"""Characters of a value that is masked; a shorter one would blank out ordinary words."""

_MOST_OVERLAPS = 1000
"""Places in one text that overlap one another, before all the rest is masked: only who means harm writes so."""

_PERCENT = re.compile("%[0-9A-F]{2}")


def forms(value: str) -> list[str]:
    """Give the ways in which a value may turn up again: as it is, and as URLs, JSON, HTML, Base64 and hex have it.

    Within Base64 it is found wherever it stands in what was encoded. The
    longest come first.
    """
    if len(value) < SHORTEST:
        return []
    found = {value}
    for written in (quote(value, safe=""), quote(value), quote_plus(value)):
        found |= {written, _PERCENT.sub(lambda code: code[0].lower(), written)}
    escaped = html.escape(value)
    found |= {escaped, escaped.replace("&#x27;", "&#39;")}
    for written in (msgspec.json.encode(value).decode()[1:-1], json.dumps(value)[1:-1]):
        found |= {written, written.replace("/", "\\/")}
    raw = value.encode("utf-8", "surrogatepass")
    found |= {raw.hex(), raw.hex().upper(), *_base64(raw)}
    return sorted((form for form in found if len(form) >= SHORTEST), key=len, reverse=True)


def _base64(raw: bytes) -> Iterator[str]:
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        whole = encode(raw).decode()
        yield from (whole, whole.rstrip("="))
        for before in range(3):
            # six bits a character: those that hold bits of neighbours are left out at both ends
            written = encode(bytes(before) + raw).decode()
            yield written[-(-before * 8 // 6) : (before + len(raw)) * 8 // 6]


class Spellings:
    """Forms of values, made ready to be looked for. Where found ones overlap, all that they cover is masked as one."""

    def __init__(self, found: Iterable[str]) -> None:
        """Take forms of at least `SHORTEST` characters."""
        self._forms = tuple(sorted(set(found), key=len, reverse=True))
        self._starting: dict[str, list[str]] = {}
        for form in self._forms:
            self._starting.setdefault(form[:SHORTEST], []).append(form)
        self._beginnings = frozenset(start[:length] for start in self._starting for length in range(1, SHORTEST))

    def __bool__(self) -> bool:
        return bool(self._forms)

    def mask(self, text: str) -> str:
        """Mask every form in a whole text."""
        there = [form for form in self._forms if form in text] if len(text) >= SHORTEST else []
        if not there:
            return text
        found = sorted(span for form in there for span in _spans(text, form))
        out: list[str] = []
        done = 0
        for start, end in found:
            if start >= done:
                out += (text[done:start], MASK)
            done = max(done, end)
        return "".join([*out, text[done:]])

    def mask_cut(self, text: str) -> str:
        """Mask every form in a text that may have been cut at its end, and there also the beginning of one."""
        masking = self.stream()
        out = masking.feed(text)
        return out + MASK if masking.waits else out + masking.feed("", last=True)

    def stream(self) -> "Masking":
        """Begin a text that arrives in pieces."""
        return Masking(self._starting, self._beginnings)


class Masking:
    """Masks a text that arrives in pieces, just as `Spellings.mask` would the whole.

    Kept back is only what may be the beginning of a form: fewer characters
    than the longest form has.
    """

    def __init__(self, starting: dict[str, list[str]], beginnings: frozenset[str]) -> None:
        """Take forms by their first `SHORTEST` characters, and all beginnings shorter than those."""
        self._starting = starting
        self._beginnings = beginnings
        self._held = ""
        self._covered = 0
        """How much of what is held belongs to something that was masked already."""

    @property
    def waits(self) -> bool:
        """Whether what is kept back is long enough to be a part of a form that says something."""
        return len(self._held) - self._covered >= SHORTEST

    def feed(self, piece: str, *, last: bool = False) -> str:
        """Take more of the text and give what may leave now; with `last` that is all the rest."""
        text = self._held + piece
        out: list[str] = []
        done = self._covered
        at = 0
        while at < len(text):
            end = self._end(text, at, last=last)
            if end is None:
                break
            if end > done:
                if at >= done:
                    out += (text[done:at], MASK)
                done = end
            at += 1
        if at > done:
            out.append(text[done:at])
            done = at
        self._held, self._covered = text[at:], done - at
        return "".join(out)

    def _end(self, text: str, at: int, *, last: bool) -> int | None:
        """Tell where the longest form that starts here ends, 0 for none; `None` if the next pieces have to tell."""
        start = text[at : at + SHORTEST]
        if len(start) < SHORTEST:
            return 0 if last or start not in self._beginnings else None
        found = 0
        for form in self._starting.get(start, ()):  # the longest first
            if text.startswith(form, at):
                found = found or at + len(form)
            elif not last and len(text) - at < len(form) and form.startswith(text[at:]):
                return None
        return found


def _spans(text: str, form: str) -> Iterator[tuple[int, int]]:
    """Give where a form stands in a text, also where it overlaps itself."""
    overlaps = end = 0
    start = text.find(form)
    while start >= 0:
        overlaps += start < end
        if overlaps > _MOST_OVERLAPS:
            yield start, len(text)
            return
        end = start + len(form)
        yield start, end
        start = text.find(form, start + 1)
