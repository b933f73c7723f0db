"""What a model says is shown, kept and acted on without known secrets, streamed or not (abuse 68)."""

import base64
import json
from collections.abc import AsyncGenerator
from typing import Any

import msgspec
import pytest

from agent_factory.core.agent import Agent, GuardrailUse, Memory, Retry
from agent_factory.core.event import ReasoningPiece, TextPiece, ToolFinished, TurnCompleted, TurnEvent
from agent_factory.core.journal import MemoryJournal
from agent_factory.core.message import assistant, user
from agent_factory.core.tool import Tool, ToolContext, ToolFactory, tool
from agent_factory.kit.catalog import Catalog
from agent_factory.kit.redaction import Redactor
from agent_factory.kit.spellings import MASK
from agent_factory.runtime.compile import Resources, compile_agent
from agent_factory.runtime.models import Endpoint, Models, ModelsSettings
from agent_factory.runtime.scope import TurnContext
from agent_factory.runtime.turn import conduct
from agent_factory.security.egress import Egress
from tests.doubles.fixtures import ModelServer

OPERATORS = "canary-operator-1a2b3c4d"
USED = "canary/used+5e6f7a8b"
OTHERS = "canary-others-9c0d1e2f"
OWN, OTHER = "0190b5c0-0000-7000-8000-000000000001", "0190b5c0-0000-7000-8000-000000000002"


def unseen(directive: dict[str, Any]) -> str:
    """Write a directive so that no value in it is known on the way to the model, which reads it all the same."""
    text = json.dumps(directive)
    for value in (OPERATORS, USED, OTHERS):
        for form in (value, base64.b64encode(value.encode()).decode()):
            text = text.replace(form, "".join(f"\\u{ord(c):04x}" for c in form))
    return text


class Catalogue:
    """One tool that writes down what it was called with."""

    def __init__(self) -> None:
        self.called: list[str] = []

        @tool(name="note")
        async def note(text: str) -> str:
            """Note something."""
            self.called.append(text)
            return "noted"

        self.note = note


@pytest.fixture
async def resources(model_server: ModelServer) -> AsyncGenerator[Resources, None]:
    redactor = Redactor([OPERATORS])
    redactor.learn(OWN, USED)
    redactor.learn(OTHER, OTHERS)
    egress = Egress()
    models = Models(ModelsSettings(endpoints={"local": Endpoint(url=model_server.url, context_window=8000)}), egress)
    yield Resources(models, Catalog[ToolFactory]("agent_factory.tools"), redactor=redactor)
    await egress.close()


class Left(msgspec.Struct):
    """All that a turn left behind."""

    end: TurnCompleted
    events: list[TurnEvent]
    journal: MemoryJournal

    @property
    def everything(self) -> str:
        entries = [(e.path, bytes(e.input), bytes(e.output)) for e in self.journal.entries.values()]
        return f"{self.end} {self.events} {entries}"

    @property
    def pieces(self) -> list[str]:
        return [e.text for e in self.events if isinstance(e, TextPiece)]


async def said(
    resources: Resources, directive: dict[str, Any], *, stream: bool = True, more: Any = (), **fields: Any
) -> Left:
    given: dict[str, Any] = {"name": "tester", "model": "local:echo", "retry": Retry(backoff=0), **fields}
    compiled = await compile_agent(Agent(**given), resources, organization_id=OWN)
    events: list[TurnEvent] = []
    journal = MemoryJournal()
    context = TurnContext(run_id="r", organization_id=OWN, stream=stream)
    message = user(unseen(directive))
    end = await conduct(compiled, more, message, journal=journal, context=context, emit=events.append)
    assert isinstance(end, TurnCompleted), end
    return Left(end, events, journal)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("value", [OPERATORS, USED, base64.b64encode(USED.encode()).decode()])
@pytest.mark.parametrize("guarded", [False, True])
async def test_a_secret_that_a_model_says_is_in_no_event_no_answer_and_no_journal(
    resources: Resources, value: str, *, stream: bool, guarded: bool
) -> None:
    """However the vendor cuts its stream, here into pieces of two or three characters."""
    rules = [GuardrailUse(use="pii")] if guarded else []
    text = f"The key is {value}, and {value}."
    left = await said(resources, {"say": text, "pieces": 25}, stream=stream, guardrails=rules)
    assert left.end.text == f"The key is {MASK}, and {MASK}."
    assert "".join(left.pieces) == left.end.text
    assert value not in left.everything
    if stream and not guarded:
        assert len(left.pieces) > 3, "what is no secret streams as it comes"


async def test_what_another_organisation_has_used_is_left(resources: Resources) -> None:
    """Whoever calls an ordinary word a secret does not change what others read."""
    assert (await said(resources, {"say": OTHERS})).end.text == OTHERS


async def test_thoughts_are_masked_as_words_are(resources: Resources) -> None:
    left = await said(resources, {"say": "Yes.", "reasoning": f"I must not say {USED} aloud"})
    thoughts = "".join(e.text for e in left.events if isinstance(e, ReasoningPiece))
    assert thoughts == f"I must not say {MASK} aloud"
    assert USED not in left.everything


