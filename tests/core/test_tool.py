"""A tool: its schema, what its handler receives, and how it fails (S75-S77)."""

import asyncio
import threading
from collections.abc import Generator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, Literal, Optional

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from agent_factory.core.deadline import ExhaustedError, OverdueError, Threads, within
from agent_factory.core.schema import MAX_DEPTH, Schema
from agent_factory.core.tool import (
    Tool,
    ToolContext,
    ToolError,
    ToolResultTooLarge,
    ToolTimeout,
    ToolUnavailable,
    tool,
)
from agent_factory.kit.errors import FieldError, Invalid


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class Place(BaseModel):
    name: str
    zip: int = 0


@dataclass
class Point:
    x: int
    y: int


async def _given(function: Any, arguments: dict[str, Any]) -> list[Any]:
    """Give the values that a function receives when it is called as a tool."""
    seen: list[Any] = []

    async def handler(**values: Any) -> str:
        seen.extend(values.values())
        return ""

    made = tool(function)
    spied = Tool(made.name, made.description, made.parameters, handler, convert=made._convert)
    await spied.call(arguments)
    return seen


async def test_a_handler_receives_values_of_the_types_that_it_names() -> None:
    """S76"""

    async def visit(place: Place, point: Point, when: datetime, colour: Colour, price: Decimal) -> str: ...

    arguments = {
        "place": {"name": "Ulm", "zip": 89073},
        "point": {"x": 1, "y": 2},
        "when": "2026-02-03T04:05:06Z",
        "colour": "blue",
        "price": "1.10",
    }
    assert await _given(visit, arguments) == [
        Place(name="Ulm", zip=89073),
        Point(1, 2),
        datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC),
        Colour.BLUE,
        Decimal("1.10"),
    ]


