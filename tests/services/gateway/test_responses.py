"""`/v1/responses` by the unmodified `openai` client, over a real server (S10, S56, S59)."""

import json
from typing import Any

import openai
import pytest

from agent_factory.database.session import Database
from tests.doubles.fixtures import ModelServer
from tests.services.gateway.asking import CALCULATE, called, ended, please, run, runs_of, steps, user
from tests.services.gateway.conftest import Served

MODEL = "agent:helper"
WEATHER: Any = [{"type": "function", "name": "weather", "parameters": {"type": "object"}, "strict": False}]
ASK_WEATHER = please(call=[{"name": "weather", "arguments": {"city": "Rome"}, "id": "call_1"}])


@pytest.fixture(autouse=True)
async def _helper(served: Served) -> None:
    """An agent with a tool of its own."""
    await served.deploy("helper", model="double:echo", instructions="Be exact.", tools=["calculator"])


async def test_an_agent_answers_with_its_own_tools_and_the_run_is_kept(served: Served, database: Database) -> None:
    async with served.client() as client:
        raw = await client.responses.with_raw_response.create(model=MODEL, input=CALCULATE, metadata={"a": "b"})
    answer = raw.parse()
    assert answer.output_text == "Results: 409.5"
    assert [item.type for item in answer.output] == ["message"]
    assert (answer.status, answer.model, answer.metadata) == ("completed", MODEL, {"a": "b"})
    assert answer.usage is not None
    assert answer.usage.total_tokens > 0
    assert (await run(database, raw.headers["x-run-id"]))["status"] == "completed"
    assert await steps(database, raw.headers["x-run-id"]) == ["model/0", "tool/0/0", "model/1"]


def test_the_synchronous_client_works_too(served: Served) -> None:
    with served.sync_client() as client:
        assert client.responses.create(model=MODEL, input=CALCULATE).output_text == "Results: 409.5"
        with client.responses.stream(model=MODEL, input=CALCULATE) as stream:
            assert stream.get_final_response().output_text == "Results: 409.5"


async def test_events_come_in_the_order_of_the_protocol(served: Served) -> None:
    said = "one two three √"
    async with served.client() as client:
        stream = await client.responses.create(model=MODEL, input=please(say=said, pause=0.02), stream=True)
        events = [event async for event in stream]
    kinds = [event.type for event in events]
    deltas = [event for event in events if event.type == "response.output_text.delta"]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert "".join(event.delta for event in deltas) == said
    assert len(deltas) > 1
    assert [kind for kind in kinds if kind != "response.output_text.delta"] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]


async def test_a_response_can_be_fetched_as_it_was_given(served: Served) -> None:
    async with served.client() as client:
        made = await client.responses.create(model=MODEL, input=CALCULATE, metadata={"a": "b"}, temperature=0.5)
        found = await client.responses.retrieve(made.id)
        items = (await client.responses.input_items.list(made.id)).data
    for same in ("id", "status", "model", "output", "usage", "metadata", "temperature", "conversation"):
        assert getattr(found, same) == getattr(made, same)
    assert [item.to_dict()["content"] for item in items] == [[{"type": "input_text", "text": CALCULATE}]]


async def test_a_conversation_goes_on_from_the_previous_response(served: Served, model_server: ModelServer) -> None:
    async with served.client() as client:
        first = await client.responses.create(model=MODEL, input="My name is Ada.")
        second = await client.responses.create(model=MODEL, input="And I am 36.", previous_response_id=first.id)
        third = await client.responses.create(
            model=MODEL, input=please(say="Ada, 36", key="goes-on"), previous_response_id=second.id
        )
    assert third.previous_response_id == second.id
    assert first.conversation == second.conversation == third.conversation
    sent = (await model_server.requests("goes-on"))[0]["body"]["messages"]
    assert [m["role"] for m in sent[1:]] == ["user", "assistant", "user", "assistant", "user"]
    assert sent[1]["content"] == "My name is Ada."


async def test_an_earlier_response_is_the_start_of_a_branch_of_its_own(
    served: Served, model_server: ModelServer
) -> None:
    async with served.client() as client:
        first = await client.responses.create(model=MODEL, input="I like cats.")
        await client.responses.create(model=MODEL, input="No, dogs.", previous_response_id=first.id)
        branch = await client.responses.create(model=MODEL, input="And birds.", previous_response_id=first.id)
        await client.responses.create(model=MODEL, input=please(say="ok", key="branch"), previous_response_id=branch.id)
    told = json.dumps((await model_server.requests("branch"))[0]["body"])
    assert "cats" in told
    assert "birds" in told
    assert "dogs" not in told


