"""Operations of OpenAPI documents as tools."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from fastapi import FastAPI
from pydantic import BaseModel

from agent_factory.core.tool import Tool, ToolContext, ToolDenied
from agent_factory.kit.errors import Invalid, Problem
from agent_factory.security.egress import EgressBlocked
from agent_factory.tools.openapi import plugin
from tests.doubles.web import Web

Context = Callable[..., ToolContext]

PARAMETERS = [
    {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}},
    {"name": "id", "in": "query", "schema": {"type": "string"}},
    {"name": "tags", "in": "query", "schema": {"type": "array", "items": {"type": "string"}}},
    {"name": "list", "in": "query", "explode": False, "schema": {"type": "array", "items": {"type": "integer"}}},
    {"name": "filter", "in": "query", "style": "deepObject", "schema": {"type": "object"}},
    {"name": "flag", "in": "query", "schema": {"type": "boolean"}, "description": "A flag."},
    {"name": "X-Trace", "in": "header", "schema": {"type": "string"}},
    {"name": "Authorization", "in": "header", "schema": {"type": "string"}},
    {"name": "session", "in": "cookie", "schema": {"type": "string"}},
]


def _document(web: Web | None = None, **operation: Any) -> dict[str, Any]:
    return {
        "openapi": "3.0.3",
        "info": {"title": "Test", "version": "1"},
        "servers": [{"url": web.url("/api/{v}"), "variables": {"v": {"default": "v1"}}}] if web else [],
        "paths": {"/items/{id}": {"parameters": PARAMETERS[:1], "post": {"operationId": "change_item", **operation}}},
        "components": {
            "schemas": {
                "Node": {
                    "type": "object",
                    "required": ["name"],
                    "properties": {
                        "name": {"type": "string", "nullable": True, "example": "x"},
                        "size": {"type": "integer", "minimum": 0, "exclusiveMinimum": True},
                        "next": {"nullable": True, "allOf": [{"$ref": "#/components/schemas/Node"}]},
                    },
                }
            }
        },
    }


def _json_body(schema: dict[str, Any], kind: str = "application/json") -> dict[str, Any]:
    return {"required": True, "content": {kind: {"schema": schema}}}


async def _one(document: dict[str, Any], **config: Any) -> Tool:
    (tool,) = await plugin.build({"document": document, **config})
    return tool


async def _seen(tool: Tool, context: ToolContext, **arguments: Any) -> dict[str, Any]:
    return msgspec.json.decode(await tool.call(arguments, context))["body"]


async def test_each_parameter_goes_to_its_place_in_the_form_that_the_document_says(web: Web, context: Context) -> None:
    tool = await _one(_document(web, parameters=PARAMETERS))
    arguments = {
        "id_path": "a/b ü",
        "id_query": "2",
        "tags": ["x", "y&z"],
        "list": [1, 2],
        "filter": {"a": 1},
        "flag": True,
        "X-Trace": "t",
    }
    seen = await _seen(tool, context(), **arguments)
    assert seen["path"] == ("/api/v1/items/a%2Fb%20%C3%BC?id=2&tags=x&tags=y%26z&list=1,2&filter%5Ba%5D=1&flag=true")
    assert seen["headers"]["X-Trace"] == "t"
    assert tool.parameters["properties"]["flag"] == {"type": "boolean", "description": "A flag."}
    assert tool.parameters["required"] == ["id_path"]
    assert tool.parameters["properties"].keys() == arguments.keys()


async def test_a_body_is_checked_and_sent_as_json(web: Web, context: Context) -> None:
    tool = await _one(_document(web, requestBody=_json_body({"$ref": "#/components/schemas/Node"})))
    seen = await _seen(tool, context(), id="1", body={"name": None, "next": {"name": "n", "next": None}})
    assert (seen["method"], seen["headers"]["Content-Type"]) == ("POST", "application/json")
    assert msgspec.json.decode(seen["body"]) == {"name": None, "next": {"name": "n", "next": None}}
    for bad in ({}, {"name": 1}, {"name": "x", "size": 0}, {"name": "x", "next": {"name": 2}}, None):
        with pytest.raises(Invalid) as caught:
            await tool.call({"id": "1", "body": bad}, context())
        assert caught.value.errors[0].pointer.startswith("/body")


async def test_a_form_is_sent_as_a_form(web: Web, context: Context) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    body = _json_body(schema, "application/x-www-form-urlencoded")
    seen = await _seen(await _one(_document(web, requestBody=body)), context(), id="1", body={"a": "b c&d"})
    assert seen["body"] == "a=b+c%26d"


@pytest.mark.parametrize("value", ["", ".", "..", "...."])
async def test_a_value_does_not_lead_out_of_its_path(web: Web, context: Context, value: str) -> None:
    with pytest.raises(Invalid) as caught:
        await (await _one(_document(web))).call({"id": value}, context())
    assert caught.value.errors[0].pointer == "/id"
    assert not web.asked


@pytest.mark.parametrize(
    "value",
    ["../admin", "..%2fadmin", "%2e%2e", "a/../../admin", "x?admin=1", "x#y", "//evil.example", "@evil.example"],
)
async def test_no_value_makes_another_path_query_or_host(web: Web, context: Context, value: str) -> None:
    await _seen(await _one(_document(web)), context(), id=value)
    (asked,) = web.asked
    assert asked.path.startswith("/api/v1/items/")
    assert asked.path.count("/") == 4
    assert asked.query == {}


async def test_a_secret_goes_along_to_its_host_alone(web: Web, context: Context) -> None:
    """Abuse 62"""
    for host in (web.host, "api.example.com"):
        tool = await _one(
            _document(web), secrets=[{"secret": "TOKEN", "host": host, "header": "X-Key", "format": "{}"}]
        )
        result = await tool.call({"id": "1"}, context())
        assert (web.asked[-1].headers.get("X-Key") == "s3cr3t-value") == (host == web.host)
        assert "s3cr3t-value" not in result


@pytest.mark.parametrize("wanted", [("change_item",), ("POST /items/{id}",)])
async def test_operations_are_chosen_by_id_or_by_path(web: Web, wanted: tuple[str, ...]) -> None:
    document = _document(web)
    document["paths"]["/other"] = {"get": {}, "delete": {"operationId": "delete_all"}}
    assert [t.name for t in await plugin.build({"document": document, "operations": wanted}, "shop")] == [
        "shop_change_item"
    ]
    assert {t.name for t in await plugin.build({"document": document})} == {"change_item", "GET_other", "delete_all"}
    with pytest.raises(Invalid) as caught:
        await plugin.build({"document": document, "operations": [*wanted, "nothing"]})
    assert caught.value.errors[0].pointer == "/config/operations/1"


async def test_only_operations_that_change_nothing_may_be_repeated(web: Web) -> None:
    document = _document(web)
    document["paths"]["/other"] = {"get": {}}
    assert {t.name: t.pure for t in await plugin.build({"document": document})} == {
        "change_item": False,
        "GET_other": True,
    }


async def test_a_document_is_fetched_as_json_or_yaml_and_its_relative_server_is_found(
    web: Web, context: Context
) -> None:
    document = {**_document(), "servers": [{"url": "../v2"}]}
    yaml = b"openapi: 3.1.0\nservers: [{url: ../v2}]\npaths:\n  /items/{id}:\n    get: {operationId: change_item}\n"
    for path, body in (("/docs/openapi.json", msgspec.json.encode(document)), ("/docs/openapi.yaml", yaml)):
        web.answers[path] = (200, {}, body)
        (tool,) = await plugin.build({"url": web.url(path)}, None, context())
        assert tool.name == "change_item"
    seen = await _seen(await _one(document, base_url=web.url("/v3/")), context(), id="1")
    assert seen["path"] == "/v3/items/1"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"openapi": "2.0"}',
        b'{"swagger": "2.0", "paths": {}}',
        b"a: &a [1]\nb: [*a, *a]\nopenapi: 3.1.0\n",
        b"!!python/object/apply:os.system ['id']",
        b"\xff\xfe",
        b"[" * 100_000,
        b"[" * 100_000 + b"]" * 100_000,
        b"- " * 100_000,
        b"a: {" * 5_000,
    ],
)
async def test_what_is_no_openapi_document_is_refused(web: Web, context: Context, body: bytes) -> None:
    """Abuse 56"""
    web.answers["/doc"] = (200, {}, body)
    with pytest.raises(Invalid) as caught:
        await plugin.build({"url": web.url("/doc")}, None, context())
    assert caught.value.errors[0].pointer == "/config/document"


@pytest.mark.parametrize(
    "operation",
    [
        {"requestBody": {"$ref": "#/components/requestBodies/Nothing"}},
        {"requestBody": _json_body({"$ref": "#/components/schemas/Nothing"})},
        {"requestBody": _json_body({"$ref": "http://169.254.169.254/schema.json"})},
        {"requestBody": _json_body({"$ref": "file:///etc/passwd"})},
        {"requestBody": _json_body({"type": "nonsense"})},
        {"requestBody": _json_body({"type": "object"}, "multipart/form-data")},
        {"requestBody": {"$ref": "#/paths/~1items~1{id}/post/requestBody"}},
        {"parameters": [{"name": "x", "in": "query", "schema": {"$ref": "#/nowhere"}}]},
        {"parameters": [{"name": "x", "in": "query", "schema": {"pattern": "("}}]},
    ],
)
async def test_an_operation_that_cannot_be_followed_is_refused(operation: dict[str, Any], web: Web) -> None:
    with pytest.raises(Invalid) as caught:
        await _one(_document(web, **operation))
    assert caught.value.errors
    assert not web.asked


async def test_a_document_that_refers_to_itself_or_nests_without_end_is_bounded(web: Web) -> None:
    deep: dict[str, Any] = {}
    for _ in range(500):
        deep = {"items": deep}
    with pytest.raises(Invalid):
        await _one(_document(web, requestBody=_json_body(deep)))
    wide = _document(web, requestBody=_json_body({"$ref": "#/components/schemas/S0"}))
    wide["components"]["schemas"] = {f"S{n}": {"$ref": f"#/components/schemas/S{n + 1}"} for n in range(1_000)}
    with pytest.raises(Invalid):
        await _one(wide)


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/doc", "http://169.254.169.254/"])
async def test_an_inner_address_gives_no_document_and_gets_no_call(url: str, context: Context) -> None:
    """Abuse 58"""
    with pytest.raises(EgressBlocked):
        await plugin.build({"url": url}, None, context())
    tool = await _one(_document(), base_url=url)
    with pytest.raises(EgressBlocked):
        await tool.call({"id": "1"}, context())


@pytest.mark.parametrize("base", ["", "/relative", "ftp://x"])
async def test_without_a_web_address_there_is_nowhere_to_call(base: str) -> None:
    with pytest.raises(Invalid):
        await plugin.build({"document": {**_document(), "servers": [{"url": base}]}})


async def test_a_secret_is_not_sent_in_the_clear(context: Context) -> None:
    tool = await _one(
        _document(), base_url="http://api.example.com", secrets=[{"secret": "TOKEN", "host": "api.example.com"}]
    )
    with pytest.raises(ToolDenied):
        await tool.call({"id": "1"}, context())


async def test_the_document_that_fastapi_writes_can_be_used_as_it_is(web: Web, context: Context) -> None:
    app = FastAPI()

    class Child(BaseModel):
        name: str
        parent: "Child | None" = None

    @app.post("/children/{number}")
    def add(number: int, child: Child) -> Child: ...

    document = {**app.openapi(), "servers": [{"url": web.url("")}]}
    (tool,) = await plugin.build({"document": document})
    seen = await _seen(tool, context(), number=3, body={"name": "x", "parent": {"name": "y"}})
    assert seen["path"] == "/children/3"
    with pytest.raises(Problem):
        await tool.call({"number": "3", "body": {"name": "x"}}, context())
