"""JSONPath: the examples of RFC 9535, and what it must never do (S85)."""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent_factory.core.jsonpath import JsonPathFailed, JsonPathInvalid, compile_path

STORE: dict[str, Any] = {
    "store": {
        "book": [
            {"category": "reference", "author": "Nigel Rees", "title": "Sayings of the Century", "price": 8.95},
            {"category": "fiction", "author": "Evelyn Waugh", "title": "Sword of Honour", "price": 12.99},
            {
                "category": "fiction",
                "author": "Herman Melville",
                "title": "Moby Dick",
                "isbn": "0-553-21311-3",
                "price": 8.99,
            },
            {
                "category": "fiction",
                "author": "J. R. R. Tolkien",
                "title": "Rings",
                "isbn": "0-395-19395-8",
                "price": 22.99,
            },
        ],
        "bicycle": {"color": "red", "price": 399},
    }
}
BOOKS: list[dict[str, Any]] = STORE["store"]["book"]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        # section 1.5
        ("$.store.book[*].author", [b["author"] for b in BOOKS]),
        ("$..author", [b["author"] for b in BOOKS]),
        ("$.store.*", [BOOKS, STORE["store"]["bicycle"]]),
        ("$.store..price", [8.95, 12.99, 8.99, 22.99, 399]),
        ("$..book[2]", [BOOKS[2]]),
        ("$..book[2].author", ["Herman Melville"]),
        ("$..book[2].publisher", []),
        ("$..book[-1]", [BOOKS[3]]),
        ("$..book[0,1]", BOOKS[:2]),
        ("$..book[:2]", BOOKS[:2]),
        ("$..book[?@.isbn]", BOOKS[2:]),
        ("$..book[?@.price<10]", [BOOKS[0], BOOKS[2]]),
        # a path that can name only one place gives what is there
        ("$", STORE),
        ("$.store.bicycle.color", "red"),
        ("$['store'][\"bicycle\"]['color']", "red"),
        ("$.store.book[1].price", 12.99),
        ("$.store.book[-2].price", 8.99),
        ("$.store.book[9]", None),
        ("$.nothing.here", None),
    ],
)
def test_the_examples_of_the_standard(path: str, expected: Any) -> None:
    assert compile_path(path)(STORE) == expected


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        # slices, section 2.3.4.3
        ("$[1:3]", list("abcdefg"), ["b", "c"]),
        ("$[5:]", list("abcdefg"), ["f", "g"]),
        ("$[1:5:2]", list("abcdefg"), ["b", "d"]),
        ("$[5:1:-2]", list("abcdefg"), ["f", "d"]),
        ("$[::-1]", list("abcdefg"), list("gfedcba")),
        ("$[::0]", list("abc"), []),
        # filters, section 2.3.5.3
        ("$[?@.b == 'kilo']", [{"b": "j"}, {"b": "kilo"}], [{"b": "kilo"}]),
        ("$[?(@.b == 'kilo')]", [{"b": "j"}, {"b": "kilo"}], [{"b": "kilo"}]),
        ("$[?@>3.5]", [3, 5, 1, 2, 4, 6], [5, 4, 6]),
        ("$[?@.*]", [1, [], {}, [1], {"a": 1}], [[1], {"a": 1}]),
        ("$[?@[?@.b]]", [[{"b": 1}], [{}]], [[{"b": 1}]]),
        ("$[?@<3, ?@<3]", [1, 5], [1, 1]),
        ("$[?@<2 || @.b == 'k']", [1, 3, {"b": "k"}], [1, {"b": "k"}]),
        ("$[?@>1 && @<4]", [1, 2, 3, 4], [2, 3]),
        ("$[?!@.b]", [{"b": 1}, {"a": 1}], [{"a": 1}]),
        ("$[?!(@ > 1)]", [1, 2], [1]),
        ("$[?@.b != 1]", [{"b": 1}, {"b": 2}, {}], [{"b": 2}, {}]),
        ("$[?@.x == @.y]", [{}, {"x": 1}, {"x": 1, "y": 1}], [{}, {"x": 1, "y": 1}]),
        ("$[?@ == true]", [1, True], [True]),
        ("$[?@ == 1]", [1, 1.0, True, "1"], [1, 1.0]),
        ("$[?@ == null]", [None, 0, False], [None]),
        ("$[?@ <= 'b']", ["a", "b", "c", 1], ["a", "b"]),
        ("$.a[?@ == $.b]", {"a": [1, 2], "b": 2}, [2]),
        ("$[?@ == $[0]]", [[1, {"a": 2}], [1, {"a": 2}], [1]], [[1, {"a": 2}], [1, {"a": 2}]]),
        ("$[?length(@) == 2]", ["ab", [1, 2], {"a": 1}, 5], ["ab", [1, 2]]),
        ("$[?length(@.a) >= 2]", [{"a": "xy"}, {"a": "x"}, {}], [{"a": "xy"}]),
        ("$[?count(@.*) == 1]", [[1], [1, 2], {"a": 1}], [[1], {"a": 1}]),
        ("$[?value(@..b) == 3]", [{"a": {"b": 3}}, {"a": [{"b": 3}, {"b": 3}]}], [{"a": {"b": 3}}]),
        # names, section 2.3.1.3 and 2.7
        ("$['j j']['k.k']", {"j j": {"k.k": 3}}, 3),
        ('$["\'"]', {"'": 1}, 1),
        ("$['\\'']", {"'": 1}, 1),
        ("$['\\u263a']", {"☺": 1}, 1),
        ("$['\\ud83d\\ude00']", {"😀": 1}, 1),
        ("$.ключ", {"ключ": 1}, 1),
        ("$ .a [ 'b' ]", {"a": {"b": 1}}, 1),
        ("$..[*]", {"a": [1]}, [[1], 1]),
        ("$.*", "text", []),
    ],
)
def test_selectors_and_filters(path: str, value: Any, expected: Any) -> None:
    assert compile_path(path)(value) == expected


