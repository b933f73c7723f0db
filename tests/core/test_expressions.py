"""Expressions: what they can say, and what they must never do (abuse cases 49 and 50, S85, S103)."""

import time
import tracemalloc
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent_factory.core.expressions import ExpressionFailed, ExpressionInvalid, compile_expression, names
from agent_factory.core.template import compile_template, expressions_in

CONTEXT: dict[str, Any] = {
    "input": {"message": "hello", "n": 3, "tags": ["a", "b"], "none": None, "items": {"keys": 1}},
    "classify_intent": {"output": {"intent": "billing"}},
}


def value(text: str) -> Any:
    return compile_expression(text)(CONTEXT)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("classify_intent.output.intent == 'billing'", True),
        ("input.n + 2 * 3", 9),
        ("7 // 2 + 7 % 4", 6),
        ("1 / 4", 0.25),
        ("-input.n", -3),
        ("input.missing.deeper", None),
        ("input['message']", "hello"),
        ("input.tags[1]", "b"),
        ("input.tags[-1]", "b"),
        ("input.tags[9]", None),
        ("input.message[1:3]", "el"),
        ("input.items.keys", 1),
        ("'a' in input.tags and input.n >= 3", True),
        ("not input.none", True),
        ("input.none is null", True),
        ("1 < input.n < 5", True),
        ("'yes' if input.n > 2 else 'no'", "yes"),
        ("null or 'x'", "x"),
        ("[1, input.n]", [1, 3]),
        ("len(input.tags)", 2),
        ("join(input.tags, '-')", "a-b"),
        ("upper(trim(' x '))", "X"),
        ("round(2.567, 2)", 2.57),
        ("default(input.none, 5)", 5),
        ("sum(range(4))", 6),
        ("max(input.n, 10)", 10),
        ("json(input.tags)", '["a","b"]'),
        ("parse_json('{\"a\": [1]}').a[0]", 1),
        ("unique([1, 1, 2])", [1, 2]),
        ("int('12') + float('0.5')", 12.5),
        ("replace(input.message, 'l', 'L')", "heLLo"),
        ("true == false", False),
        ("'a' + 'b'", "ab"),
        ("[1] + [2]", [1, 2]),
    ],
)
def test_an_expression_gives_its_value(text: str, expected: Any) -> None:
    assert value(text) == expected


ESCAPES = [
    "''.__class__",
    "().__class__.__bases__[0]",
    "input.__class__.__mro__",
    "input['__class__'].x if input.__init__ else 1",
    "[c for c in ().__class__.__base__.__subclasses__()]",
    "{k: v for k, v in input}",
    "(lambda: 1)()",
    "f'{input}'",
    "f'{input.__class__}'",
    "'{0.__class__}'.format(input)",
    "input.message.upper()",
    "__import__('os')",
    "open('/etc/passwd')",
    "eval('1')",
    "exec('1')",
    "getattr(input, 'x')",
    "globals()",
    "len.__self__",
    "len(*[1])",
    "len(obj=1)",
    "(x := 5)",
    "await input",
    "(yield)",
    "print",
    "print('x')",
    "b'bytes'",
    "1j",
    "...",
    "{1, 2}",
    "{'a': 1}",
    "(1, 2)",
    "input.message @ 1",
    "2 ** 3",
    "1 << 100",
    "~1",
    "input[::2]",
    "\uff49\uff4e\uff50\uff55\uff54",
    "\uff4c\uff45\uff4e('a')",
    "\U0001d4beput.message",
    "input.\uff4dessage",
    "import os",
    "input; input",
    "x = 1",
    "def f(): pass",
    "",
    "   ",
    "1 +",
    "input.message\x00",
    "type(input)",
    "vars()",
    "input.message.format(1)",
    "'%s' % input.message.__class__",
]


@pytest.mark.parametrize("text", ESCAPES)
def test_an_escape_is_refused_or_stays_a_plain_look_up(text: str) -> None:
    """Abuse 49."""
    try:
        got = compile_expression(text)(CONTEXT)
    except (ExpressionInvalid, ExpressionFailed):
        return
    # What is not refused can only have been a look-up of a key that is not there.
    assert got is None


