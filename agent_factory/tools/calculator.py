"""Exact arithmetic on decimal numbers, by a parser of our own with bounds on everything (S80)."""

import math
import re
from collections.abc import Callable
from decimal import ROUND_HALF_UP, Context, Decimal, DecimalException, DivisionByZero, InvalidOperation, Overflow
from typing import NamedTuple

from agent_factory.core.plugin import Settings, ToolPlugin
from agent_factory.core.tool import Tool, ToolContext, ToolError
from agent_factory.kit.errors import FieldError, Invalid, Kind

_MAX_LENGTH = 2_000
"""Characters of an expression."""

_MAX_NESTING = 50
"""Brackets, signs and powers inside one another."""

_MAX_BITS = 13_000
"""Size of a whole number, about 3,900 digits; Python itself prints at most 4,300."""

_MAX_FACTORIAL = 1_000

_SHOWN = 28
"""Significant digits of a result; the 22 more that are calculated absorb the rounding of the steps."""

_EXACT = Context(prec=50, Emax=4_000, Emin=-4_000, traps=[DivisionByZero, InvalidOperation, Overflow])

Number = int | Decimal


class CalculationError(ToolError):
    """An expression that can be read but has no value: a division by zero, a number too large."""

    kind = Kind.INVALID
    code = "calculation_failed"
    title = "The calculation has no result"


class Token(NamedTuple):
    """A piece of an expression and where it stands."""

    kind: str
    text: str
    at: int


_TOKEN = re.compile(
    r"(?P<number>(?:\d[\d_]*\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)"
    r"|(?P<name>[A-Za-z][A-Za-z0-9_]*)"
    r"|(?P<sign>\*\*|//|[-+*/%^(),])"
    r"|(?P<space>\s+)"
)
_SIGNS = str.maketrans({"×": "*", "·": "*", "÷": "/", "−": "-", "–": "-"})  # noqa: RUF001 - what people paste
_PRODUCTS = {"*", "/", "//", "%"}


def calculate(expression: str) -> str:
    """Give the value of an expression as text.

    `+ - * / // % ** ^`, brackets, percentages (`17.5% of 2340`), constants and
    functions. Decimal numbers stay exact, halves round up. Raises `Invalid` for
    what is no expression, `CalculationError` for one that has no value.
    """
    if len(expression) > _MAX_LENGTH:
        raise _invalid(f"longer than {_MAX_LENGTH} characters")
    parser = _Parser(expression.translate(_SIGNS))
    try:
        value = parser.whole()
        return _show(value, parser.places)
    except DivisionByZero:
        raise CalculationError("The expression divides by zero.") from None
    except Overflow:
        raise _too_large() from None
    except DecimalException:
        raise CalculationError("The expression has no value, or none that can be calculated.") from None


class _Parser:
    """Reads and evaluates at once, so that nothing outlives the bounds of the text."""

    def __init__(self, text: str) -> None:
        self._tokens = _tokens(text)
        self._next = 0
        self._depth = 0
        self.places: int | None = None
        """Decimals that the outermost call, if it is `round`, asks to be shown."""

    def whole(self) -> Number:
        value = self._sum()
        if self._peek().kind != "end":
            raise _invalid(f"{self._peek().text!r} at character {self._peek().at + 1} is not expected")
        return value

    def _peek(self) -> Token:
        return self._tokens[min(self._next, len(self._tokens) - 1)]

    def _take(self, text: str) -> bool:
        found = self._peek().text == text
        self._next += found
        return found

    def _expect(self, text: str) -> None:
        if not self._take(text):
            raise _invalid(f"{text!r} is missing at character {self._peek().at + 1}")

    def _sum(self) -> Number:
        value = self._product()
        while (sign := self._peek().text) in {"+", "-"}:
            self._next += 1
            right = self._product()
            value = _plus(value, right if sign == "+" else _minus(right))
            self.places = None
        return value

    def _product(self) -> Number:
        value = self._signed()
        while (sign := self._peek().text) in _PRODUCTS:
            self._next += 1
            value = self._percent(value) if sign == "%" and self._is_percent() else _times(sign, value, self._signed())
            self.places = None
        return value

    def _is_percent(self) -> bool:
        """Tell whether the `%` just read is a percent sign: what follows cannot be divided by."""
        follower = self._peek()
        return follower.text in {"of", "*", "/", ")", ","} or follower.kind == "end"

    def _percent(self, value: Number) -> Number:
        part = _EXACT.divide(Decimal(value), Decimal(100))
        return _times("*", part, self._signed()) if self._take("of") else part

    def _signed(self) -> Number:
        self._depth += 1
        if self._depth > _MAX_NESTING:
            raise _invalid(f"nested deeper than {_MAX_NESTING} levels")
        if self._take("-"):
            value = _minus(self._signed())
        elif self._take("+"):
            value = self._signed()
        else:
            value = self._power()
        self._depth -= 1
        return value

    def _power(self) -> Number:
        base = self._atom()
        if self._take("**") or self._take("^"):
            self.places = None
            return _power(base, self._signed())
        return base

    def _atom(self) -> Number:
        token = self._peek()
        self._next += 1
        self.places = None
        if token.kind == "number":
            return _number(token)
        if token.kind == "name" and self._take("("):
            return self._call(token)
        if token.kind == "name" and token.text in _CONSTANTS:
            return _CONSTANTS[token.text]
        if token.text == "(":
            value = self._sum()
            self._expect(")")
            return value
        if token.kind == "name":
            raise _invalid(f"{token.text[:40]!r} is no known name; known are {', '.join((*_CONSTANTS, *_FUNCTIONS))}")
        raise _invalid(f"a number is missing at character {token.at + 1}")

    def _call(self, name: Token) -> Number:
        if name.text not in _FUNCTIONS:
            raise _invalid(f"{name.text[:40]!r} is no known function; known are {', '.join(_FUNCTIONS)}")
        values: list[Number] = []
        while not self._take(")"):
            if values:
                self._expect(",")
            values.append(self._sum())
        function, least, most = _FUNCTIONS[name.text]
        if not least <= len(values) <= most:
            raise _invalid(f"{name.text!r} takes {least} to {most} values, not {len(values)}")
        try:
            value = _bounded(function(*values))
        except (ValueError, ZeroDivisionError):
            raise CalculationError(f"{name.text!r} has no value there.") from None
        except OverflowError:
            raise _too_large() from None
        self.places = int(values[1]) if name.text == "round" and len(values) > 1 else None
        return value


