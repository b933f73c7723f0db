"""Finds the arithmetic that a message asks for, as an expression for the calculator."""

import re

_N = r"[-+]?\d+(?:\.\d+)?"
_THOUSANDS = re.compile(r"(?<![\d.])\d{1,3}(?:,\d{3})+(?!\d)")
_NOT_ARITHMETIC = re.compile(
    r"https?://\S+|\b\d{4}-\d{1,2}-\d{1,2}\b|\b\d{1,2}/\d{1,2}/\d{2,4}\b|\b\d+(?:\.\d+){2,}\b|\b\d{3}-\d{4}\b"
)
_CURRENCY = re.compile(r"[$€£¥](?=\s?\d)|(?<=\d)\s?(?:€|£|¥|USD|EUR|GBP|dollars?|euros?|pounds?)\b", re.IGNORECASE)
_WORDS = (
    (r"\bmultiplied\s+by\b|\btimes\b|[×·]|(?<=\d)\s*\bx\b(?=\s*\d)", "*"),  # noqa: RUF001 - the sign that people type
    (r"\bdivided\s+by\b|\bover\b(?=\s*\d)|÷", "/"),
    (r"\bplus\b", "+"),
    (r"\bminus\b|−", "-"),  # noqa: RUF001 - the sign that people type
    (r"\bmodulo\b|\bmod\b", "%"),
    (r"\b(?:raised\s+)?to\s+the\s+power\s+of\b|\^", "**"),
    (r"\bsquared\b", "** 2"),
    (r"\bcubed\b", "** 3"),
)
_PERCENT = r"\s*(?:%|percent\b|per\s+cent\b)\s*"
_PHRASES: tuple[tuple[str, str], ...] = (
    (rf"({_N}){_PERCENT}of\s+({_N})", "{1} * {0} / 100"),
    (rf"({_N}){_PERCENT}(?:off|discount\s+on)\s+({_N})", "{1} * (1 - {0} / 100)"),
    (rf"\b(?:increase|raise)\s+({_N})\s+by\s+({_N}){_PERCENT}", "{0} * (1 + {1} / 100)"),
    (rf"\b(?:decrease|reduce|lower)\s+({_N})\s+by\s+({_N}){_PERCENT}", "{0} * (1 - {1} / 100)"),
    (rf"\b({_N})\s+(?:plus|\+)\s+({_N}){_PERCENT}", "{0} * (1 + {1} / 100)"),
    (rf"\b({_N})\s+(?:minus|-)\s+({_N}){_PERCENT}", "{0} * (1 - {1} / 100)"),
    (rf"\bwhat\s+percent(?:age)?\s+(?:of\s+({_N})\s+is\s+({_N}))", "{1} * 100 / {0}"),
    (rf"\b({_N})\s+(?:is|as)\s+(?:what|a)\s+percent(?:age)?\s+of\s+({_N})", "{0} * 100 / {1}"),
    (rf"\badd\s+({_N})\s+(?:and|to)\s+({_N})", "{0} + {1}"),
    (rf"\bsubtract\s+({_N})\s+from\s+({_N})", "{1} - {0}"),
    (rf"\bmultiply\s+({_N})\s+(?:by|with|and)\s+({_N})", "{0} * {1}"),
    (rf"\bdivide\s+({_N})\s+by\s+({_N})", "{0} / {1}"),
    (rf"\bsquare\s+root\s+of\s+({_N})", "sqrt({0})"),
)
_LISTS = ((r"\b(?:sum|total)\s+of\b", "+"), (r"\bproduct\s+of\b", "*"), (r"\b(?:average|mean)\s+of\b", "mean"))
_NUMBER_LIST = re.compile(rf"\s*({_N}(?:(?:\s*,\s*|\s+and\s+|\s*,\s*and\s+){_N})+)")
_SYMBOLS = re.compile(
    r"(?:(?:sqrt|abs|round|min|max|floor|ceil|log|log10|exp|sin|cos|tan)\s*\(|[\d.()+\-*/%,]|\s(?=[\d.()+\-*/%]))+"
)
_OPERATION = re.compile(r"\d\s*\)*\s*(?:\*\*|//|[+\-*/%])\s*\(*\s*[-+]?(?:[\d.]|[a-z]+\()|[a-z]\s*\(\s*[-+]?\d")
_ROUNDED = (
    (re.compile(r"\bcents?\b|\bpenn(?:y|ies)\b"), 2),
    (re.compile(r"\b(?:whole|integer|nearest\s+(?:one|unit|dollar|euro))\b"), 0),
)
_PLACES = re.compile(
    r"\b(?:to|with)\s+(\d|one|two|three|four|five|six)\s+(?:decimals?|digits?)(?:\s+places?)?", re.IGNORECASE
)
_NUMBER_WORDS = {"one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6}
_MOST = 2000


def expression(message: str) -> str | None:
    """Give the expression that a message asks to work out, or None where it asks for none.

    For example "What is 17.5 % of 2340, rounded to cents?" gives
    `round(2340 * 17.5 / 100, 2)`.
    """
    text = _plain(message)
    found = _phrase(text) or _list(text) or _symbols(text)
    if found is None:
        return None
    places = decimals(message)
    return found if places is None else f"round({found}, {places})"


def decimals(message: str) -> int | None:
    """Give the number of decimal places that a message asks to round to, if it does."""
    text = message.lower()
    match = _PLACES.search(text)
    if match:
        return _NUMBER_WORDS.get(match[1]) or int(match[1])
    if "round" not in text and "nearest" not in text:
        return None
    return next((places for pattern, places in _ROUNDED if pattern.search(text)), None)


def _plain(message: str) -> str:
    text = _NOT_ARITHMETIC.sub(" ", message[:_MOST])
    text = _THOUSANDS.sub(lambda m: m[0].replace(",", ""), text)
    return _CURRENCY.sub("", text)


def _phrase(text: str) -> str | None:
    for pattern, shape in _PHRASES:
        match = re.search(pattern, text, re.IGNORECASE)
        if match:
            return shape.format(*match.groups())
    return None


def _list(text: str) -> str | None:
    for pattern, operator in _LISTS:
        start = re.search(pattern, text, re.IGNORECASE)
        numbers = start and _NUMBER_LIST.match(text, start.end())
        if numbers:
            values = re.findall(_N, numbers[1])
            if operator == "mean":
                return f"({' + '.join(values)}) / {len(values)}"
            return f" {operator} ".join(values)
    return None


def _symbols(text: str) -> str | None:
    for pattern, sign in _WORDS:
        text = re.sub(pattern, f" {sign} ", text, flags=re.IGNORECASE)
    text = re.sub(r"\s+", " ", text)
    candidates = [m[0].strip(" ,.") for m in _SYMBOLS.finditer(text.lower())]
    usable = [c for c in candidates if _OPERATION.search(c) and c.count("(") == c.count(")")]
    return max(usable, key=len, default=None)
