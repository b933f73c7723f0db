"""The built-in demo answers by rules, and says so (S115)."""

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent_factory.core.message import Message, ToolCall, ToolResult, user
from agent_factory.core.model import Done, ModelRequest, ModelSettings, OutputSchema, TextDelta, ToolCallDelta, ToolSpec
from agent_factory.core.schema import Schema
from agent_factory.core.tool import Tool
from agent_factory.kit.catalog import Catalog
from agent_factory.providers.demo import NOTICE, Demo
from agent_factory.providers.demonstration.arithmetic import expression
from agent_factory.providers.demonstration.minimal import document
from agent_factory.providers.demonstration.plan import planned

DEMO = Demo()


def spec(name: str, *required: str, **properties: Any) -> ToolSpec:
    wanted = required or tuple(properties)
    schema = {"type": "object", "properties": properties, "required": list(wanted), "additionalProperties": False}
    return ToolSpec(name, f"{name}.", schema)


TEXT: dict[str, Any] = {"type": "string", "minLength": 1}
CALCULATOR = spec("calculator", expression=TEXT)
WEB = spec("web_search", query=TEXT)
READ = spec("file_read", "path", path=TEXT, first_line={"type": "integer", "minimum": 1})
WRITE = spec("file_write", path=TEXT, content=TEXT)
LIST = spec("file_list", folder=TEXT)
FETCH = spec("http_request", "url", url=TEXT, method={"enum": ["GET", "POST"]})
TIME = ToolSpec("current_time", "Time", {"type": "object", "properties": {"timezone": TEXT}})
SQL = spec("sql_query", sql=TEXT)
WEATHER = spec("get_weather", "city", city=TEXT, unit={"type": "string", "enum": ["celsius", "fahrenheit"]})
ORDER = spec("lookup_order", order_id={"type": "integer"})
ALL = (CALCULATOR, WEB, READ, WRITE, LIST, FETCH, TIME, SQL, WEATHER, ORDER)


async def calls(said: str, *tools: ToolSpec) -> list[tuple[str, dict[str, Any]]]:
    response = await DEMO.inference(ModelRequest("demo", (user(said),), tools=tools or ALL))
    return [(c.name, json.loads(c.arguments)) for c in response.message.tool_calls]


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("What is 17.5 % of 2340, rounded to cents?", "round(2340 * 17.5 / 100, 2)"),
        ("2+2", "2+2"),
        ("What is 2 plus 2?", "2 + 2"),
        ("(3 + 4) * 2 ** 3 = ?", "(3 + 4) * 2 ** 3"),
        ("12 times 12 please", "12 * 12"),
        ("Divide 10 by 4", "10 / 4"),
        ("add 3 and 4", "3 + 4"),
        ("How much is 20% off $1,299.99?", "1299.99 * (1 - 20 / 100)"),
        ("increase 200 by 15 percent", "200 * (1 + 15 / 100)"),
        ("50 is what percent of 80?", "50 * 100 / 80"),
        ("the square root of 144", "sqrt(144)"),
        ("sum of 1, 2 and 3", "1 + 2 + 3"),
        ("average of 4, 5, 9", "(4 + 5 + 9) / 3"),
        ("1234 / 7 to two decimal places", "round(1234 / 7, 2)"),
        ("2^10", "2 ** 10"),
        ("100 mod 7", "100 % 7"),
    ],
)
async def test_arithmetic_becomes_an_expression_that_the_calculator_takes(said: str, expected: str) -> None:
    assert expression(said) == expected
    assert await calls(said) == [("calculator", {"expression": expected})]
    calculator: Any = Catalog[Any]("agent_factory.tools").get("calculator")
    tool: Tool = (await calculator.build({}))[0]
    assert await tool.call({"expression": expected})


@pytest.mark.parametrize(
    "said",
    [
        "hello",
        "see you on 2024-01-05",
        "call 555-1234",
        "version 1.2.3",
        "I have 3 cats and 4 dogs",
        "",
        "a - b",
        "10/12/2024",
    ],
)
async def test_numbers_alone_are_no_arithmetic(said: str) -> None:
    assert expression(said) is None
    assert await calls(said) == []