def test_the_schema_says_what_the_type_hints_say() -> None:
    """S76"""

    @tool
    def search(
        *,
        query: Annotated[str, Field(min_length=1)],
        limit: int = 10,
        order: Literal["asc", "desc"] = "asc",
        tags: list[str] | None = None,
        near: Optional[Place] = None,  # noqa: UP045 - the old spelling has to work too
        note: Annotated[str, "A bare note."] = "",
    ) -> str: ...

    assert search.parameters == {
        "type": "object",
        "additionalProperties": False,
        "required": ["query"],
        "properties": {
            "query": {"type": "string", "minLength": 1},
            "limit": {"type": "integer", "default": 10},
            "order": {"type": "string", "enum": ["asc", "desc"], "default": "asc"},
            "tags": {"anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "null"}]},
            "near": {"anyOf": [{"$ref": "#/$defs/Place"}, {"type": "null"}]},
            "note": {"type": "string", "default": "", "description": "A bare note."},
        },
        "$defs": {
            "Place": {
                "title": "Place",
                "type": "object",
                "properties": {
                    "name": {"title": "Name", "type": "string"},
                    "zip": {"title": "Zip", "type": "integer", "default": 0},
                },
                "required": ["name"],
            }
        },
    }
    Schema({"$schema": "https://json-schema.org/draft/2020-12/schema", **search.parameters})


def google(city: str, days: int = 1) -> str:
    """Tell the weather.

    It is a forecast.

    Args:
        city (str): The city,
            with its country.
        days: How many days.

    Returns:
        Words.
    """
    return f"{city} {days}"


def numpy(city: str, days: int = 1) -> str:
    """Tell the weather.

    It is a forecast.

    Parameters
    ----------
    city : str
        The city,
        with its country.
    days : int, optional
        How many days.

    Returns
    -------
    str
        Words.
    """
    return f"{city} {days}"


def sphinx(city: str, days: int = 1) -> str:
    """Tell the weather.

    It is a forecast.

    :param str city: The city,
        with its country.
    :param days: How many days.
    :type days: int
    :returns: Words.
    """
    return f"{city} {days}"


@pytest.mark.parametrize("function", [google, numpy, sphinx])
def test_the_docstring_describes_the_tool_and_its_parameters_in_each_usual_form(function: Any) -> None:
    """S76"""
    made = tool(function)
    assert made.description == "Tell the weather.\n\nIt is a forecast."
    assert made.parameters["properties"]["city"]["description"] == "The city, with its country."
    assert made.parameters["properties"]["days"]["description"] == "How many days."


def test_a_function_without_a_docstring_is_described_by_its_name() -> None:
    def send_letter(to: str) -> str: ...

    assert tool(send_letter).description == "send letter"


def test_a_parameter_that_is_named_context_but_is_text_belongs_to_the_model() -> None:
    def ask(context: str) -> str: ...

    assert list(tool(ask).parameters["properties"]) == ["context"]


async def test_the_context_is_handed_over_and_hidden_from_the_model() -> None:
    @tool
    async def who(context: ToolContext) -> str:
        return context.run_id

    assert who.parameters["properties"] == {}
    assert await who.call({}, ToolContext(run_id="run_1")) == "run_1"


@pytest.mark.parametrize("word", ["args", "kwargs"])
def test_variable_parameters_are_refused_by_name(word: str) -> None:
    def many(*args: int) -> str: ...
    def more(**kwargs: int) -> str: ...

    with pytest.raises(Invalid) as caught:
        tool({"args": many, "kwargs": more}[word])
    assert caught.value.errors[0].pointer == f"/{word}"


def test_a_type_that_json_cannot_carry_is_refused_when_the_tool_is_made() -> None:
    def hold(lock: threading.Lock) -> str: ...
    def point(to: "Nowhere") -> str: ...  # type: ignore[name-defined]  # noqa: F821 - that is the point

    for function in (hold, point):
        with pytest.raises(Invalid):
            tool(function)


@pytest.mark.parametrize("name", ["", "two words", "ünicode", "a" * 65])
def test_a_name_that_models_cannot_say_is_refused(name: str) -> None:
    with pytest.raises(Invalid) as caught:
        Tool(name, "", {"type": "object"}, google)
    assert caught.value.errors[0].pointer == "/name"


@pytest.mark.parametrize(
    ("arguments", "pointer"),
    [
        ({}, ""),
        ({"a": "1", "b": 2.0}, "/a"),
        ({"a": 1.5}, "/a"),
        ({"a": True}, "/a"),
        ({"a": 1, "b": float("nan")}, "/b"),
        ({"a": 1, "b": float("inf")}, "/b"),
        ({"a": 1, "b": None}, "/b"),
        ({"a": 1, "unknown": 1}, ""),
        ({"a": 1, "c": "\ud800"}, "/c"),
        ({"a": 1, "c": b"x"}, "/c"),
        ({"a": 1, "when": "yesterday"}, "/when"),
        ([], ""),
        ("text", ""),
        (None, ""),
    ],
)
async def test_arguments_that_do_not_fit_are_refused_with_a_pointer(arguments: Any, pointer: str) -> None:
    """S77"""

    @tool
    async def add(a: int, b: float = 0, c: str = "", when: datetime | None = None) -> str: ...

    with pytest.raises(Invalid) as caught:
        await add.call(arguments)
    assert caught.value.errors[0].pointer == pointer


async def test_nesting_beyond_the_limit_is_refused_however_deep_it_is() -> None:
    @tool
    async def take(anything: Any) -> str:
        return "taken"

    def nested(levels: int) -> Any:
        value: Any = 1
        for _ in range(levels):
            value = [value]
        return value

    assert await take.call({"anything": nested(MAX_DEPTH - 1)}) == "taken"
    for levels in (MAX_DEPTH, 100_000):
        with pytest.raises(Invalid):
            await take.call({"anything": nested(levels)})


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=())),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=15,
)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(["a", "b", "place", "tags", "kind", "x"]), anything, max_size=6))
async def test_whatever_comes_in_the_handler_sees_only_values_of_its_types(arguments: dict[str, Any]) -> None:
    """S77"""

    @tool
    async def check(
        a: int,
        b: float = 0.0,
        place: Place | None = None,
        tags: list[str] = [],  # noqa: B006 - is never changed
        kind: Literal["u", "v"] = "u",
    ) -> dict[str, Any]:
        assert type(a) is int
        assert type(b) is float
        assert b - b == 0
        assert place is None or isinstance(place, Place)
        assert all(type(t) is str for t in tags)
        assert kind in ("u", "v")
        return {"a": a, "b": b, "place": place, "tags": tags}

    with suppress(Invalid):
        result = await check.call(arguments)
        assert isinstance(msgspec.json.decode(result), dict)