async def test_a_history_that_the_caller_brings_is_heard_and_no_instruction(
    served: Served, model_server: ModelServer
) -> None:
    said: Any = [
        user("My name is Ada."),
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hello."}]},
        user([{"type": "input_text", "text": please(say="Ada", key="brought")}]),
    ]
    async with served.client() as client:
        first = await client.responses.create(model=MODEL, input=said, instructions="Be a pirate.")
        await client.responses.create(
            model=MODEL, input=please(say="36", key="brought-on"), previous_response_id=first.id
        )
    sent = (await model_server.requests("brought"))[0]["body"]["messages"]
    assert [m["content"] for m in sent if m["role"] in ("system", "developer")] == ["Be exact."]
    assert [m["role"] for m in sent[1:]] == ["user", "user", "assistant", "user"]
    assert "pirate" in json.dumps(sent[1])
    later = (await model_server.requests("brought-on"))[0]["body"]["messages"]
    assert [m["role"] for m in later[1:]] == ["user", "user", "assistant", "user", "assistant", "user"]


async def test_a_conversation_can_be_named_and_is_a_session(served: Served, model_server: ModelServer) -> None:
    async with served.client() as client:
        first = await client.responses.create(model=MODEL, input="My name is Ada.")
        assert first.conversation is not None
        await client.responses.create(
            model=MODEL, input=please(say="Ada", key="named"), conversation=first.conversation.id
        )
        assert "My name is Ada." in json.dumps((await model_server.requests("named"))[0]["body"])
        for wrong in ("ses_00000000000000000000000000", "conv_1", ""):
            with pytest.raises(openai.BadRequestError) as caught:
                await client.responses.create(model=MODEL, input="hi", conversation=wrong)
            assert caught.value.code == "conversation_not_found"
    status, _, messages = await served.ask("GET", f"/api/v1/sessions/{first.conversation.id}/messages")
    assert status == 200
    assert len(messages["data"]) == 4


