"""Expressions over JSON values: parsed to closures, bounded, with nothing of Python reachable (S85, S103).

The grammar is a part of Python's: literals, names, `a.b`, `a["b"]`, `a[0]`,
comparison, `and or not`, `+ - * / % //`, `x if c else y`, lists and calls of
the functions below. `a.b` looks a key up and gives null where there is none.
"""

import ast
import math
import operator
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, cast

from agent_factory.core.functions import DEEP, FUNCTIONS, MAX_ITEMS, MAX_TEXT, number, sized, weighed
from agent_factory.kit.errors import Invalid

MAX_CHARACTERS = 2_000
MAX_NODES = 400
MAX_DEPTH = 40
"""Nesting of brackets in the text, and of nodes in the tree."""

MAX_WORK = 8_000_000
"""What one evaluation may make, and read through and through, in characters; an item counts as `_ITEM` of them."""

_ITEM = 10
_THROUGH = 3
"""How much longer it takes to walk through all that a value holds than to copy its text."""

_PARSED = 4
"""How much more memory a parsed value may take than its text."""

_STRINGS = re.compile(r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*\"""")

Value = Any


class Context(Protocol):
    """What expressions are evaluated over: values by their names."""

    def get(self, key: str, /) -> Value:
        """Look a name up; unknown names are null."""
        ...


Expression = Callable[[Context], Value]


class Evaluation:
    """The values of one evaluation, and how much it may still read and make.

    An expression that is evaluated over one, rather than over plain values,
    is a part of it: all such parts together make no more than one may.
    """

    __slots__ = ("_left", "get")

    def __init__(self, context: Context) -> None:
        self.get = context.get
        self._left = MAX_WORK

    def spend(self, value: Value, times: int = 1) -> None:
        """Count a value that was made, without what it holds: each is bounded, and by this all of them together."""
        if isinstance(value, str):
            self._left -= len(value) * times
        elif isinstance(value, list | dict):
            self._left -= len(cast("list[Value]", value)) * _ITEM * times
        if self._left < 0:
            raise ValueError(_TOO_MUCH)

    def weigh(self, value: Value) -> None:
        """Count a value that is read with all that it holds."""
        try:
            self._left -= weighed(value, self._left // _THROUGH) * _THROUGH
        except ValueError:
            raise ValueError(_TOO_MUCH) from None


_DEEP = frozenset((list, dict))
_TOO_MUCH = "this is more than expressions may read and make at once"
_Part = Callable[[Evaluation], Value]


class ExpressionInvalid(Invalid):
    """A text that is no expression of ours."""

    code = "expression_invalid"
    title = "Not a valid expression"


class ExpressionFailed(Invalid):
    """An expression that cannot be evaluated over these values."""

    code = "expression_failed"
    title = "The expression failed"


def compile_expression(text: str) -> Expression:
    """Turn a text into a function of a JSON object.

    Raises `ExpressionInvalid` for what is not of the grammar; the function
    raises `ExpressionFailed` where the values do not fit, for example a text
    divided by a number. Time and memory of both are bounded by the limits of
    this module, whatever text and values say.
    """
    return compile_named(text)[0]


def compile_named(text: str) -> tuple[Expression, set[str]]:
    """Do what `compile_expression` and `names` do, reading the text once."""
    tree = _parse(text.strip())
    nodes = list(ast.walk(tree))
    if len(nodes) > MAX_NODES:
        raise ExpressionInvalid(f"An expression has at most {MAX_NODES} parts.")
    run = _compile(tree.body, 0)

    def evaluate(context: Context) -> Value:
        try:
            return run(context if isinstance(context, Evaluation) else Evaluation(context))
        except ExpressionFailed:
            raise
        except RecursionError:
            raise ExpressionFailed(f"{text.strip()[:200]!r}: the values are nested too deeply") from None
        except (TypeError, ValueError, ArithmeticError, LookupError) as error:
            raise ExpressionFailed(f"{text.strip()[:200]!r}: {error}") from None

    return evaluate, _names(nodes)


def names(text: str) -> set[str]:
    """List the names that an expression reads, without those of functions."""
    return _names(list(ast.walk(_parse(text.strip()))))


def _names(nodes: Sequence[ast.AST]) -> set[str]:
    called = {id(n.func) for n in nodes if isinstance(n, ast.Call)}
    return {n.id for n in nodes if isinstance(n, ast.Name) and id(n) not in called and n.id not in _WORDS}


def _parse(text: str) -> ast.Expression:
    if not text:
        raise ExpressionInvalid("The expression is empty.")
    if len(text) > MAX_CHARACTERS:
        raise ExpressionInvalid(f"An expression has at most {MAX_CHARACTERS} characters.")
    if "\0" in text:
        raise ExpressionInvalid("An expression holds no NUL.")
    if not text.isascii() and not _STRINGS.sub("", text).isascii():
        raise ExpressionInvalid("Outside of quotes an expression is plain ASCII.")
    depth = deepest = 0
    for char in text:
        depth += (char in "([{") - (char in ")]}")
        deepest = max(deepest, depth)
    if deepest > MAX_DEPTH:
        raise ExpressionInvalid(f"Brackets nest at most {MAX_DEPTH} deep.")
    try:
        # What Python only warns of, such as `1in x` or an unknown escape, is an error here.
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return ast.parse(text, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        message = error.msg if isinstance(error, SyntaxError) else "not readable"
        raise ExpressionInvalid(f"{text[:200]!r}: {message}.") from None


_WORDS: dict[str, Value] = {"true": True, "false": False, "null": None, "none": None}


def _compile(node: ast.expr, depth: int) -> _Part:
    if depth > MAX_DEPTH:
        raise ExpressionInvalid(f"An expression nests at most {MAX_DEPTH} deep.")
    compiler = _COMPILERS.get(type(node))
    if compiler is None:
        raise ExpressionInvalid(f"{type(node).__name__} is not part of expressions.")
    return compiler(node, depth + 1)


def _constant(node: ast.Constant, _depth: int) -> _Part:
    value = node.value
    if value is not None and not isinstance(value, bool | int | float | str):
        raise ExpressionInvalid(f"A literal of type {type(value).__name__} is not part of expressions.")
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            number(value)
        except (ValueError, OverflowError) as error:
            raise ExpressionInvalid(str(error)) from None
    return lambda _context: value


def _identifier(name: str) -> str:
    if name.startswith("__"):
        raise ExpressionInvalid(f"{name[:50]!r} is not a name that expressions know.")
    return name


def _name(node: ast.Name, _depth: int) -> _Part:
    name = _identifier(node.id)
    if name in _WORDS:
        value = _WORDS[name]
        return lambda _context: value
    return lambda context: context.get(name)


def _get(holder: Value, key: Value) -> Value:
    if isinstance(holder, Mapping):
        return cast("dict[str, Value]", holder).get(key) if isinstance(key, str) else None
    if isinstance(holder, list | str) and isinstance(key, int) and not isinstance(key, bool):
        items = cast("list[Value] | str", holder)
        return items[key] if -len(items) <= key < len(items) else None
    if holder is None:
        return None
    raise TypeError(f"{type_name(holder)} has no element {str(key)[:50]!r}")


def _attribute(node: ast.Attribute, depth: int) -> _Part:
    name, holder = _identifier(node.attr), _compile(node.value, depth)

    def run(context: Evaluation) -> Value:
        return _get(holder(context), name)

    return run


def _subscript(node: ast.Subscript, depth: int) -> _Part:
    holder = _compile(node.value, depth)
    if isinstance(node.slice, ast.Slice):
        return _slice(holder, node.slice, depth)
    key = _compile(node.slice, depth)
    return lambda context: _get(holder(context), key(context))


def _slice(holder: _Part, part: ast.Slice, depth: int) -> _Part:
    if part.step is not None:
        raise ExpressionInvalid("A slice has no step here.")
    low = _compile(part.lower, depth) if part.lower else None
    high = _compile(part.upper, depth) if part.upper else None

    def run(context: Evaluation) -> Value:
        value = holder(context)
        if not isinstance(value, list | str):
            raise TypeError(f"{type_name(value)} cannot be sliced")
        items = cast("list[Value] | str", value)
        cut = items[low(context) if low else None : high(context) if high else None]
        context.spend(cut)
        return cut

    return run


def _list(node: ast.List, depth: int) -> _Part:
    items = [_compile(item, depth) for item in node.elts]
    return lambda context: [item(context) for item in items]


def _both(a: Value, b: Value, word: str) -> None:
    numbers = _is_number(a) and _is_number(b)
    if not (numbers or (isinstance(a, str) and isinstance(b, str))):
        raise TypeError(f"{type_name(a)} and {type_name(b)} cannot be compared by {word}")


def _is_number(value: Value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _ordered(compare: Callable[[Value, Value], bool], word: str) -> Callable[[Value, Value], bool]:
    def run(a: Value, b: Value) -> bool:
        _both(a, b, word)
        return compare(a, b)

    return run


def _in(a: Value, b: Value) -> bool:
    if isinstance(b, str) and not isinstance(a, str):
        raise TypeError(f"{type_name(a)} cannot be in a text")
    if not isinstance(b, str | list | Mapping):
        raise TypeError(f"nothing can be in {type_name(b)}")
    return a in b


_COMPARES: dict[type[ast.cmpop], Callable[[Value, Value], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: _ordered(operator.lt, "<"),
    ast.LtE: _ordered(operator.le, "<="),
    ast.Gt: _ordered(operator.gt, ">"),
    ast.GtE: _ordered(operator.ge, ">="),
    ast.In: _in,
    ast.NotIn: lambda a, b: not _in(a, b),
    ast.Is: lambda a, b: a is b if b is None or a is None else a == b,
    ast.IsNot: lambda a, b: a is not b if b is None or a is None else a != b,
}


def _compare(node: ast.Compare, depth: int) -> _Part:
    first = _compile(node.left, depth)
    rest = [(_COMPARES[type(op)], _compile(right, depth)) for op, right in zip(node.ops, node.comparators, strict=True)]

    def run(context: Evaluation) -> Value:
        left = first(context)
        for compare, right in rest:
            value = right(context)
            if type(left) in _DEEP and type(value) in _DEEP:
                context.weigh(left)
                context.weigh(value)
            if not compare(left, value):
                return False
            left = value
        return True

    return run


def _bool(node: ast.BoolOp, depth: int) -> _Part:
    parts = [_compile(value, depth) for value in node.values]
    stop = isinstance(node.op, ast.Or)

    def run(context: Evaluation) -> Value:
        value = None
        for part in parts:
            value = part(context)
            if bool(value) is stop:
                return value
        return value

    return run


def _unary(node: ast.UnaryOp, depth: int) -> _Part:
    operand = _compile(node.operand, depth)
    if isinstance(node.op, ast.Not):
        return lambda context: not operand(context)
    if isinstance(node.op, ast.USub):
        return lambda context: -number(operand(context))
    if isinstance(node.op, ast.UAdd):
        return lambda context: number(operand(context))
    raise ExpressionInvalid("~ is not part of expressions.")


def _add(a: Value, b: Value) -> Value:
    if isinstance(a, str) and isinstance(b, str):
        sized(len(a) + len(b), MAX_TEXT)
        return a + b
    if isinstance(a, list) and isinstance(b, list):
        left, right = cast("list[Value]", a), cast("list[Value]", b)
        sized(len(left) + len(right), MAX_ITEMS)
        return left + right
    return number(a) + number(b)


_OPERATORS: dict[type[ast.operator], Callable[[Value, Value], Value]] = {
    ast.Add: _add,
    ast.Sub: lambda a, b: number(a) - number(b),
    ast.Mult: lambda a, b: number(a) * number(b),
    ast.Div: lambda a, b: number(a) / number(b),
    ast.FloorDiv: lambda a, b: number(a) // number(b),
    ast.Mod: lambda a, b: number(a) % number(b),
}


def _binary(node: ast.BinOp, depth: int) -> _Part:
    calculate = _OPERATORS.get(type(node.op))
    if calculate is None:
        raise ExpressionInvalid(f"{type(node.op).__name__} is not part of expressions.")
    left, right = _compile(node.left, depth), _compile(node.right, depth)

    def run(context: Evaluation) -> Value:
        value = calculate(left(context), right(context))
        if isinstance(value, int | float):
            return number(value)
        context.spend(value)
        return value

    return run


def _if(node: ast.IfExp, depth: int) -> _Part:
    test, yes, no = _compile(node.test, depth), _compile(node.body, depth), _compile(node.orelse, depth)
    return lambda context: yes(context) if test(context) else no(context)


def _call(node: ast.Call, depth: int) -> _Part:
    if not isinstance(node.func, ast.Name) or node.func.id not in FUNCTIONS:
        known = ", ".join(sorted(FUNCTIONS))
        raise ExpressionInvalid(f"Only these functions can be called: {known}.")
    if node.keywords or any(isinstance(a, ast.Starred) for a in node.args):
        raise ExpressionInvalid("Functions take plain values by position.")
    name = node.func.id
    function, least, most = FUNCTIONS[name]
    deep = name in DEEP
    if not least <= len(node.args) <= most:
        raise ExpressionInvalid(f"{name} takes {least} to {most} values, not {len(node.args)}.")
    arguments = [_compile(a, depth) for a in node.args]

    def run(context: Evaluation) -> Value:
        values = [a(context) for a in arguments]
        for value in values:
            if deep and type(value) in _DEEP:
                context.weigh(value)
        if name == "parse_json":
            context.spend(values[0], _PARSED)
        made: Value = function(*values)
        context.spend(made)
        return made

    return run


_COMPILERS: dict[type[ast.expr], Callable[[Any, int], _Part]] = {
    ast.Constant: _constant,
    ast.Name: _name,
    ast.Attribute: _attribute,
    ast.Subscript: _subscript,
    ast.List: _list,
    ast.Compare: _compare,
    ast.BoolOp: _bool,
    ast.UnaryOp: _unary,
    ast.BinOp: _binary,
    ast.IfExp: _if,
    ast.Call: _call,
}


def type_name(value: Value) -> str:
    """Name a JSON value's type for a message."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, int | float):
        return "a number" if math.isfinite(value) else "no finite number"
    if isinstance(value, str):
        return "a text"
    return "a list" if isinstance(value, list) else "an object"