async def test_the_result_is_told_in_the_precision_that_was_asked_for() -> None:
    said = user("What is 17.5 % of 2340, rounded to cents?")
    first = await DEMO.inference(ModelRequest("demo", (said,), tools=(CALCULATOR,)))
    result = Message("tool", (ToolResult(first.message.tool_calls[0].id, "calculator", "409.5"),))
    answer = await DEMO.inference(ModelRequest("demo", (said, first.message, result), tools=(CALCULATOR,)))
    assert "409.50" in answer.message.text
    assert NOTICE in answer.message.text
    assert answer.finish == "stop"


@pytest.mark.parametrize(
    ("said", "name", "arguments"),
    [
        ("Search the web for the newest PostgreSQL", "web_search", {"query": "the newest PostgreSQL"}),
        ("Please look up who wrote Faust", "web_search", {"query": "who wrote Faust"}),
        ("Read notes/today.md", "file_read", {"path": "notes/today.md"}),
        ("Show me the file data.csv", "file_read", {"path": "data.csv"}),
        ("List the files in reports/", "file_list", {"folder": "reports/"}),
        ('Write "hello" to out.txt', "file_write", {"path": "out.txt", "content": "hello"}),
        ("Fetch https://example.com/a?b=1.", "http_request", {"url": "https://example.com/a?b=1"}),
        ("What time is it in Tokyo?", "current_time", {"timezone": "Asia/Tokyo"}),
        ("what time is it", "current_time", {}),
        ("SELECT name FROM users", "sql_query", {"sql": "SELECT name FROM users"}),
        ("How is the weather in New York?", "get_weather", {"city": "New York"}),
        ("weather for Oslo in fahrenheit, unit please", "get_weather", {"city": "Oslo", "unit": "fahrenheit"}),
        ("What about order 4711?", "lookup_order", {"order_id": 4711}),
        ("use lookup_order with 12", "lookup_order", {"order_id": 12}),
    ],
)
async def test_a_tool_is_called_where_the_message_asks_for_it(said: str, name: str, arguments: dict[str, Any]) -> None:
    assert await calls(said) == [(name, arguments)]


async def test_several_wishes_are_called_side_by_side() -> None:
    made = await calls("What is 2 + 2, and how is the weather in Paris?")
    assert [name for name, _ in made] == ["calculator", "get_weather"]


async def test_each_result_is_told_and_a_failed_one_as_such() -> None:
    said = user("calculator and get_weather, please: 1 + 1 in Rome")
    made = Message("assistant", (ToolCall("a", "calculator", "{}"), ToolCall("b", "get_weather", "{}")))
    results = Message(
        "tool", (ToolResult("a", "calculator", "2"), ToolResult("b", "get_weather", "down", is_error=True))
    )
    text = (await DEMO.inference(ModelRequest("demo", (said, made, results), tools=ALL))).message.text
    assert "The result is 2." in text
    assert "get_weather failed: down" in text


async def test_a_new_message_is_a_new_turn() -> None:
    old = (
        user("1 + 1"),
        Message("assistant", (ToolCall("a", "calculator", "{}"),)),
        Message("tool", (ToolResult("a", "calculator", "2"),)),
    )
    response = await DEMO.inference(ModelRequest("demo", (*old, user("2 + 3")), tools=ALL))
    assert json.loads(response.message.tool_calls[0].arguments) == {"expression": "2 + 3"}


async def test_a_tool_choice_is_obeyed() -> None:
    async def called(choice: str) -> list[str]:
        request = ModelRequest("demo", (user("hi"),), tools=ALL, settings=ModelSettings(tool_choice=choice))
        return [c.name for c in (await DEMO.inference(request)).message.tool_calls]

    assert await called("none") == await called("auto") == []
    assert await called("required") == ["calculator"]
    assert await called("get_weather") == ["get_weather"]


async def test_it_streams_word_by_word_and_ends_with_done() -> None:
    events = [e async for e in DEMO.stream(ModelRequest("demo", (user("hello there"),)))]
    pieces = [e.text for e in events if isinstance(e, TextDelta)]
    last = events[-1]
    assert len(pieces) > 3
    assert isinstance(last, Done)
    assert "".join(pieces) == last.response.message.text
    assert last.response.usage.total_tokens > 0
    tools = [e async for e in DEMO.stream(ModelRequest("demo", (user("1 + 1"),), tools=ALL))]
    assert isinstance(tools[0], ToolCallDelta)


