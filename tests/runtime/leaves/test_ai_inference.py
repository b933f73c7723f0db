"""Model calls as tasks, against a model server in its own process (S101)."""

from uuid import uuid4

import pytest

from agent_factory.core.event import ModelFinished
from agent_factory.core.journal import MemoryJournal
from tests.doubles.fixtures import ModelServer
from tests.runtime.leaves.parts import QUICK, Crash, DyingJournal, Flows, says, task

INTENT = {
    "type": "object",
    "properties": {"intent": {"enum": ["billing", "technical"]}},
    "required": ["intent"],
    "additionalProperties": False,
}


def ask(
    prompt: str, task_id: str = "ask", /, *, model: str = "double:echo", retry: object = None, **config: object
) -> dict[str, object]:
    fields = {} if retry is None else {"retry": retry}
    return task(task_id, "ai_inference", {"model": model, "prompt": prompt, **config}, **fields)


async def test_the_output_is_the_text_and_what_it_cost(flows: Flows) -> None:
    output = await flows.output(ask("Hello {{ input.name }}"), document={"name": "Ada"})
    assert output["text"] == "You said: Hello Ada"
    assert output["finish"] == "stop"
    usage = output["usage"]
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"] > 0
    assert output["cost_usd"] is None


async def test_settings_and_system_reach_the_model(flows: Flows, model_server: ModelServer) -> None:
    key = uuid4().hex
    prompt = says(say="ok", key=key)
    await flows.output(
        ask(prompt, system="Be brief.", max_tokens=77, temperature=0.5, settings={"top_p": 0.3, "max_tokens": 5})
    )
    [request] = await model_server.requests(key)
    body = request["body"]
    assert body["messages"][0]["content"] == "Be brief."
    assert (body["temperature"], body["top_p"]) == (0.5, 0.3)
    assert 77 in (body.get("max_tokens"), body.get("max_completion_tokens"))


async def test_with_a_schema_the_output_is_the_document(flows: Flows) -> None:
    """Merge 8: the specification's sample reads `.output.intent`, which a schema makes true."""
    route = task(
        "route",
        "conditional",
        {"conditions": [{"if": "{{ classify.output.intent == 'billing' }}", "then": "billing"}]},
    )
    classify = ask(says(json={"intent": "billing"}), "classify", output_schema=INTENT) | {"next": ["route"]}
    found = await flows.output(classify, route, task("billing", "transform", {"value": "{{ classify.output }}"}))
    assert found == {"intent": "billing"}


async def test_a_schema_may_ask_for_null(flows: Flows) -> None:
    assert await flows.output(ask(says(say="null"), output_schema={"type": ["string", "null"]})) is None


async def test_an_answer_that_breaks_the_schema_is_repaired_once(flows: Flows, model_server: ModelServer) -> None:
    key = uuid4().hex
    then = {"json": {"intent": "technical"}, "key": key}
    prompt = says(json={"intent": "weather"}, key=key, then=then)
    assert await flows.output(ask(prompt, output_schema=INTENT)) == {"intent": "technical"}
    assert (await model_server.calls(key))["calls"] == 2
    assert flows.recorded() == ["ask/model/0", "ask/model/1", "ask"]


async def test_an_answer_that_breaks_the_schema_twice_fails_the_task(flows: Flows) -> None:
    error = await flows.error(ask(says(say="no JSON at all"), output_schema=INTENT))
    assert (error["code"], error["kind"], error["path"]) == ("output_invalid", "upstream", "ask")
    assert "retryable" not in error


async def test_a_model_that_is_busy_is_asked_again_before_the_task_fails(
    flows: Flows, model_server: ModelServer
) -> None:
    """S88: what may pass by itself is tried again, by the class of the error."""
    key = uuid4().hex
    fail = {"key": key, "times": 1, "status": 503}
    assert (await flows.output(ask(says(say="back", fail=fail))))["text"] == "back"
    assert (await model_server.calls(key))["calls"] == 2


@pytest.mark.parametrize(
    ("prompt", "config", "code", "retryable"),
    [
        (says(status=400), {}, "model_rejected_request", False),
        (says(status=401), {}, "model_auth_failed", False),
        (says(status=429, retry_after=4000), {}, "model_rate_limited", True),
        (says(say="", finish="content_filter"), {}, "content_filtered", False),
        ("x", {"model": "nowhere:model"}, "unknown_model", False),
        ("x", {"model": "double:context"}, "context_window_exceeded", False),
    ],
)
async def test_each_failure_keeps_its_class(
    flows: Flows, prompt: str, config: dict[str, str], code: str, retryable: bool
) -> None:
    error = await flows.error(ask(prompt, **{"model": "double:echo", **config}))
    assert error["code"] == code
    assert error.get("retryable", False) is retryable


async def test_a_tasks_own_retry_asks_the_model_anew(flows: Flows, model_server: ModelServer) -> None:
    """What a first attempt recorded belongs to it alone."""
    key = uuid4().hex
    retry = {**QUICK, "on": ["output_invalid"]}
    error = await flows.error(
        ask(says(say="no", key=key, then={"say": "no", "key": key}), output_schema=INTENT, retry=retry)
    )
    assert error["code"] == "output_invalid"
    assert (await model_server.calls(key))["calls"] == 6


async def test_a_recorded_answer_is_not_asked_for_again(flows: Flows, model_server: ModelServer) -> None:
    key = uuid4().hex
    definition = ask(says(say="once", key=key))
    first = await flows.output(definition)
    assert await flows.output(definition) == first
    assert (await model_server.calls(key))["calls"] == 1


async def test_a_crash_after_the_answer_repeats_no_model_call(flows: Flows, model_server: ModelServer) -> None:
    key = uuid4().hex
    prompt = says(say="bad", key=key, then={"json": {"intent": "billing"}, "key": key})
    definition = ask(prompt, output_schema=INTENT)
    flows.journal = DyingJournal("ask")
    with pytest.raises(Crash):
        await flows.run(definition)
    assert flows.recorded() == ["ask/model/0", "ask/model/1"]
    assert await flows.output(definition) == {"intent": "billing"}
    assert (await model_server.calls(key))["calls"] == 2


async def test_tokens_are_told_once_with_the_path_of_the_call(flows: Flows) -> None:
    definition = ask(says(say="x", usage=[11, 7]))
    await flows.output(definition)
    await flows.output(definition)
    told = [e for e in flows.events if isinstance(e, ModelFinished)]
    assert [(e.path, e.usage.input_tokens, e.usage.output_tokens) for e in told] == [("ask/model/0", 11, 7)]
    entry = flows.entry("ask/model/0")
    assert (entry.kind, entry.input_tokens, entry.output_tokens) == ("model", 11, 7)


async def test_many_prompts_are_asked_side_by_side_in_order_and_fail_alone(flows: Flows) -> None:
    """S121: batch inference keeps the order and isolates what fails."""
    inner = ask("{{ item }}")
    batch = task(
        "batch",
        "map",
        {"items": "{{ input }}", "tasks": [inner], "on_item_error": "collect", "output": "{{ ask.output.text }}"},
    )
    prompts = [says(say="one", delay=0.05), says(status=400), says(say="three")]
    first, second, third = await flows.output(batch, document=prompts)
    assert (first, third) == ("one", "three")
    assert second["error"]["code"] == "model_rejected_request"


async def test_without_models_the_task_says_so(flows: Flows) -> None:
    bare = Flows(None)
    assert isinstance(bare.journal, MemoryJournal)
    assert (await bare.error(ask("x")))["code"] == "task_not_possible"