@settings(deadline=None)
@given(anything)
async def test_whatever_a_tool_returns_its_result_is_text_that_can_be_stored(value: Any) -> None:
    @tool(max_result=100)
    async def give() -> Any:
        return value

    try:
        result = await give.call({})
    except ToolError:
        return
    assert len(result) <= 100
    result.encode()
    assert "\0" not in result


class Silent(Exception):
    def __str__(self) -> str:
        raise ValueError("no words")


@pytest.mark.parametrize(
    "error",
    [
        ValueError("bad\nthing"),
        KeyError("k"),
        RecursionError(),
        StopIteration(1),
        StopAsyncIteration(),
        SystemExit(1),
        MemoryError(),
        TimeoutError("mine"),
        Silent(),
    ],
)
@pytest.mark.parametrize("blocking", [True, False])
async def test_whatever_a_tool_raises_ends_in_one_error(error: BaseException, blocking: bool) -> None:
    @tool(name="broken")
    def sync() -> str:
        raise error

    @tool(name="broken")
    async def slow() -> str:
        raise error

    with pytest.raises(ToolError) as caught:
        await (sync if blocking else slow).call({})
    assert type(caught.value) is ToolError
    assert "'broken' raised" in caught.value.detail


async def test_an_error_of_the_system_does_not_tell_the_path_on_the_server() -> None:
    @tool
    def read() -> str:
        with open("/no/such/place") as file:  # noqa: PTH123 - the error is the point
            return file.read()

    with pytest.raises(ToolError) as caught:
        await read.call({})
    assert "/no/such" not in caught.value.detail


async def test_a_problem_that_a_tool_means_comes_through_as_it_is() -> None:
    meant = Invalid("no", errors=[FieldError("/x", "no")])

    @tool
    async def refuse() -> str:
        raise meant

    with pytest.raises(Invalid) as caught:
        await refuse.call({})
    assert caught.value is meant


async def test_a_long_text_is_cut_with_a_note_and_a_flood_is_refused() -> None:
    @tool(max_result=1_000)
    async def flood(size: int) -> str:
        return "x" * size

    cut = await flood.call({"size": 5_000})
    assert len(cut) == 1_000
    assert cut.endswith("[cut: 5000 characters in all]")
    with pytest.raises(ToolResultTooLarge):
        await flood.call({"size": 50_000_000})


async def test_a_flood_of_values_is_refused_before_it_is_written_out() -> None:
    @tool
    async def flood() -> list[Any]:
        return [[0] * 1_000] * 50_000

    with pytest.raises(ToolResultTooLarge):
        await flood.call({})


async def test_a_hanging_tool_ends_at_its_deadline_even_if_it_swallows_its_cancellation() -> None:
    stop = asyncio.Event()

    @tool(timeout=0.01)
    async def stubborn() -> str:
        while not stop.is_set():
            try:
                await stop.wait()
            except asyncio.CancelledError:
                continue
        return ""

    with pytest.raises(ToolTimeout):
        await stubborn.call({})
    stop.set()


async def test_a_cancelled_call_cancels_the_tool() -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    @tool
    async def wait() -> str:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return ""

    call = asyncio.create_task(wait.call({}))
    await begun.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert ended.is_set()


async def test_a_tool_that_cancels_itself_fails_without_cancelling_its_caller() -> None:
    @tool
    async def suicidal() -> str:
        raise asyncio.CancelledError

    with pytest.raises(ToolError):
        await suicidal.call({})


