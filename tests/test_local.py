"""Agents in a script, without server or database (S55, S61, S62)."""

import asyncio
import subprocess
import sys
from contextlib import aclosing
from pathlib import Path

import pytest

from agent_factory import Agent, Result, run, run_sync, stream, tool
from agent_factory.core.agent import parse_agent
from agent_factory.core.event import ApprovalNeeded, TextPiece, ToolFinished, ToolStarted, TurnCompleted, TurnFailed
from agent_factory.core.guardrail import GuardrailBlocked
from agent_factory.core.message import user
from agent_factory.core.model import ModelUnavailable, UnknownModel
from agent_factory.kit.errors import Invalid, Problem
from agent_factory.local import ApprovalMissing, open_resources, typed
from agent_factory.runtime.limits import StepLimitExceeded
from agent_factory.runtime.models import Endpoint, ModelsSettings
from agent_factory.settings import Settings
from tests.doubles.fixtures import ModelServer

CALCULATE = "What is 6 * 7?"


def _agent(**fields: object) -> Agent:
    return parse_agent({"name": "a", "model": "demo", **fields})


CAREFUL = _agent(tools=[{"use": "calculator", "permission": "ask"}])


@tool
def stock_level(article: str) -> str:
    """Tell how many pieces of an article are in stock."""
    return f"12 of {article}"


async def test_a_turn_gives_text_messages_usage_and_cost() -> None:
    result = await run(_agent(tools=["calculator"]), CALCULATE)
    assert "42" in result.text
    assert [m.role for m in result.messages] == ["user", "assistant", "tool", "assistant"]
    assert result.usage.total_tokens > 0
    assert result.cost_usd == "0"
    assert result.output is None


async def test_a_conversation_goes_on_from_the_messages_of_the_last_turn() -> None:
    agent = _agent()
    first = await run(agent, "hello")
    second = await run(agent, "again", history=first.messages)
    assert [m.text for m in second.messages if m.role == "user"] == ["hello", "again"]
    assert second.messages[: len(first.messages)] == first.messages


def test_code_that_is_not_asynchronous_can_run_an_agent() -> None:
    assert "42" in run_sync(_agent(tools=["calculator"]), CALCULATE).text


async def test_a_function_of_ones_own_is_a_tool() -> None:
    result = await run(_agent(tools=[stock_level]), 'Please use stock_level for "chair".')
    assert "12 of chair" in result.text


async def test_events_come_in_order_while_the_turn_runs() -> None:
    agent = _agent(tools=["calculator"])
    async with aclosing(stream(agent, CALCULATE)) as events:
        seen = [event async for event in events]
    kinds = [type(e) for e in seen]
    assert isinstance(seen[-1], TurnCompleted)
    assert kinds.index(ToolStarted) < kinds.index(ToolFinished) < kinds.index(TextPiece)
    assert "".join(e.text for e in seen if isinstance(e, TextPiece)) == seen[-1].text


async def test_structured_output_is_a_document_that_meets_its_schema() -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    result = await run(_agent(output=schema), "Where?")
    assert isinstance(result.output["city"], str)


async def test_agents_call_agents() -> None:
    desk = _agent(tools=[{"use": "agent", "name": "accountant", "config": {"agent": "accountant"}}])
    team = {"accountant": _agent(name="accountant", tools=["calculator"])}
    result = await run(desk, f"Ask the accountant: {CALCULATE}", agents=team)
    assert "42" in result.text


async def test_a_call_that_needs_consent_is_made_when_it_is_given() -> None:
    asked: list[ApprovalNeeded] = []

    async def yes(event: ApprovalNeeded) -> bool:
        await asyncio.sleep(0)
        asked.append(event)
        return True

    result = await run(CAREFUL, CALCULATE, approve=yes)
    assert "42" in result.text
    assert [e.name for e in asked] == ["calculator"]


async def test_a_call_that_is_refused_is_not_made() -> None:
    result = await run(CAREFUL, CALCULATE, approve=lambda _: False)
    assert "refused" in result.text
    assert "The result is" not in result.text


async def test_without_anybody_to_ask_the_turn_ends_with_the_question() -> None:
    with pytest.raises(ApprovalMissing, match="calculator needs consent"):
        await run(CAREFUL, CALCULATE)
    async with aclosing(stream(CAREFUL, CALCULATE)) as events:
        assert isinstance([event async for event in events][-1], ApprovalNeeded)


