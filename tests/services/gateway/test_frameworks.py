"""Frameworks over the OpenAI protocols, unmodified: OpenAI's agent SDK and LangChain (S56)."""

from typing import Any

import pytest
from agents import Agent, ModelSettings, OpenAIChatCompletionsModel, OpenAIResponsesModel, Runner, function_tool
from agents.models.interface import Model
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from openai import AsyncOpenAI
from pydantic import SecretStr

from agent_factory.database.session import Database
from tests.services.gateway.asking import CALCULATE, please, runs_of
from tests.services.gateway.conftest import Served

MODEL = "agent:helper"
KINDS = {"chat": OpenAIChatCompletionsModel, "responses": OpenAIResponsesModel}


@pytest.fixture(autouse=True)
async def _helper(served: Served) -> None:
    """An agent with a tool of its own."""
    await served.deploy("helper", model="double:echo", tools=["calculator"])


def caller(client: AsyncOpenAI, kind: str, **more: Any) -> Agent:
    model: Model = KINDS[kind](MODEL, client)
    return Agent(name="caller", model=model, instructions="Be kind.", **more)


@function_tool
def weather(city: str) -> str:
    """Tell the weather of a city."""
    return f"sunny in {city}"


@pytest.mark.parametrize("kind", KINDS)
async def test_the_agent_sdk_runs_an_agent(served: Served, kind: str) -> None:
    async with served.client() as client:
        result = await Runner.run(caller(client, kind), CALCULATE)
    assert result.final_output == "Results: 409.5"


@pytest.mark.parametrize("kind", KINDS)
async def test_the_agent_sdk_streams_an_agent(served: Served, kind: str) -> None:
    async with served.client() as client:
        result = Runner.run_streamed(caller(client, kind), please(say="one two three", pause=0.02))
        raw = [event.data async for event in result.stream_events() if event.type == "raw_response_event"]
    words = [event.delta for event in raw if event.type == "response.output_text.delta"]
    assert "".join(words) == result.final_output == "one two three"


@pytest.mark.parametrize("kind", KINDS)
async def test_the_agent_sdk_runs_its_own_tools(served: Served, kind: str) -> None:
    said = please(call=[{"name": "weather", "arguments": {"city": "Rome"}}])
    async with served.client() as client:
        result = await Runner.run(caller(client, kind, tools=[weather]), said)
        assert result.final_output == "Results: sunny in Rome"
        streamed = Runner.run_streamed(caller(client, kind, tools=[weather]), said)
        async for _ in streamed.stream_events():
            pass
    assert streamed.final_output == "Results: sunny in Rome"


@pytest.mark.parametrize("kind", KINDS)
async def test_the_agent_sdk_goes_on_with_a_conversation(served: Served, kind: str) -> None:
    async with served.client() as client:
        agent = caller(client, kind, model_settings=ModelSettings(temperature=0))
        first = await Runner.run(agent, "My name is Ada.")
        said: list[Any] = [*first.to_input_list(), {"role": "user", "content": "Which?"}]
        assert (await Runner.run(agent, said)).final_output == "You said: Which?"


async def test_the_agent_sdk_leaves_the_conversation_to_the_server(served: Served, database: Database) -> None:
    async with served.client() as client:
        agent = caller(client, "responses")
        first = await Runner.run(agent, "My name is Ada.")
        await Runner.run(agent, "Which?", previous_response_id=first.last_response_id)
    runs = await runs_of(database, served.actor.organization_id, "responses")
    assert len(runs) == 2
    assert runs[0]["session_id"] == runs[1]["session_id"] is not None


@pytest.mark.parametrize("kind", KINDS)
async def test_a_turn_that_fails_is_an_exception_of_the_agent_sdk(served: Served, kind: str) -> None:
    await served.deploy("broken", model="double:unavailable", retry={"attempts": 1})
    async with served.client() as client:
        agent = Agent(name="caller", model=KINDS[kind]("agent:broken", client))
        with pytest.raises(Exception, match="503"):
            await Runner.run(agent, "hi")
        streamed = Runner.run_streamed(agent, "hi")
        with pytest.raises(Exception, match="503"):
            async for _ in streamed.stream_events():
                pass


@tool
def forecast(city: str) -> str:
    """Tell the weather of tomorrow."""
    return f"rain in {city}"


@pytest.mark.parametrize("responses", [False, True], ids=["chat", "responses"])
async def test_langchain_asks_and_streams_an_agent(served: Served, responses: bool) -> None:
    model = ChatOpenAI(
        model=MODEL,
        base_url=served.url,
        api_key=SecretStr(served.key),
        use_responses_api=responses,
        max_retries=0,
        stream_usage=True,
    )
    messages = [SystemMessage("Be kind."), HumanMessage("hi"), AIMessage("hello"), HumanMessage(CALCULATE)]
    answer = await model.ainvoke(messages)
    assert answer.text == "Results: 409.5"
    assert isinstance(answer, AIMessage)
    assert answer.usage_metadata is not None
    pieces = [piece async for piece in model.astream([HumanMessage(please(say="one two three", pause=0.02))])]
    assert "".join(piece.text for piece in pieces) == "one two three"
    assert len(pieces) > 1
    called = await model.bind_tools([forecast]).ainvoke(
        please(call=[{"name": "forecast", "arguments": {"city": "Rome"}}])
    )
    assert isinstance(called, AIMessage)
    assert [(c["name"], c["args"]) for c in called.tool_calls] == [("forecast", {"city": "Rome"})]


def test_langchain_asks_without_a_loop(served: Served) -> None:
    model = ChatOpenAI(model=MODEL, base_url=served.url, api_key=SecretStr(served.key), max_retries=0)
    assert model.invoke(CALCULATE).text == "Results: 409.5"
    assert "".join(piece.text for piece in model.stream(CALCULATE)) == "Results: 409.5"