async def test_a_function_that_returns_an_awaitable_is_awaited() -> None:
    async def later() -> str:
        return "later"

    @tool
    def now() -> Any:
        return later()

    assert await now.call({}) == "later"


@pytest.fixture
def gate() -> Generator[threading.Event, None, None]:
    """Holds blocking functions back until it is set; set at the latest when the test ends."""
    event = threading.Event()
    yield event
    event.set()


async def test_a_thread_that_hangs_is_left_alone_and_counted_until_it_comes_back(gate: threading.Event) -> None:
    threads = Threads(most=2, most_stuck=1)
    came_back = threading.Event()

    def hang() -> None:
        gate.wait()
        came_back.set()

    with pytest.raises(OverdueError):
        await threads.run(hang, 0.01)
    assert threads.stuck == 1
    with pytest.raises(ExhaustedError):
        await threads.run(lambda: 1, 1)
    gate.set()
    await asyncio.to_thread(came_back.wait)
    while threads.stuck:  # noqa: ASYNC110 - a thread that comes back tells nobody
        await asyncio.sleep(0)
    assert (await threads.run(lambda: 1, 1)).value == 1


async def test_calls_beyond_the_threads_wait_for_a_free_one(gate: threading.Event) -> None:
    threads = Threads(most=2, most_stuck=2)
    names: set[str] = set()

    def work() -> None:
        gate.wait()
        names.add(threading.current_thread().name + str(threading.get_ident()))

    calls = [asyncio.create_task(threads.run(work, 5)) for _ in range(10)]
    await asyncio.sleep(0)
    gate.set()
    await asyncio.gather(*calls)
    assert 1 <= len(names) <= 2


async def test_a_call_that_is_cancelled_while_it_waits_for_a_thread_never_begins(gate: threading.Event) -> None:
    threads = Threads(most=1, most_stuck=1)
    begun: list[int] = []
    first = asyncio.create_task(threads.run(gate.wait, 5))
    await asyncio.sleep(0)
    second = asyncio.create_task(threads.run(lambda: begun.append(2), 5))
    await asyncio.sleep(0)
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    gate.set()
    await first
    await threads.run(lambda: begun.append(3), 5)
    assert begun == [3]


async def test_sixty_hanging_blocking_tools_leave_no_more_threads_than_allowed(gate: threading.Event) -> None:
    threads = Threads(most=4, most_stuck=3)
    ends = await asyncio.gather(*(threads.run(gate.wait, 0.01) for _ in range(60)), return_exceptions=True)
    assert {type(e) for e in ends} <= {OverdueError, ExhaustedError}
    assert threads.stuck <= 4


async def test_a_loop_survives_a_task_that_is_abandoned() -> None:
    released = asyncio.Event()

    async def stubborn() -> None:
        while True:
            try:
                await released.wait()
                raise ValueError("an end that nobody waits for")
            except asyncio.CancelledError:
                continue

    with pytest.raises(OverdueError):
        await within(stubborn(), 0.01)
    released.set()


def test_a_resource_that_is_not_there_is_named_in_the_error() -> None:
    with pytest.raises(ToolUnavailable, match="'mine' needs 'mcp servers'"):
        ToolContext().need("mcp_servers", "mine")


def test_a_fingerprint_changes_with_every_word_that_a_model_is_told() -> None:
    parameters: dict[str, Any] = {"type": "object", "properties": {"a": {"type": "string"}}}
    one = Tool("a", "b", parameters, google)
    assert one.fingerprint == Tool("a", "b", dict(parameters), numpy).fingerprint
    assert (
        len(
            {
                one.fingerprint,
                Tool("a", "c", parameters, google).fingerprint,
                Tool("a", "b", {"type": "object"}, google).fingerprint,
                Tool("x", "b", parameters, google).fingerprint,
            }
        )
        == 4
    )


def test_a_decorated_function_can_still_be_called_as_one() -> None:
    assert tool(google)("Ulm", days=2) == "Ulm 2"