BOMBS = [
    "9**9**9**9",
    "'a' * 999999999",
    "[0] * 999999999",
    "1" * 1999,
    "9" * 400 + "*" + "9" * 400,
    "-" * 1900 + "1",
    "not " * 490 + "1",
    "(" * 900 + "1" + ")" * 900,
    "[" * 900 + "]" * 900,
    "+".join(["1"] * 900),
    " or ".join(["x"] * 400),
    ".a" * 900,
    "x" + ".a" * 900,
    "x" + "[0]" * 600,
    "1 if 1 else " * 150 + "1",
    "range(10000000000)",
    "join(range(100000), input.big)",
    "replace(input.big, '', input.big)",
    "len(split(input.big, 'a'))",
    "range(100000) + range(100000)",
    "int('9' + '9' + '9999999999999999999999999999999')",
    "float('1e999')",
    "1e308 * 10",
    "9223372036854775807 * 9223372036854775807",
    "x" * 5000,
    "0x" + "f" * 1900,
    "round(1.5, 999999999)",
    # many large things, each of which would be allowed
    f"[{','.join(['range(100000)'] * 80)}]",
    f"sort([{','.join(['range(99999)', 'range(100000)'] * 35)}])",
    f"[{','.join(['parse_json(input.lists)'] * 60)}]",
    f"[{','.join(['split(input.words, x)'] * 60)}]",
    f"[{','.join(['replace(input.big, input.a, input.long)'] * 30)}]",
    f"[{','.join(['range(50000) + range(50000)'] * 40)}]",
    f"[{','.join(['input.many[0:]'] * 70)}]",
    f"[{','.join(['json(input.many)'] * 70)}]",
    f"input.many in [{','.join(['input.same'] * 90)}]",
    f"contains([{','.join(['input.same'] * 90)}], input.many)",
    " and ".join(["input.many == input.same"] * 40),
    f"unique([{','.join(['input.many'] * 80)}])",
    f"join([{','.join(['input.many'] * 80)}])",
]


@pytest.mark.parametrize("text", BOMBS)
def test_a_bomb_costs_neither_time_nor_memory(text: str) -> None:
    """Abuse 50."""
    many = list(range(50_000))
    given = {"big": "a" * 200_000, "a": "a", "long": "bbbb", "lists": f"[{'[],' * 300_000}[]]", "words": "ab," * 99_999}
    context = {"input": {**given, "many": many, "same": list(many)}, "x": ","}
    tracemalloc.start()
    started = time.process_time()
    try:
        with suppress(ExpressionInvalid, ExpressionFailed):
            compile_expression(text)(context)
        used, peak = time.process_time() - started, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert used < 2, "of which three quarters are those of the tracing"
    assert peak < 50_000_000


def deep(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    "text",
    ["a == b", "a in [b]", "contains([a], b)", "json(a)", "str(a)", "unique([a])", "parse_json(text)", "sort([a, b])"],
)
def test_values_that_are_nested_too_deeply_fail_as_any_other(text: str) -> None:
    """Abuse 50: not as a fault of ours."""
    context = {"a": deep(5_000), "b": deep(5_000), "text": "[" * 100_000}
    with pytest.raises(ExpressionFailed):
        compile_expression(text)(context)


@pytest.mark.parametrize(
    "text", ["int(1e300)", "ceil(1e300)", "floor(1e300)", "round(1e300)", "sum([9223372036854775807, 1])", "abs(big)"]
)
def test_no_number_comes_out_that_could_not_have_come_in(text: str) -> None:
    """Abuse 50: JSON readers stop at 64 bits, and to write a number of 300 digits takes long."""
    with pytest.raises(ExpressionFailed):
        compile_expression(text)({"big": 10**300})


def test_a_large_text_is_looked_into_as_often_as_one_likes() -> None:
    text = " or ".join(["input.log == 'x'", "'error' in input.log"] * 20)
    assert compile_expression(f"{text} or len(input.log)")({"input": {"log": "a" * 5_000_000}}) == 5_000_000