@pytest.mark.parametrize(
    "path",
    [
        "",
        "a",
        "@.a",
        "$.",
        "$..",
        "$.a.",
        "$[",
        "$[]",
        "$['a",
        "$['a'",
        "$[01]",
        "$[-0]",
        "$[9007199254740993]",
        "$[1.5]",
        "$.1",
        "$ ",
        " $",
        "$a",
        "$[?]",
        "$[?@.a ==]",
        "$[?== 1]",
        "$[?@.a = 1]",
        "$[?@.* == 1]",
        "$[?@.a == 'x' 'y']",
        "$[?(@.a]",
        "$[?true]",
        "$[?1]",
        "$[?match(@.a, 'a.*')]",
        "$[?search(@.a, 'a.*')]",
        "$[?open('x')]",
        "$['\\ud800']",
        "$['\\x']",
        "$['\n']",
        "$[?" + "(" * 200 + "@.a" + ")" * 200 + "]",
        "$" + "[?@" * 60 + "]" * 60,
        "$" + ".a" * 60,
        "$." + "a" * 2000,
        "$[?@ == " + "9" * 50 + "]",
    ],
)
def test_what_is_no_path_is_refused_in_words(path: str) -> None:
    with pytest.raises(JsonPathInvalid) as refused:
        compile_path(path)
    assert refused.value.code == "jsonpath_invalid"


BIG: list[Any] = [[["x" * 1000] * 100] * 100] * 100


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("$..*..*..*..*", [[[[[[1] * 10] * 10] * 10] * 10] * 10] * 10),
        ("$[?count($[?@ == $[0]]) > 0]", ["x" * 10_000] * 3_000),
        ("$[?count($..*) > 0]", BIG),
        ("$[?$[?$[?@ > 5000]]]", list(range(2000, 0, -1))),
        ("$[?count($[0:5000]) > 9]", list(range(5000))),
        ("$..[?@ == $]", BIG),
        ("$[2][?$[0] == $[1]]", [list(range(50_000)), list(range(50_000)), [1] * 1_000]),
        ("$[2][?$[0] == $[1]]", [dict.fromkeys(map(str, range(50_000)), 1)] * 2 + [[1] * 1_000]),
        ("$[2][?$[0] < $[1]]", ["x" * 1_000_000 + "a", "x" * 1_000_000 + "b", [1] * 1_000]),
    ],
)
def test_a_path_that_looks_at_too_much_ends_with_an_error(path: str, value: Any) -> None:
    """Abuse case 50: the time of a path is bounded whatever it and the values say."""
    found = compile_path(path)
    with pytest.raises(JsonPathFailed):
        found(value)


def test_values_nested_too_deeply_to_compare_end_with_an_error() -> None:
    deep: Any = 1
    for _ in range(5000):
        deep = [deep]
    with pytest.raises(JsonPathFailed):
        compile_path("$[?@ == $[1]]")([deep, deep])


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["a", "b", "c"]), inner, max_size=3),
    max_leaves=20,
)
PIECES = "$ @ .a .b .. [ ] * 0 -1 : , ? ( ) == < ! && || 'a' \" 1 length( count( value( true null .* [*] [?@.a] \\ 1e9"
pieces = st.sampled_from(PIECES.split())


@settings(max_examples=1000, deadline=None)
@given(st.lists(pieces, max_size=12).map(lambda p: "$" + "".join(p)) | st.text(max_size=20), json_values)
def test_any_text_is_a_path_or_is_refused(path: str, value: Any) -> None:
    with suppress(JsonPathInvalid, JsonPathFailed):
        compile_path(path)(value)


@settings(max_examples=300, deadline=None)
@given(json_values)
def test_descendants_are_all_values_but_the_root_in_order(value: Any) -> None:
    def below(of: Any) -> list[Any]:
        children = list(of.values()) if isinstance(of, dict) else of if isinstance(of, list) else []
        return children + [x for child in children for x in below(child)]

    assert compile_path("$..*")(value) == below(value)