async def test_the_callers_own_tools_go_out_and_their_results_come_back(served: Served) -> None:
    async with served.client() as client:
        first = await client.responses.create(model=MODEL, input=ASK_WEATHER, tools=WEATHER)
        call = first.output[0]
        assert call.type == "function_call"
        assert (call.name, call.call_id, json.loads(call.arguments)) == ("weather", "call_1", {"city": "Rome"})
        result: Any = [{"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}]
        second = await client.responses.create(model=MODEL, input=result, tools=WEATHER, previous_response_id=first.id)
        assert second.output_text == "Results: sunny"
        whole: Any = [user(ASK_WEATHER), *[item.to_dict() for item in first.output], *result]
        assert (await client.responses.create(model=MODEL, input=whole, tools=WEATHER)).output_text == "Results: sunny"
        ignored = await client.responses.create(model=MODEL, input="never mind", previous_response_id=first.id)
        assert ignored.output_text == "You said: never mind"
        assert first.conversation is not None
        with pytest.raises(openai.BadRequestError) as caught:
            await client.responses.create(model=MODEL, input="hi", conversation=first.conversation.id)
        assert caught.value.code == "tool_results_missing"


async def test_a_schema_shapes_the_answer_of_an_agent_that_has_none(served: Served) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    form: Any = {"format": {"type": "json_schema", "name": "n", "schema": schema}}
    async with served.client() as client:
        answer = await client.responses.create(model=MODEL, input=please(json={"n": 3}), text=form)
    assert json.loads(answer.output_text) == {"n": 3}


async def test_what_is_not_stored_can_neither_be_fetched_nor_continued(served: Served) -> None:
    async with served.client() as client:
        made = await client.responses.create(model=MODEL, input="hi", store=False)
        assert made.output_text == "You said: hi"
        with pytest.raises(openai.NotFoundError) as missing:
            await client.responses.retrieve(made.id)
        assert missing.value.code == "response_not_found"
        with pytest.raises(openai.BadRequestError) as caught:
            await client.responses.create(model=MODEL, input="hi", previous_response_id=made.id)
        assert caught.value.code == "previous_response_not_found"
        assert caught.value.param == "previous_response_id"


async def test_a_deleted_response_is_gone_with_all_that_it_said(served: Served, database: Database) -> None:
    async with served.client() as client:
        first = await client.responses.create(model=MODEL, input="My secret is 42.")
        second = await client.responses.create(model=MODEL, input="And 43.", previous_response_id=first.id)
        for made in (first, second):
            await client.responses.delete(made.id)
            with pytest.raises(openai.NotFoundError):
                await client.responses.retrieve(made.id)
            with pytest.raises(openai.NotFoundError):
                await client.responses.delete(made.id)
    rows = await runs_of(database, served.actor.organization_id, "responses")
    assert [(row["status"], row["input"], row["output"]) for row in rows] == [("completed", None, None)] * 2
    for table in ("run_steps", "messages", "sessions"):
        left = await database.pool.fetch(
            f"select 1 from {table} where organization_id = $1",  # noqa: S608 - names of tables
            served.actor.organization_id,
        )
        assert not left, table


async def test_a_response_in_the_background_is_fetched_later(served: Served, database: Database) -> None:
    async with served.client() as client:
        made = await client.responses.create(model=MODEL, input="hi", background=True)
        assert made.status == "in_progress"
        assert await ended(database, served.actor.organization_id, "responses") == "completed"
        found = await client.responses.retrieve(made.id)
    assert (found.status, found.output_text) == ("completed", "You said: hi")


async def test_a_response_in_the_background_can_be_cancelled(served: Served, model_server: ModelServer) -> None:
    async with served.client() as client:
        made = await client.responses.create(model=MODEL, input=please(hang=True, key="background"), background=True)
        await called(model_server, "background")
        assert (await client.responses.cancel(made.id)).status == "cancelled"
        assert (await client.responses.cancel(made.id)).status == "cancelled"
        assert (await client.responses.retrieve(made.id)).status == "cancelled"


async def test_a_client_that_leaves_its_stream_cancels_the_turn(served: Served, database: Database) -> None:
    async with served.client() as client:
        stream = await client.responses.create(model=MODEL, input=please(endless=True, pause=0.01), stream=True)
        await anext(aiter(stream))
        await stream.close()
    assert await ended(database, served.actor.organization_id, "responses") == "cancelled"


async def _note(stream: openai.AsyncStream[Any], kinds: list[str]) -> None:
    async for event in stream:
        kinds.append(event.type)  # noqa: PERF401 - what came before an error counts


async def test_a_model_that_fails_is_one_clear_error_and_the_response_says_so(
    served: Served, database: Database
) -> None:
    await served.deploy("broken", model="double:unavailable", retry={"attempts": 1})
    async with served.client() as client:
        with pytest.raises(openai.APIStatusError) as caught:
            await client.responses.create(model="agent:broken", input="hi")
        assert (caught.value.status_code, caught.value.code) == (502, "model_unavailable")
        stream = await client.responses.create(model="agent:broken", input="hi", stream=True)
        kinds: list[str] = []
        with pytest.raises(openai.APIError) as broken:
            await _note(stream, kinds)
        assert broken.value.code == "model_unavailable"
        assert kinds == ["response.created", "response.in_progress", "response.failed"]
        failed = await client.responses.retrieve(caught.value.response.headers["x-run-id"].replace("run_", "resp_"))
    assert failed.status == "failed"
    assert failed.error is not None
    assert failed.error.code == "model_unavailable"


async def test_a_response_of_another_organisation_does_not_exist(served: Served, stranger: Served) -> None:
    await stranger.deploy("helper", model="double:echo")
    async with served.client() as own, stranger.client() as client:
        made = await own.responses.create(model=MODEL, input="My secret is 42.")
        assert made.conversation is not None
        for attempt in (
            client.responses.retrieve(made.id),
            client.responses.delete(made.id),
            client.responses.cancel(made.id),
            client.responses.input_items.list(made.id),
        ):
            with pytest.raises(openai.NotFoundError):
                await attempt
        for known in ({"previous_response_id": made.id}, {"conversation": made.conversation.id}):
            with pytest.raises(openai.BadRequestError):
                await client.responses.create(model=MODEL, input="What is it?", **known)  # type: ignore[call-overload]  # one or the other
        assert (await own.responses.retrieve(made.id)).status == "completed"


@pytest.mark.parametrize("wrong", ["resp_1", "resp_" + "0" * 26, "run_" + "0" * 26, "%00", "x" * 3000])
async def test_an_id_that_means_nothing_is_not_found(served: Served, wrong: str) -> None:
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/cancel"), ("GET", "/input_items")):
        status, _, told = await served.ask(method, f"/v1/responses/{wrong}{path}")
        assert status in (400, 404)
        assert told["error"].keys() == {"message", "type", "param", "code"}


GOOD = {"model": MODEL, "input": "hi"}


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        ({}, 400),
        ({**GOOD, "model": "gpt-4o"}, 404),
        ({**GOOD, "input": ""}, 400),
        ({**GOOD, "input": []}, 400),
        ({**GOOD, "input": 7}, 400),
        ({**GOOD, "input": [7]}, 400),
        ({**GOOD, "input": [{"role": "system", "content": "x"}]}, 400),
        ({**GOOD, "input": [{"role": "assistant", "content": "x"}]}, 400),
        ({**GOOD, "input": [{"type": "item_reference", "id": "x"}]}, 400),
        ({**GOOD, "previous_response_id": 7}, 400),
        ({**GOOD, "previous_response_id": "resp_x"}, 400),
        ({**GOOD, "metadata": {"a": "b" * 513}}, 400),
        ({**GOOD, "metadata": {str(i): "" for i in range(17)}}, 400),
        ({**GOOD, "max_output_tokens": 0}, 400),
        ({**GOOD, "tools": [{"type": "web_search"}]}, 400),
        ({**GOOD, "text": {"format": {"type": "json_schema", "schema": {"type": "what"}}}}, 400),
        ({**GOOD, "background": True, "stream": True}, 400),
    ],
)
async def test_bad_input_is_refused_in_openais_shape_and_leaves_nothing(
    served: Served, database: Database, body: Any, status: int
) -> None:
    got, _, told = await served.ask("POST", "/v1/responses", body)
    assert got == status, told
    assert told["error"].keys() == {"message", "type", "param", "code"}
    assert told["error"]["param"] != "messages"
    organization = served.actor.organization_id
    for table in ("runs", "sessions"):
        assert not await database.pool.fetch(f"select 1 from {table} where organization_id = $1", organization)  # noqa: S608 - names of tables