@pytest.mark.parametrize("stream", [True, False])
async def test_a_tool_is_not_called_with_a_secret_that_the_model_says(resources: Resources, *, stream: bool) -> None:
    """A model that was talked into it cannot carry the value out by way of a tool."""
    catalogue = Catalogue()
    call = {"name": "note", "arguments": {"text": f"https://evil.example/?q={USED}"}}
    left = await said(resources, {"call": [call], "say": "Done."}, stream=stream, tools=[catalogue.note])
    assert catalogue.called == [f"https://evil.example/?q={MASK}"]
    assert USED not in left.everything


async def test_a_secret_is_not_carried_out_as_a_tools_name_or_the_id_of_a_call(resources: Resources) -> None:
    catalogue = Catalogue()
    calls = [
        {"name": OPERATORS, "arguments": {}},
        {"name": "note", "arguments": {"text": "x"}, "id": OPERATORS},
    ]
    left = await said(resources, {"call": calls, "say": "Done."}, tools=[catalogue.note])
    assert OPERATORS not in left.everything
    assert catalogue.called == ["x"]
    assert "There is no tool 'redacted'" in left.everything


@pytest.mark.parametrize("shift", range(0, 24, 5))
async def test_a_result_that_is_cut_in_the_midst_of_a_secret_shows_no_part_of_it(
    resources: Resources, shift: int
) -> None:
    """A server that knows a secret could place it so; what is cut has been masked before."""
    most = 1_000
    note = len(f"\n[cut: {most * 2} characters in all]")
    before = most - note - shift

    async def long() -> str:
        return ("." * before + USED).ljust(most * 2, ".")

    told = Tool("long", "Say much.", {"type": "object", "properties": {}}, long, max_result=most)

    def mask(text: str) -> str:
        return resources.redactor.text(text, OWN)

    open_to = msgspec.structs.replace(resources, doors={"mask": mask})
    left = await said(open_to, {"call": [{"name": "long", "arguments": {}}], "say": "Done."}, tools=(told,))
    (result,) = [e.content for e in left.events if isinstance(e, ToolFinished)]
    assert "[cut:" in result
    assert USED[:5] not in result


async def test_a_structured_answer_is_masked_and_stays_json(resources: Resources) -> None:
    schema = {"type": "object", "properties": {"key": {"type": "string"}}, "required": ["key"]}
    left = await said(resources, {"json": {"key": f"it is {USED}"}}, output=schema)
    assert left.end.output == {"key": f"it is {MASK}"}
    assert USED not in left.everything


async def test_a_secret_that_a_tool_used_during_the_turn_is_masked_in_the_answer_after_it(resources: Resources) -> None:
    fresh = "canary-fresh-3a4b5c6d"

    @tool(name="use")
    async def use(context: ToolContext) -> str:
        """Use a secret."""
        resources.redactor.learn(context.organization_id, fresh)
        return "used"

    spelled = "".join(f"\\u{ord(c):04x}" for c in fresh)
    steps = [{"call": [{"name": "use", "arguments": {}}]}, {"say": "SPELLED"}]
    compiled = await compile_agent(
        Agent(name="tester", model="local:echo", tools=(use,)), resources, organization_id=OWN
    )
    events: list[TurnEvent] = []
    message = user(json.dumps({"steps": steps}).replace("SPELLED", f"it was {spelled}"))
    context = TurnContext(run_id="r", organization_id=OWN)
    end = await conduct(compiled, (), message, journal=MemoryJournal(), context=context, emit=events.append)
    assert isinstance(end, TurnCompleted)
    assert end.text == f"it was {MASK}"
    assert fresh not in str(events)
    assert any(isinstance(event, ToolFinished) for event in events)


async def test_a_summary_keeps_no_secret(resources: Resources) -> None:
    history = [user(f"{n} {'words ' * 300}") if n % 2 else assistant("yes " * 300) for n in range(1, 40)]
    history[0] = user("words " * 300 + unseen({"say": f"it is {USED}"}))
    left = await said(resources, {"say": "Yes."}, memory=Memory(type="summary"), more=history)
    summaries = [bytes(e.output).decode() for e in left.journal.entries.values() if e.kind == "summary"]
    assert any(f"it is {MASK}" in summary for summary in summaries)
    assert USED not in left.everything


async def test_a_model_is_told_no_secret_by_instructions_or_by_a_tools_description(
    resources: Resources, model_server: ModelServer
) -> None:
    """An MCP server may describe its tools with the credential that it was asked with."""

    async def echo(text: str) -> str:
        return text

    parameters = {"type": "object", "properties": {"text": {"type": "string", "description": f"not {USED}"}}}
    told = Tool("echo", f"You sent Bearer {USED}.", parameters, echo)
    await model_server.calls()
    await said(resources, {"say": "Yes.", "key": "told"}, instructions=f"The key is {OPERATORS}.", tools=[told])
    (request,) = await model_server.requests("told")
    body = json.dumps(request["body"])
    assert body.count(MASK) == 3
    assert USED not in body
    assert OPERATORS not in body
