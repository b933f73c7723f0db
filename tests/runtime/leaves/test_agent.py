"""Turns of agents as tasks: their steps below the task, their questions as waits."""

from typing import Any
from uuid import uuid4

import pytest

from agent_factory.core.agent import Agent, GuardrailUse, Limits, ToolUse
from agent_factory.core.event import ApprovalNeeded, TextPiece, ToolFinished
from agent_factory.core.tool import Tool, ToolContext
from agent_factory.runtime.compile import Resources
from tests.doubles.fixtures import ModelServer
from tests.runtime.leaves.parts import QUICK, Crash, DyingJournal, Flows, says, task
from tests.runtime.parts import Tools


def ask(agent: str | dict[str, Any], message: Any, task_id: str = "ask", /, **fields: Any) -> dict[str, Any]:
    config = {"agent": agent, "message": message}
    if "version" in fields:
        config["version"] = fields.pop("version")
    return task(task_id, "agent", config, **fields)


@pytest.fixture
def calls(flows: Flows) -> list[ToolContext]:
    """The calls of a tool `pay` that has an effect."""
    made: list[ToolContext] = []

    async def pay(context: ToolContext) -> str:
        made.append(context)
        return "paid"

    assert flows.resources is not None
    tools = Tools()
    tools.put(Tool("pay", "Pays.", {"type": "object", "properties": {}}, pay, takes_context=True))
    flows.resources = Resources(flows.resources.models, tools, flows.resources.doors)
    return made


def payer(permission: str = "allow", **fields: Any) -> Agent:
    return Agent.model_validate(
        {"name": "payer", "model": "double:echo", "tools": [{"use": "pay", "permission": permission}], **fields}
    )


def paying(key: str = "", *, say: str = "All done.") -> str:
    return says(call=[{"name": "pay", "arguments": {}}], say=say, key=key)


async def test_a_pinned_agent_answers_with_text_and_cost(flows: Flows) -> None:
    flows.agents = {"helper": Agent(name="helper", model="double:echo")}
    output = await flows.output(ask("helper", "Hello {{ input }}"), document="Ada")
    assert (output["text"], output["finish"]) == ("You said: Hello Ada", "stop")
    assert output["usage"]["total_tokens"] > 0
    assert flows.recorded() == ["ask/model/0", "ask"]


async def test_an_agents_schema_makes_the_output_a_document(flows: Flows) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    inline = {"name": "counter", "model": "double:echo", "output": schema}
    assert await flows.output(ask(inline, says(json={"n": 3}))) == {"n": 3}


async def test_a_message_that_is_no_text_is_written_as_json(flows: Flows) -> None:
    inline = {"name": "helper", "model": "double:echo"}
    output = await flows.output(ask(inline, {"say": "{{ input.word }}"}), document={"word": "structured"})
    assert output["text"] == "structured"


async def test_a_version_is_the_one_that_was_pinned(flows: Flows) -> None:
    flows.agents = {"helper@2": Agent(name="helper", model="double:fixed")}
    output = await flows.output(ask("helper", "hi", version=2))
    assert output["text"] == "Hello from the model server."


async def test_an_agent_that_was_not_pinned_is_told(flows: Flows) -> None:
    assert (await flows.error(ask("stranger", "hi")))["code"] == "not_found"


async def test_the_tools_of_an_agent_get_keys_below_the_task(flows: Flows, calls: list[ToolContext]) -> None:
    flows.agents = {"payer": payer()}
    output = await flows.output(ask("payer", paying()))
    assert output["text"] == "All done."
    assert [c.idempotency_key for c in calls] == [f"{flows.run_id}/ask/tool/0/0"]
    assert [e.path for e in flows.events if isinstance(e, ToolFinished)] == ["ask/tool/0/0"]
    assert not any(isinstance(e, TextPiece) for e in flows.events), "an agent's words are for the task"


async def test_a_recorded_turn_repeats_nothing(
    flows: Flows, calls: list[ToolContext], model_server: ModelServer
) -> None:
    key = uuid4().hex
    flows.agents = {"payer": payer()}
    first = await flows.output(ask("payer", paying(key)))
    assert await flows.output(ask("payer", paying(key))) == first
    assert (len(calls), (await model_server.calls(key))["calls"]) == (1, 2)


@pytest.mark.parametrize(("dies_at", "paid", "asked"), [("ask", 1, 2), ("ask/model/1", 1, 3), ("ask/tool/0/0", 2, 2)])
async def test_a_crash_repeats_only_what_was_in_flight(
    flows: Flows, calls: list[ToolContext], model_server: ModelServer, dies_at: str, paid: int, asked: int
) -> None:
    key = uuid4().hex
    flows.agents = {"payer": payer()}
    flows.journal = DyingJournal(dies_at)
    with pytest.raises(Crash):
        await flows.run(ask("payer", paying(key)))
    await flows.output(ask("payer", paying(key)))
    assert (len(calls), (await model_server.calls(key))["calls"]) == (paid, asked)
    assert len({c.idempotency_key for c in calls}) == 1


