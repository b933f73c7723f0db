"""Calls of tools as tasks: built-in ones, and those of a real MCP server in its own process."""

import json
from pathlib import Path
from typing import Any

import pytest

from agent_factory.core.agent import Agent
from agent_factory.core.tool import Tool, ToolContext
from agent_factory.runtime.compile import Resources
from tests.doubles.fixtures import ModelServer
from tests.runtime.leaves.parts import Crash, DyingJournal, Flows, says, task
from tests.runtime.parts import Tools


def use(name: str, arguments: dict[str, Any], task_id: str = "use", /, **config: Any) -> dict[str, Any]:
    return task(task_id, "tool", {"tool": name, "arguments": arguments, "config": config})


class Watched:
    """A catalogue of one tool that remembers its calls."""

    def __init__(self, flows: Flows, result: Any = "done") -> None:
        self.calls: list[tuple[dict[str, Any], ToolContext]] = []
        self.built = 0
        self.result = result
        assert flows.resources is not None
        tools = Tools()
        schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
        tools.put(Tool("watched", "Is watched.", schema, self.call, takes_context=True, max_result=1000))
        plugin = tools.get("watched")
        build = plugin.build

        async def counted(*args: Any, **more: Any) -> list[Tool]:
            self.built += 1
            return await build(*args, **more)

        plugin.build = counted  # type: ignore[method-assign]
        flows.resources = Resources(flows.resources.models, tools, flows.resources.doors)

    async def call(self, context: ToolContext, **arguments: Any) -> Any:
        self.calls.append((arguments, context))
        return self.result


async def test_a_tool_answers_as_text(flows: Flows) -> None:
    assert await flows.output(use("calculator", {"expression": "{{ input }} * 7"}), document=6) == "42"


@pytest.mark.parametrize(
    ("result", "output"),
    [
        ({"a": [1]}, {"a": [1]}),
        (["x"], ["x"]),
        ("plain", "plain"),
        ("{not json", "{not json"),
        (7, "7"),
        (None, "null"),
    ],
)
async def test_objects_and_lists_are_data_and_all_else_is_text(flows: Flows, result: Any, output: Any) -> None:
    Watched(flows, result)
    assert await flows.output(use("watched", {})) == output


async def test_a_result_is_not_cut_as_for_a_model(flows: Flows) -> None:
    Watched(flows, ["x" * 10_000])
    [text] = await flows.output(use("watched", {}))
    assert len(text) == 10_000


async def test_a_tool_knows_whose_call_it_is_and_gets_its_key(flows: Flows, tmp_path: Path) -> None:
    watched = Watched(flows)
    await flows.output(task("each", "map", {"items": [1, 2], "tasks": [use("watched", {"n": "{{ item }}"})]}))
    context = watched.calls[0][1]
    keys = {f"{flows.run_id}/each[{i}]/use" for i in range(2)}
    assert {c.idempotency_key for _, c in watched.calls} == keys
    assert (context.run_id, context.organization_id) == (flows.run_id, "org-1")
    assert context.resources["workspace"] == tmp_path / "files" / "org-1"


async def test_one_tool_is_made_for_each_config_of_a_run(flows: Flows) -> None:
    watched = Watched(flows)
    same = use("watched", {"n": "{{ item }}"})
    other = use("watched", {}, "other", setting=1)
    await flows.output(
        task("each", "map", {"items": list(range(20)), "tasks": [same]}), other | {"depends_on": ["each"]}
    )
    assert (len(watched.calls), watched.built) == (21, 2)


async def test_a_recorded_call_is_not_made_again(flows: Flows) -> None:
    watched = Watched(flows)
    await flows.output(use("watched", {}))
    await flows.output(use("watched", {}))
    assert len(watched.calls) == 1


async def test_a_call_that_was_not_recorded_is_made_again_under_the_same_key(flows: Flows) -> None:
    watched = Watched(flows)
    flows.journal = DyingJournal("use")
    with pytest.raises(Crash):
        await flows.run(use("watched", {}))
    await flows.output(use("watched", {}))
    assert len({c.idempotency_key for _, c in watched.calls}) == 1
    assert len(watched.calls) == 2


async def test_one_of_several_tools_is_named_behind_the_plugin(flows: Flows) -> None:
    write = use("file/file_write", {"path": "notes/a.txt", "content": "{{ input }}"}, "write")
    read = use("file/file_read", {"path": "notes/a.txt"}, "read") | {"depends_on": ["write"]}
    assert "kept" in await flows.output(write, read, document="kept")


async def test_files_of_another_organisation_are_not_there(flows: Flows) -> None:
    await flows.output(use("file/file_write", {"path": "a.txt", "content": "ours"}))
    other = Flows(flows.resources)
    other.organization_id = "org-2"
    assert (await other.error(use("file/file_read", {"path": "a.txt"})))["code"] == "not_found"


@pytest.mark.parametrize(
    ("name", "arguments", "code"),
    [
        ("no_such_tool", {}, "not_found"),
        ("file", {"path": "a"}, "validation_failed"),
        ("file/no_such", {"path": "a"}, "not_found"),
        ("calculator", {"wrong": 1}, "validation_failed"),
        ("calculator", {"expression": "1 +"}, "validation_failed"),
        ("file/file_read", {"path": "../../etc/passwd"}, "validation_failed"),
        ("http_request", {"url": "http://127.0.0.1:1/"}, "egress_blocked"),
    ],
)
async def test_each_failure_keeps_its_class(flows: Flows, name: str, arguments: dict[str, Any], code: str) -> None:
    error = await flows.error(use(name, arguments))
    assert (error["code"], error["path"]) == (code, "use")
    assert "retryable" not in error


async def test_settings_that_a_tool_does_not_take_are_told_by_pointer(flows: Flows) -> None:
    error = await flows.error(use("http_request", {"url": "http://example.com"}, nonsense=1))
    assert [e["pointer"] for e in error["errors"]] == ["/config/nonsense"]


async def test_the_plugins_of_several_tools_say_which(flows: Flows) -> None:
    error = await flows.error(use("file", {"path": "a"}))
    assert "file/file_read" in error["detail"]


async def test_a_tool_of_an_mcp_server_is_called_in_its_process(flows: Flows) -> None:
    each = task(
        "each",
        "map",
        {
            "items": [1, 2, 3],
            "concurrency": 3,
            "tasks": [
                use("mcp/double_add", {"a": "{{ item }}", "b": 10}, "add", server="double"),
                use("mcp/double_pid", {}, "pid", server="double") | {"depends_on": ["add"]},
            ],
            "output": ["{{ add.output }}", "{{ pid.output }}"],
        },
    )
    rows = await flows.output(each)
    assert [json.loads(row[0]) for row in rows] == [11, 12, 13]
    assert len({row[1] for row in rows}) == 1, "one process serves the whole run"


async def test_a_failing_mcp_tool_fails_the_task(flows: Flows) -> None:
    error = await flows.error(use("mcp/double_fail", {}, server="double"))
    assert error["code"] == "tool_failed"


async def test_an_agent_as_a_tool_answers_below_the_task(flows: Flows, model_server: ModelServer) -> None:
    flows.agents = {"helper": Agent(name="helper", model="double:echo")}
    asked = use("agent", {"message": says(say="from the helper", key=flows.run_id)}, agent="helper")
    assert await flows.output(asked) == "from the helper"
    assert flows.recorded() == ["use/agent/model/0", "use"]


async def test_an_agent_that_was_not_pinned_cannot_be_asked(flows: Flows) -> None:
    error = await flows.error(use("agent", {"message": "hi"}, agent="stranger"))
    assert error["code"] == "not_found"