async def test_words_before_a_question_are_not_said_again_after_it(model_server: ModelServer) -> None:
    settings = _talking_to(model_server)
    call = '"call": [{"name": "calculator", "arguments": {"expression": "6*7"}}]'
    say = f'{{"steps": [{{"say": "Let me see.", {call}}}, {{"say": " Done."}}]}}'
    agent = CAREFUL.model_copy(update={"model": "here:echo"})
    async with (
        open_resources(settings) as resources,
        aclosing(stream(agent, say, resources=resources, approve=lambda _: True)) as events,
    ):
        said = "".join([e.text async for e in events if isinstance(e, TextPiece)])
    assert said == "Let me see. Done."


def _talking_to(server: ModelServer) -> Settings:
    endpoint = Endpoint(url=server.url, model="echo")
    return Settings(models=ModelsSettings(endpoints={"here": endpoint}, default="here:echo"))


async def test_a_failed_turn_raises_the_problem_by_its_own_class(model_server: ModelServer) -> None:
    async with open_resources(_talking_to(model_server)) as resources:
        with pytest.raises(ModelUnavailable):
            await run(_agent(model="here:unavailable", retry={"attempts": 1}), "hi", resources=resources)
    with pytest.raises(StepLimitExceeded):
        await run(_agent(tools=["calculator"], limits={"steps": 1}), CALCULATE)
    guarded = _agent(guardrails=[{"use": "pii", "action": "block"}])
    with pytest.raises(GuardrailBlocked):
        await run(guarded, "Write to jane.doe@example.com")


async def test_an_agent_that_cannot_run_says_why_before_it_starts() -> None:
    with pytest.raises(UnknownModel):
        await run(_agent(model="nonsense"), "hi")
    with pytest.raises(Invalid) as problem:
        await run(_agent(tools=["teleport"]), "hi")
    assert [e.pointer for e in problem.value.errors] == ["/tools/0"]


async def test_closing_the_stream_cancels_the_turn(model_server: ModelServer) -> None:
    agent = _agent(model="here:endless")
    async with open_resources(_talking_to(model_server)) as resources:
        async with aclosing(stream(agent, '{"endless": true, "key": "local-close"}', resources=resources)) as events:
            async for _ in events:
                break
        while (await model_server.calls("local-close"))["aborted"] != 1:
            pass  # each look is a request, and the server needs only a moment to notice that its client is gone


async def test_what_a_guardrail_redacted_stays_redacted_in_the_history() -> None:
    agent = _agent(guardrails=[{"use": "pii", "on": ["input"], "action": "redact"}])
    result = await run(agent, "Write to jane.doe@example.com")
    assert "jane.doe@example.com" not in str(result.messages)


async def test_a_message_of_parts_is_taken_as_well() -> None:
    assert "hello" in (await run(_agent(), user("hello"))).text


async def test_the_workspace_is_the_folder_of_the_file_tools(tmp_path: Path) -> None:
    (tmp_path / "note.md").write_text("buy milk")
    async with open_resources(workspace=tmp_path) as resources:
        result = await run(_agent(tools=["file"]), "Read the file note.md", resources=resources)
    assert "buy milk" in result.text


def test_a_report_becomes_the_class_that_has_its_code() -> None:
    problem = typed({"code": "model_unavailable", "detail": "Away.", "errors": [{"pointer": "/x", "detail": "y"}]})
    assert type(problem) is ModelUnavailable
    assert problem.detail == "Away."
    assert problem.errors[0].pointer == "/x"


def test_a_report_with_an_unknown_code_is_a_plain_problem() -> None:
    problem = typed({"code": "from_the_future", "detail": "?"})
    assert type(problem) is Problem


def test_importing_the_package_is_quick_because_it_imports_nothing() -> None:
    program = "import sys, agent_factory; print([m for m in ('pydantic', 'aiohttp', 'msgspec') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_running_an_agent_needs_neither_the_web_framework_nor_a_database_library() -> None:
    program = (
        "import sys\nfrom agent_factory import Agent, run_sync\nrun_sync(Agent(name='a', model='demo'), 'hi')\n"
        "print([m for m in ('fastapi', 'sqlalchemy', 'granian') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_result_can_be_compared_and_printed() -> None:
    first = run_sync(_agent(), "hello")
    assert isinstance(first, Result)
    assert "hello" in repr(first)
    assert not isinstance(first, TurnFailed)