async def test_a_question_suspends_the_run_and_the_answer_lets_it_go_on(
    flows: Flows, calls: list[ToolContext], model_server: ModelServer
) -> None:
    """Abuse 66: what cannot be undone waits for a person."""
    key = uuid4().hex
    flows.agents = {"payer": payer("ask")}
    definition = ask("payer", paying(key))
    assert await flows.waiting(definition) == ["ask/tool/0/0/approval"]
    [wait] = flows.waits
    assert (wait.kind, wait.data["title"], wait.data["details"]["arguments"]) == ("approval", "payer: pay", "{}")
    assert await flows.waiting(definition) == ["ask/tool/0/0/approval"], "asking again changes nothing"
    assert len([e for e in flows.events if isinstance(e, ApprovalNeeded)]) == len(flows.waits) == 1
    assert calls == []
    await flows.decide("ask/tool/0/0/approval", approved=True)
    assert (await flows.output(definition))["text"] == "All done."
    assert (len(calls), (await model_server.calls(key))["calls"]) == (1, 2)


async def test_a_refusal_is_told_to_the_agent_which_goes_on(flows: Flows, calls: list[ToolContext]) -> None:
    flows.agents = {"payer": payer("ask")}
    definition = ask("payer", says(call=[{"name": "pay", "arguments": {}}]))
    await flows.waiting(definition)
    await flows.decide("ask/tool/0/0/approval", approved=False)
    assert "A person refused this call." in (await flows.output(definition))["text"]
    assert calls == []


async def test_other_branches_go_on_while_a_question_is_open(flows: Flows, calls: list[ToolContext]) -> None:
    flows.agents = {"payer": payer("ask")}
    other = task("other", "transform", {"value": 1}, depends_on=[])
    assert await flows.waiting(ask("payer", paying()), other) == ["ask/tool/0/0/approval"]
    assert "other" in flows.recorded()


async def test_a_guardrail_that_asks_waits_as_well(flows: Flows) -> None:
    guard = GuardrailUse(use="pii", on=("input",), action="ask")
    flows.agents = {"careful": Agent(name="careful", model="double:echo", guardrails=(guard,))}
    definition = ask("careful", "write to ada@example.com")
    assert await flows.waiting(definition) == ["ask/input/0/approval"]
    await flows.decide("ask/input/0/approval", approved=True)
    assert (await flows.output(definition))["text"] == "You said: write to ada@example.com"


@pytest.mark.parametrize(
    ("agent", "message", "code", "kind"),
    [
        (
            {"guardrails": [{"use": "pii", "on": ["input"], "action": "block"}]},
            "ada@example.com",
            "guardrail_blocked",
            "",
        ),
        (
            {"limits": {"steps": 2}, "tools": ["current_time"], "model": "double:loop"},
            "go",
            "step_limit_exceeded",
            "budget",
        ),
        ({"limits": {"seconds": 0.2}, "model": "double:hang"}, "go", "time_limit_exceeded", "timeout"),
        ({"model": "double:context"}, "go", "context_window_exceeded", "upstream"),
        ({"tools": ["no_such_tool"]}, "go", "validation_failed", "invalid"),
        ({"model": "nowhere:model"}, "go", "unknown_model", "invalid"),
    ],
)
async def test_each_failure_keeps_its_class(
    flows: Flows, agent: dict[str, Any], message: str, code: str, kind: str
) -> None:
    error = await flows.error(ask({"name": "helper", "model": "double:echo", **agent}, message))
    assert (error["code"], error["path"]) == (code, "ask")
    assert not kind or error["kind"] == kind


async def test_what_may_pass_is_tried_again_by_the_tasks_own_retry(flows: Flows, model_server: ModelServer) -> None:
    key = uuid4().hex
    inline = {"name": "helper", "model": "double:echo", "retry": {"attempts": 1}}
    message = says(say="back", fail={"key": key, "times": 2, "status": 503})
    assert (await flows.output(ask(inline, message, retry=QUICK)))["text"] == "back"
    assert (await model_server.calls(key))["calls"] == 3
    assert "ask#3/model/0" in flows.recorded()


async def test_an_agent_asks_another_that_was_pinned(flows: Flows) -> None:
    below = Agent(name="below", model="double:fixed")
    use = ToolUse(use="agent", config={"agent": "below"})
    flows.agents = {
        "above": Agent(name="above", model="double:echo", tools=(use,), limits=Limits(steps=3)),
        "below": below,
    }
    message = says(call=[{"name": "ask_below", "arguments": {"message": "hi"}}])
    assert (await flows.output(ask("above", message)))["text"] == "Results: Hello from the model server."
    assert "ask/tool/0/0/model/0" in flows.recorded()


async def test_an_agent_is_made_once_for_all_items_of_a_map(flows: Flows) -> None:
    assert flows.resources is not None
    tools = Tools()
    tools.add("pay", pure=True)
    plugin = tools.get("pay")
    build, built = plugin.build, list[int]()

    async def counted(*args: Any, **more: Any) -> list[Tool]:
        built.append(1)
        return await build(*args, **more)

    plugin.build = counted  # type: ignore[method-assign]
    flows.resources = Resources(flows.resources.models, tools, flows.resources.doors)
    flows.agents = {"payer": payer()}
    output = await flows.output(
        task(
            "each",
            "map",
            {"items": list(range(12)), "tasks": [ask("payer", "n {{ item }}")], "output": "{{ ask.output.text }}"},
        )
    )
    assert output == [f"You said: n {n}" for n in range(12)]
    assert len(built) == 1


async def test_a_task_that_is_out_of_time_ends_its_turn(flows: Flows, model_server: ModelServer) -> None:
    key = uuid4().hex
    inline = {"name": "helper", "model": "double:echo"}
    error = await flows.error(ask(inline, says(hang=True, key=key), timeout=0.3))
    assert (error["code"], error["retryable"]) == ("task_timeout", True)
