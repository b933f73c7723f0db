"""Every file in `tools/` keeps the promises of a tool: one suite over the whole catalogue (S75)."""

import asyncio
import math
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent_factory.core.schema import Schema
from agent_factory.core.tool import Tool, ToolContext, ToolFactory
from agent_factory.kit.catalog import Catalog
from agent_factory.kit.errors import Invalid, Problem

CATALOG: Catalog[ToolFactory] = Catalog("agent_factory.tools")
NAMES = CATALOG.names()
FOREIGN = {"mcp"}
"""Plugins whose tools have the schemas of somebody else."""

pytestmark = pytest.mark.parametrize("name", NAMES)


Built = Callable[[str], Awaitable[list[Tool]]]

_SAMPLES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "string": lambda schema: "x" * schema.get("minLength", 1),
    "integer": lambda schema: schema.get("minimum", 1),
    "number": lambda schema: schema.get("minimum", 1),
    "boolean": lambda _: True,
    "array": lambda _: [],
    "object": lambda schema: {k: _sample(schema["properties"][k]) for k in schema.get("required", ())},
}


def _sample(schema: dict[str, Any]) -> Any:
    """Make a small value that a schema accepts; enough for the schemas of these tools."""
    return schema["enum"][0] if "enum" in schema else _SAMPLES[schema["type"]](schema)


async def _end(call: Awaitable[str]) -> str | Problem:
    try:
        return await call
    except Problem as problem:
        return problem


def _valid(tool: Tool) -> dict[str, Any]:
    return _sample(tool.parameters)


def test_a_plugin_is_named_like_its_file_and_says_what_it_does(name: str) -> None:
    plugin = CATALOG.get(name)
    assert plugin.name == name
    assert 20 <= len(plugin.description) <= 300


def test_its_settings_have_a_schema_that_accepts_its_example_and_refuses_unknown_keys(name: str) -> None:
    schema = CATALOG.get(name).config_schema
    compiled = Schema({"$schema": "https://json-schema.org/draft/2020-12/schema", **schema})
    example = schema["examples"][0]
    assert compiled.accepts(example)
    assert not compiled.accepts({**example, "no_such_setting": 1})


async def test_it_is_built_with_its_example_and_refuses_unknown_settings(
    name: str, context: ToolContext, built: Built
) -> None:
    plugin = CATALOG.get(name)
    assert await built(name)
    with pytest.raises(Invalid) as caught:
        await plugin.build({**plugin.config_schema["examples"][0], "no_such_setting": 1}, None, context)
    assert "/config/no_such_setting" in [e.pointer for e in caught.value.errors]


async def test_a_name_of_the_authors_own_is_taken_over(name: str, context: ToolContext) -> None:
    plugin = CATALOG.get(name)
    tools = await plugin.build(plugin.config_schema["examples"][0], "mine", context)
    assert all(t.name == "mine" or t.name.startswith("mine_") for t in tools)
    assert len({t.name for t in tools}) == len(tools)


async def test_the_schemas_of_its_tools_are_of_2020_12_and_take_a_valid_call(
    name: str, context: ToolContext, built: Built
) -> None:
    for tool in await built(name):
        assert tool.description
        Schema({"$schema": "https://json-schema.org/draft/2020-12/schema", **tool.parameters})
        tool.check(_valid(tool))


async def test_unknown_fields_are_refused(name: str, context: ToolContext, built: Built) -> None:
    for tool in await built(name):
        if name not in FOREIGN:
            with pytest.raises(Invalid) as caught:
                await tool.call({**_valid(tool), "no_such_field": 1}, context)
            assert caught.value.errors


async def test_wrong_types_nan_and_deep_nesting_are_refused_with_a_pointer(
    name: str, context: ToolContext, built: Built
) -> None:
    deep: Any = "x"
    for _ in range(100):
        deep = [deep]
    for tool in await built(name):
        for field, schema in tool.parameters.get("properties", {}).items():
            part = Schema({**schema, "$defs": tool.parameters.get("$defs", {})})
            wrong = [v for v in (None, True, 1.5, "\n", [], {}) if not part.accepts(v)]
            for value in [*wrong, math.nan, math.inf, deep, "\ud800"]:
                with pytest.raises(Invalid) as caught:
                    await tool.call({**_valid(tool), field: value}, context)
                assert caught.value.errors[0].pointer.startswith(f"/{field}")


async def test_what_is_no_object_is_refused(name: str, context: ToolContext, built: Built) -> None:
    for tool in await built(name):
        for arguments in (None, [], "x", 1):
            with pytest.raises(Invalid):
                await tool.call(arguments, context)  # type: ignore[arg-type] - that is the point


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(exclude_categories=()), max_size=40),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
async def test_whatever_the_arguments_are_it_answers_or_says_what_is_wrong(
    name: str, context: ToolContext, built: Built, data: st.DataObject
) -> None:
    tools = await built(name)
    tool = data.draw(st.sampled_from(tools), label="tool")
    fields = [*tool.parameters.get("properties", {}), "no_such_field"]
    changed = data.draw(st.dictionaries(st.sampled_from(fields), anything, max_size=3), label="arguments")
    if name in FOREIGN and "size" in changed:
        changed["size"] = 10
    end = await _end(tool.call({**_valid(tool), **changed}, context))
    if isinstance(end, Problem):
        assert end.detail
        msgspec.json.encode(end.as_dict())
    else:
        assert len(end) <= tool.max_result
        end.encode()


async def test_a_cancelled_call_ends_soon(name: str, context: ToolContext, built: Built) -> None:
    for tool in await built(name):
        call = asyncio.create_task(tool.call(_valid(tool), context))
        await asyncio.sleep(0)
        call.cancel()
        done, _ = await asyncio.wait({call}, timeout=5)
        assert done
        assert call.cancelled() or isinstance(call.exception(), Problem | None)


async def test_what_it_needs_and_does_not_find_is_said_clearly(name: str, built: Built) -> None:
    tool = (await built(name))[0]
    end = await _end(tool.call(_valid(tool), ToolContext()))
    assert not isinstance(end, Problem) or end.kind != "internal"