def _tokens(text: str) -> list[Token]:
    tokens: list[Token] = []
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None or match.lastgroup is None:
            raise _invalid(f"{text[at]!r} at character {at + 1} is not part of arithmetic")
        if match.lastgroup != "space":
            tokens.append(Token(match.lastgroup, match[0], at))
        at = match.end()
    return [*tokens, Token("end", "", at)]


def _number(token: Token) -> Number:
    text = token.text.replace("_", "")
    value = int(text) if text.isdecimal() else _EXACT.create_decimal(text)
    return _bounded(value)


def _plus(left: Number, right: Number) -> Number:
    if isinstance(left, int) and isinstance(right, int):
        return _bounded(left + right)
    return _EXACT.add(Decimal(left), Decimal(right))


def _times(sign: str, left: Number, right: Number) -> Number:
    whole = isinstance(left, int) and isinstance(right, int)
    if sign == "*":
        return _bounded(left * right) if whole else _EXACT.multiply(Decimal(left), Decimal(right))
    if right == 0:
        raise CalculationError("The expression divides by zero.")
    if sign == "/":
        if isinstance(left, int) and isinstance(right, int) and left % right == 0:
            return left // right
        return _EXACT.divide(Decimal(left), Decimal(right))
    if isinstance(left, int) and isinstance(right, int):
        return left // right if sign == "//" else left % right
    quotient = _EXACT.divide_int(Decimal(left), Decimal(right))
    rest = _EXACT.remainder(Decimal(left), Decimal(right))
    if rest and (rest < 0) != (right < 0):  # round down, as for whole numbers
        quotient, rest = quotient - 1, _EXACT.add(rest, Decimal(right))
    return int(quotient) if sign == "//" else rest


def _minus(value: Number) -> Number:
    return -value if isinstance(value, int) else _EXACT.minus(value)


def _power(base: Number, exponent: Number) -> Number:
    if isinstance(base, int) and isinstance(exponent, int) and exponent >= 0:
        if base not in {-1, 0, 1} and base.bit_length() * exponent > _MAX_BITS + base.bit_length():
            raise _too_large()
        return _bounded(base**exponent)
    if base == 0 and exponent < 0:
        raise CalculationError("The expression divides by zero.")
    return _EXACT.power(Decimal(base), Decimal(exponent))


def _bounded(value: Number) -> Number:
    if isinstance(value, int) and value.bit_length() > _MAX_BITS:
        raise _too_large()
    return value


def _too_large() -> CalculationError:
    return CalculationError("A number grows too large; at most about 3,900 digits are possible.")


def _invalid(detail: str) -> Invalid:
    return Invalid(
        f"This is no expression that the calculator knows: {detail}.", errors=[FieldError("/expression", detail)]
    )


def _whole(value: Number) -> int:
    if value != int(value):
        raise ValueError
    return int(value)


def _round(value: Number, places: Number = 0) -> Number:
    digits = _whole(places)
    if not -30 <= digits <= 30:  # noqa: PLR2004 - more places than a result shows
        raise ValueError
    rounded = Decimal(value).quantize(Decimal(1).scaleb(-digits), rounding=ROUND_HALF_UP, context=_EXACT)
    return int(rounded) if digits <= 0 else rounded