@pytest.mark.parametrize("said", ["hello", "", "What is 1 + 1?", "x" * 100_000])
async def test_every_answer_says_what_it_is(said: str) -> None:
    assert NOTICE in (await DEMO.inference(ModelRequest("demo", (user(said),)))).message.text


async def test_it_lists_itself_and_costs_nothing() -> None:
    assert [m.id for m in await DEMO.get_available_models()] == ["demo"]
    assert [Decimal(p.input_usd_per_million) for p in await DEMO.get_pricing()] == [Decimal(0)]


SCHEMAS: list[dict[str, Any]] = [
    {
        "type": "object",
        "properties": {"answer": {"type": "string"}, "ok": {"type": "boolean"}},
        "required": ["answer", "ok"],
    },
    {
        "type": "object",
        "properties": {"n": {"type": "integer", "minimum": 3, "maximum": 9, "multipleOf": 4}},
        "required": ["n"],
    },
    {"type": "object", "properties": {"x": {"type": "number", "exclusiveMinimum": 0}}, "required": ["x"]},
    {"type": "object", "properties": {"day": {"type": "string", "format": "date"}}, "required": ["day"]},
    {"type": "object", "properties": {"s": {"type": "string", "minLength": 200}}, "required": ["s"]},
    {"type": "object", "properties": {"s": {"type": "string", "maxLength": 3}}, "required": ["s"]},
    {"type": "array", "items": {"type": "string"}, "minItems": 2, "uniqueItems": True},
    {"enum": ["red", "green"]},
    {"const": {"a": 1}},
    {"type": ["null", "string"]},
    {"anyOf": [{"type": "null"}, {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}]},
    {"allOf": [{"type": "object", "required": ["a"]}, {"properties": {"a": {"type": "boolean"}}}]},
    {
        "$defs": {"p": {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}},
        "$ref": "#/$defs/p",
    },
    {
        "$defs": {
            "node": {
                "type": "object",
                "properties": {"next": {"$ref": "#/$defs/node"}, "v": {"type": "integer"}},
                "required": ["v"],
            }
        },
        "$ref": "#/$defs/node",
    },
    {"type": "object", "minProperties": 2},
    {},
]


@pytest.mark.parametrize("schema", SCHEMAS)
async def test_an_output_schema_is_met(schema: dict[str, Any]) -> None:
    request = ModelRequest("demo", (user("hello"),), output=OutputSchema("answer", schema))
    text = (await DEMO.inference(request)).message.text
    assert Schema(schema).faults(json.loads(text)) == []


async def test_a_schema_with_room_for_words_gets_them_and_the_notice() -> None:
    request = ModelRequest("demo", (user("hello"),), output=OutputSchema("answer", SCHEMAS[0]))
    made = json.loads((await DEMO.inference(request)).message.text)
    assert made["ok"] is True
    assert NOTICE in made["answer"]


LEAF = st.sampled_from(
    [
        {"type": "string"},
        {"type": "string", "format": "email"},
        {"type": "integer", "minimum": -3},
        {"type": "number", "maximum": -1.5},
        {"type": "boolean"},
        {"enum": [1, "a"]},
        {"type": "null"},
    ]
)


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": sorted(properties), "additionalProperties": False}


NESTED: st.SearchStrategy[dict[str, Any]] = st.recursive(
    LEAF,
    lambda inner: (
        st.dictionaries(st.sampled_from("abc"), inner, max_size=3).map(_object)
        | inner.map(lambda s: {"type": "array", "items": s, "minItems": 1})
        | st.lists(inner, min_size=1, max_size=2).map(lambda s: {"anyOf": s})
    ),
    max_leaves=8,
)


@settings(max_examples=200)
@given(NESTED)
def test_any_plain_schema_is_met(schema: dict[str, Any]) -> None:
    assert Schema(schema).faults(document(schema, "words")) == []


@settings(max_examples=200)
@given(st.text(max_size=200))
def test_any_message_gives_arguments_that_fit(said: str) -> None:
    for tool, arguments in planned(said, ALL):
        assert Schema(tool.parameters).faults(arguments) == []


@pytest.mark.parametrize("said", ["1 " + "+ 1 " * 50_000, "(" * 50_000, "%" * 50_000, "9" * 50_000, "a/" * 50_000])
def test_a_very_long_message_is_read_in_no_time(said: str) -> None:
    planned(said, ALL)
