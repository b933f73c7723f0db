"""Passwords that somebody who guesses tries first, however long they are (NIST 800-63B, 3.1.1.2)."""

import re
import unicodedata
from functools import cache
from pathlib import Path

_FILE = Path(__file__).with_name("common_passwords.txt")
"""Words that stay guessable whatever stands before or after them, and a few whole passwords."""
_ROWS = ("abcdefghijklmnopqrstuvwxyz", "01234567890", "qwertyuiop", "asdfghjkl", "zxcvbnm", "qwertzuiop", "azertyuiop")
_LOOKS_LIKE = str.maketrans("@4310$5!7", "aaeiossit")
_FEWEST_DIFFERENT = 5
_LONGEST_UNIT = 4
_SHORTEST_NAME = 4


def weakness(password: str, *, shortest: int, names: tuple[str, ...] = ()) -> str | None:
    """Say why a password must not be used, or None. `names` are the person's own, such as the address.

    There is no rule about kinds of characters, which only make people write passwords down.
    """
    if len(password) < shortest:
        return f"has to have at least {shortest} characters; several words make a good one"
    plain = unicodedata.normalize("NFKC", password).casefold()
    if len(set(plain)) < _FEWEST_DIFFERENT or _is_repetition(plain) or _is_row(plain):
        return "is a pattern that is guessed early; several words make a better one"
    if {plain, _core(plain), _core(plain.translate(_LOOKS_LIKE))} & _common():
        return "is one of the passwords that are guessed first, or such a one with a few characters around it"
    if any(_core(plain) == part for name in names for part in _parts(name)):
        return "is your name or address with a few characters around it"
    return None


@cache
def _common() -> frozenset[str]:
    return frozenset(_FILE.read_text(encoding="utf-8").split())


def _core(text: str) -> str:
    """Drop what people put around a word to lengthen it; a text without letters stays.

    In one pass: normalised, a password has up to 18 times its characters.
    """
    first = next((place for place, char in enumerate(text) if "a" <= char <= "z"), None)
    if first is None:
        return text
    last = next(place for place in range(len(text) - 1, -1, -1) if "a" <= text[place] <= "z")
    return text[first : last + 1]


def _parts(name: str) -> set[str]:
    folded = name.casefold()
    parts = {folded, folded.partition("@")[0], *re.split(r"[^\w]+", folded)}
    return {_core(part) for part in parts if len(part) >= _SHORTEST_NAME}


def _is_repetition(text: str) -> bool:
    """Tell whether a text is one unit of few characters, again and again, or a common word twice."""
    half = text[: len(text) // 2]
    units = [text[:n] for n in range(1, _LONGEST_UNIT + 1)] + ([half] if _core(half) in _common() else [])
    return any((unit * (len(text) // len(unit) + 1))[: len(text)] == text for unit in units)


def _is_row(text: str) -> bool:
    """Tell whether a text runs along the alphabet, the digits or a keyboard, there or back, perhaps from row to row."""
    rows = [row for each in _ROWS for row in (each * 2, each[::-1] * 2)]
    position = 0
    while position < len(text):
        run = max(_common_start(text[position:], row) for row in rows)
        if run < _LONGEST_UNIT and position + run < len(text):
            return False
        position += max(run, 1)
    return True


def _common_start(text: str, row: str) -> int:
    """Tell how many characters at the start of a text stand together in a row."""
    length = 0
    while length < len(text) and text[: length + 1] in row:
        length += 1
    return length