def _abs(value: Number) -> Number:
    return _minus(value) if value < 0 else value


def _exp(value: Number) -> Decimal:
    return _EXACT.exp(Decimal(value))


def _log2(value: Number) -> Decimal:
    return _log(value, 2)


def _log10(value: Number) -> Decimal:
    if value <= 0:
        raise ValueError
    return _EXACT.log10(Decimal(value))


def _factorial(value: Number) -> int:
    if value > _MAX_FACTORIAL:
        raise _too_large()
    return math.factorial(_whole(value))


def _log(value: Number, base: Number | None = None) -> Decimal:
    if value <= 0 or (base is not None and base <= 0):
        raise ValueError
    natural = _EXACT.ln(Decimal(value))
    return natural if base is None else _EXACT.divide(natural, _EXACT.ln(Decimal(base)))


def _sqrt(value: Number) -> Number:
    root = _EXACT.sqrt(Decimal(value))
    return int(root) if isinstance(value, int) and root == int(root) and int(root) ** 2 == value else root


def _sum_of(*values: Number) -> Number:
    total: Number = 0
    for value in values:
        total = _plus(total, value)
    return total


def _mean(*values: Number) -> Number:
    return _times("/", _sum_of(*values), len(values))


def _by_float(function: Callable[..., float]) -> Callable[..., Decimal]:
    def calculated(*values: Number) -> Decimal:
        result = function(*(float(v) for v in values))
        if not math.isfinite(result):
            raise OverflowError
        return _EXACT.create_decimal(repr(result))

    return calculated


def _of_whole(function: Callable[..., int]) -> Callable[..., int]:
    def calculated(*values: Number) -> int:
        return function(*(_whole(v) for v in values))

    return calculated


_MANY = 200

_CONSTANTS: dict[str, Number] = {
    "pi": Decimal("3.14159265358979323846264338327950288419716939937511"),
    "e": Decimal("2.71828182845904523536028747135266249775724709369996"),
    "tau": Decimal("6.28318530717958647692528676655900576839433879875021"),
}

_FUNCTIONS: dict[str, tuple[Callable[..., Number], int, int]] = {
    "abs": (_abs, 1, 1),
    "round": (_round, 1, 2),
    "floor": (math.floor, 1, 1),
    "ceil": (math.ceil, 1, 1),
    "min": (min, 1, _MANY),
    "max": (max, 1, _MANY),
    "sum": (_sum_of, 1, _MANY),
    "mean": (_mean, 1, _MANY),
    "sqrt": (_sqrt, 1, 1),
    "exp": (_exp, 1, 1),
    "ln": (_log, 1, 1),
    "log": (_log, 1, 2),
    "log2": (_log2, 1, 1),
    "log10": (_log10, 1, 1),
    "factorial": (_factorial, 1, 1),
    "gcd": (_of_whole(math.gcd), 1, _MANY),
    "lcm": (_of_whole(math.lcm), 1, 10),
    "hypot": (_by_float(math.hypot), 1, 10),
    "sin": (_by_float(math.sin), 1, 1),
    "cos": (_by_float(math.cos), 1, 1),
    "tan": (_by_float(math.tan), 1, 1),
    "asin": (_by_float(math.asin), 1, 1),
    "acos": (_by_float(math.acos), 1, 1),
    "atan": (_by_float(math.atan), 1, 1),
    "atan2": (_by_float(math.atan2), 2, 2),
    "degrees": (_by_float(math.degrees), 1, 1),
    "radians": (_by_float(math.radians), 1, 1),
}
"""Each function with the least and the most values that it takes."""


def _show(value: Number, places: int | None) -> str:
    if isinstance(value, int):
        return str(value)
    if places is not None and places > 0:
        return f"{value:f}"
    rounded = Context(prec=_SHOWN, rounding=ROUND_HALF_UP).plus(value).normalize()
    if rounded == 0:
        return "0"
    far = rounded.adjusted()
    return f"{rounded:f}" if -_SHOWN < far < _SHOWN + _SHOWN else str(rounded)


_PARAMETERS = {
    "type": "object",
    "properties": {
        "expression": {
            "type": "string",
            "minLength": 1,
            "maxLength": _MAX_LENGTH,
            "description": "For example: round(17.5% of 2340, 2), (3 + 4) * 2 ** 10, sqrt(2), log(8, 2).",
        }
    },
    "required": ["expression"],
    "additionalProperties": False,
}


async def _answer(expression: str) -> str:
    return calculate(expression)


async def _make(_: Settings, name: str | None, _context: ToolContext) -> list[Tool]:
    return [Tool(name or plugin.name, plugin.description, _PARAMETERS, _answer, pure=True, timeout=5.0)]


plugin = ToolPlugin(
    "calculator",
    "Calculates an arithmetic expression exactly: + - * / // % **, brackets, percentages and the usual functions.",
    Settings,
    _make,
)