def test_numbers_and_texts_are_sorted_and_nothing_else() -> None:
    assert compile_expression("sort([3, 1.5, 2])")({}) == [1.5, 2, 3]
    assert compile_expression("sort(['b', 'a'])")({}) == ["a", "b"]
    for mixed in ("sort(['b', 1])", "sort([[1], [0]])", "sort([null, 1])"):
        with pytest.raises(ExpressionFailed):
            compile_expression(mixed)({})


@given(st.text(max_size=200))
@settings(max_examples=300, deadline=None)
def test_any_text_is_an_expression_or_a_clear_refusal(text: str) -> None:
    with suppress(ExpressionInvalid, ExpressionFailed):
        compile_expression(text)(CONTEXT)


_ATOMS = st.sampled_from(
    ["input", "input.n", "input.tags", "1", "2.5", "'a'", "null", "true", "x", "input.items", "input.message"]
)
_PIECES = st.recursive(
    _ATOMS,
    lambda inner: st.one_of(
        st.builds(
            "({} {} {})".format,
            inner,
            st.sampled_from(["+", "-", "*", "/", "//", "%", "==", "<", "in", "and", "or"]),
            inner,
        ),
        st.builds("{}[{}]".format, inner, inner),
        st.builds("[{}, {}]".format, inner, inner),
        st.builds("{}({})".format, st.sampled_from(["len", "str", "int", "sum", "sort", "json", "keys", "max"]), inner),
        st.builds("({} if {} else {})".format, inner, inner, inner),
    ),
    max_leaves=12,
)


@given(_PIECES)
@settings(max_examples=500, deadline=None)
def test_any_well_formed_expression_ends_in_a_json_value_or_a_clear_failure(text: str) -> None:
    try:
        got = compile_expression(text)(CONTEXT)
    except (ExpressionInvalid, ExpressionFailed):
        return
    assert got is None or isinstance(got, bool | int | float | str | list | dict)


def test_the_names_of_an_expression_are_known_before_it_runs() -> None:
    assert names("classify.output.x == len(input.items) and true") == {"classify", "input"}


def test_a_text_that_is_one_expression_keeps_the_type() -> None:
    assert compile_template("{{ input.n }}")(CONTEXT) == 3
    assert compile_template("{{input.tags}}")(CONTEXT) == ["a", "b"]


def test_words_around_expressions_make_a_text() -> None:
    render = compile_template(
        {"p": "Say {{input.message}} {{ input.n }} times{{ input.none }} {{input.tags}}", "k": [1]}
    )
    assert render(CONTEXT) == {"p": 'Say hello 3 times ["a","b"]', "k": [1]}


def test_what_a_value_says_is_never_evaluated_again() -> None:
    render = compile_template("{{ x }}")
    assert render({"x": "{{ input.n }}"}) == "{{ input.n }}"


def test_a_broken_expression_is_named_by_its_pointer() -> None:
    with pytest.raises(ExpressionInvalid) as caught:
        compile_template({"a": ["ok", "{{ 1 + }}"], "b/c": "{{ x.__class__ }}"})
    assert [e.pointer for e in caught.value.errors] == ["/a/1", "/b~1c"]


def test_the_expressions_of_a_document_are_listed_with_their_places() -> None:
    assert expressions_in({"a": "{{x}} and {{y}}", "b": [1, "{{z}}"]}) == [("/a", "x"), ("/a", "y"), ("/b/1", "z")]


def test_a_lone_brace_is_plain_text() -> None:
    assert compile_template("a {{ b")(CONTEXT) == "a {{ b"


def test_all_expressions_of_a_template_together_make_no_more_than_one_may() -> None:
    """Abuse 50: else a list of a thousand small bombs would be a large one."""
    render = compile_template(["{{ range(100000) }}"] * 1_000)
    tracemalloc.start()
    started = time.process_time()
    try:
        with pytest.raises(ExpressionFailed):
            render({})
        used, peak = time.process_time() - started, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert used < 2
    assert peak < 50_000_000
    assert compile_template(["{{ range(3) }}"] * 1_000)({}) == [[0, 1, 2]] * 1_000
