"""The agent loop against a model server in its own process (S55-S62)."""

import asyncio
import json
from collections.abc import AsyncGenerator
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from agent_factory.core.agent import Agent, GuardrailUse, Limits, Memory, Retry, ToolUse
from agent_factory.core.event import (
    ApprovalNeeded,
    ModelFinished,
    Retrying,
    TextPiece,
    ToolFinished,
    ToolStarted,
    TurnCompleted,
    TurnEvent,
    TurnFailed,
)
from agent_factory.core.journal import Entry, MemoryJournal
from agent_factory.core.message import Message, assistant, user
from agent_factory.core.model import ModelSettings, ToolSpec
from agent_factory.core.tool import Tool, ToolContext, ToolFactory, tool
from agent_factory.kit.catalog import Catalog
from agent_factory.kit.errors import Invalid
from agent_factory.kit.ids import uuid7
from agent_factory.runtime.compile import Compiled, Resources, compile_agent
from agent_factory.runtime.models import Endpoint, Models, ModelsSettings, Price
from agent_factory.runtime.scope import TurnContext, TurnEnd
from agent_factory.runtime.turn import conduct, turn
from agent_factory.security.egress import Egress
from tests.doubles.fixtures import ModelServer


@pytest.fixture(scope="module")
async def resources(model_server: ModelServer) -> AsyncGenerator[Resources, None]:
    egress = Egress()
    endpoints = {"local": Endpoint(url=model_server.url, context_window=8000)}
    catalog: Catalog[ToolFactory] = Catalog("agent_factory.tools")
    yield Resources(Models(ModelsSettings(endpoints=endpoints), egress), catalog)
    await egress.close()


@tool(pure=True)
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@tool
def fail(reason: str) -> str:
    """Fail."""
    raise RuntimeError(reason)


class Counter:
    """A tool with an effect, which it counts."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.tool = tool(name="effect")(self.effect)

    async def effect(self, what: str, context: ToolContext) -> str:
        """Do something."""
        self.calls.append(context.idempotency_key)
        return f"did {what}"


def agent(**fields: Any) -> Agent:
    given: dict[str, Any] = {"name": "tester", "model": "local:echo", "retry": Retry(backoff=0), **fields}
    return Agent(**given)


def says(**directive: Any) -> Message:
    return user(json.dumps(directive))


def call(name: str, /, **arguments: Any) -> dict[str, Any]:
    return {"name": name, "arguments": arguments}


class Watched(msgspec.Struct):
    """A turn with what it told."""

    end: TurnEnd
    events: list[TurnEvent]
    journal: MemoryJournal

    @property
    def shown(self) -> str:
        return "".join(e.text for e in self.events if isinstance(e, TextPiece))

    @property
    def completed(self) -> TurnCompleted:
        assert isinstance(self.end, TurnCompleted), self.end
        return self.end

    @property
    def code(self) -> str:
        assert isinstance(self.end, TurnFailed), self.end
        return self.end.problem["code"]


async def run(  # the parts of a turn
    compiled: Compiled,
    message: Message,
    *,
    history: tuple[Message, ...] = (),
    journal: MemoryJournal | None = None,
    context: TurnContext | None = None,
) -> Watched:
    events: list[TurnEvent] = []
    journal = journal or MemoryJournal()
    end = await conduct(
        compiled, history, message, journal=journal, context=context or TurnContext(run_id="r"), emit=events.append
    )
    assert events[-1] is end
    return Watched(end, events, journal)


@pytest.mark.parametrize("stream", [True, False])
async def test_a_turn_answers_and_says_what_it_used(resources: Resources, stream: bool) -> None:
    compiled = await compile_agent(agent(), resources)
    watched = await run(compiled, says(say="Hello there", usage=[7, 3]), context=TurnContext(stream=stream))
    assert watched.completed.text == watched.shown == "Hello there"
    assert watched.completed.usage.input_tokens == 7
    assert watched.completed.usage.output_tokens == 3
    assert watched.completed.messages == (assistant("Hello there"),)


async def test_tools_run_side_by_side_and_their_results_keep_the_order_of_the_calls(resources: Resources) -> None:
    running: list[str] = []
    both = asyncio.Event()

    @tool
    async def meet(name: str) -> str:
        """Wait for the other one."""
        running.append(name)
        if len(running) == 2:
            both.set()
        await both.wait()
        return name.upper()

    compiled = await compile_agent(agent(tools=[meet]), resources)
    watched = await run(compiled, says(call=[call("meet", name="a"), call("meet", name="b")]))
    assert [p.content for p in watched.completed.messages[1].parts] == ["A", "B"]  # pyright: ignore[reportAttributeAccessIssue] - all are results
    assert watched.completed.text == "Results: A; B"


async def test_what_a_tool_does_wrong_is_told_to_the_model(resources: Resources) -> None:
    compiled = await compile_agent(agent(tools=[add, fail]), resources)
    calls = [
        call("fail", reason="broken"),
        call("add", a="x", b=1),
        call("nothing"),
        {"name": "add", "arguments": "{not json"},
    ]
    watched = await run(compiled, says(call=calls))
    told = [e.content for e in watched.events if isinstance(e, ToolFinished)]
    assert any("RuntimeError: broken" in t for t in told)
    assert any("/a: " in t for t in told)
    assert any("There is no tool 'nothing'" in t for t in told)
    assert any("no JSON object" in t for t in told)
    assert watched.completed.text.startswith("Results:")


@pytest.mark.parametrize(
    ("model", "limits", "code"),
    [
        ("local:loop", Limits(steps=3), "step_limit_exceeded"),
        ("local:loop", Limits(tool_calls=2), "tool_call_limit_exceeded"),
        ("local:loop", Limits(tokens=300), "token_limit_exceeded"),
        ("local:hang", Limits(seconds=0.3), "time_limit_exceeded"),
        ("local:endless", Limits(seconds=0.5), "time_limit_exceeded"),
    ],
)
async def test_a_model_that_never_ends_is_stopped_by_each_limit(
    resources: Resources, model: str, limits: Limits, code: str
) -> None:
    """Abuse 67."""
    compiled = await compile_agent(agent(model=model, tools=[add], limits=limits), resources)
    watched = await run(compiled, user("go"))
    assert watched.code == code
    assert isinstance(watched.end, TurnFailed)
    assert "see `limits." in watched.end.problem["detail"]
    calls = {c.id for m in watched.end.messages for c in m.tool_calls}
    results = {p.call_id for m in watched.end.messages if m.role == "tool" for p in m.parts}  # pyright: ignore[reportAttributeAccessIssue] - all are results
    assert calls == results


async def test_money_is_a_limit_where_the_price_is_known(resources: Resources, model_server: ModelServer) -> None:
    """Abuse 67."""
    prices = {"local:*": Price(input=Decimal(1), output=Decimal(2))}
    egress = Egress()
    settings = ModelsSettings(endpoints={"local": Endpoint(url=model_server.url)}, prices=prices)
    priced = Resources(Models(settings, egress), resources.tools)
    limits = Limits(usd=Decimal("0.001"), steps=1000, tool_calls=1000)
    watched = await run(await compile_agent(agent(model="local:loop", tools=[add], limits=limits), priced), user("go"))
    await egress.close()
    assert watched.code == "cost_limit_exceeded"
    assert isinstance(watched.end, TurnFailed)
    usage = watched.end.usage
    spent = Decimal(usage.input_tokens + 2 * usage.output_tokens) / 1_000_000
    assert Decimal(watched.end.cost_usd or 0) == spent >= Decimal("0.001")


async def test_where_nobody_knows_the_price_a_limit_of_money_lets_nothing_be_asked(
    resources: Resources, model_server: ModelServer
) -> None:
    """Abuse 67: what costs nobody knows how much would never reach the limit."""
    compiled = await compile_agent(agent(model="local:loop", tools=[add], limits=Limits(usd=Decimal(1))), resources)
    watched = await run(compiled, says(key="unpriced"))
    assert watched.code == "model_unpriced"
    assert (await model_server.calls("unpriced"))["calls"] == 0


async def test_what_an_agent_below_uses_counts_above_while_it_works(resources: Resources) -> None:
    """Abuse 67: an agent below ends with the tokens of the one that asked it, whatever its own limits say."""
    below = agent(model="local:loop", tools=[add], limits=Limits(steps=1000, tool_calls=1000)).model_copy(
        update={"name": "below"}
    )
    boss = agent(tools=[ToolUse(use="agent", config={"agent": "below"})], limits=Limits(tokens=2000))
    compiled = await compile_agent(boss, resources, {"below": below})
    watched = await run(compiled, says(call=[call("ask_below", message="go")], say="done"))
    assert watched.code == "token_limit_exceeded"
    assert isinstance(watched.end, TurnFailed)
    assert watched.end.usage.total_tokens < 4000


@pytest.mark.parametrize(
    ("model", "code"),
    [
        ("local:malformed", "model_protocol_error"),
        ("local:garbage", "model_protocol_error"),
        ("local:unavailable", "model_unavailable"),
        ("local:overloaded", "model_unavailable"),
        ("local:context", "context_window_exceeded"),
    ],
)
@pytest.mark.parametrize("stream", [True, False])
async def test_a_failing_model_costs_one_clear_error(resources: Resources, model: str, code: str, stream: bool) -> None:
    compiled = await compile_agent(agent(model=model), resources)
    assert (await run(compiled, user("go"), context=TurnContext(stream=stream))).code == code


async def test_a_call_that_fails_is_made_again_when_its_class_allows(
    resources: Resources, model_server: ModelServer
) -> None:
    key = uuid7().hex
    compiled = await compile_agent(agent(), resources)
    directive = says(key=key, say="well", fail={"key": key, "times": 2, "status": 503})
    watched = await run(compiled, directive)
    assert watched.completed.text == "well"
    assert [e.attempt for e in watched.events if isinstance(e, Retrying)] == [1, 2]
    assert (await model_server.calls(key))["calls"] == 3


async def test_nothing_is_tried_again_once_words_have_left(resources: Resources, model_server: ModelServer) -> None:
    key = uuid7().hex
    compiled = await compile_agent(agent(), resources)
    watched = await run(compiled, says(key=key, say="one two three four", stream_error=2, pause=0.1))
    assert isinstance(watched.end, TurnFailed)
    assert watched.shown
    assert (await model_server.calls(key))["calls"] == 1


async def test_a_rejected_request_is_not_repeated(resources: Resources, model_server: ModelServer) -> None:
    key = uuid7().hex
    compiled = await compile_agent(agent(), resources)
    assert (await run(compiled, says(key=key, status=400))).code == "model_rejected_request"
    assert (await model_server.calls(key))["calls"] == 1


SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": False}


async def test_an_answer_meets_the_output_schema(resources: Resources) -> None:
    compiled = await compile_agent(agent(output=SCHEMA), resources)
    watched = await run(compiled, says(json={"n": 5}))
    assert watched.completed.output == {"n": 5}
    assert json.loads(watched.shown) == {"n": 5}


async def test_a_wrong_answer_is_repaired_once_and_only_the_repaired_one_is_shown(resources: Resources) -> None:
    compiled = await compile_agent(agent(output=SCHEMA), resources)
    watched = await run(compiled, says(json={"n": "x"}, then={"json": {"n": 6}}))
    assert watched.completed.output == {"n": 6}
    assert json.loads(watched.shown) == {"n": 6}


async def test_an_answer_that_stays_wrong_is_a_typed_error_with_pointers(resources: Resources) -> None:
    compiled = await compile_agent(agent(model="local:fixed", output=SCHEMA), resources)
    watched = await run(compiled, user("go"))
    assert watched.code == "output_invalid"
    assert watched.shown == ""
    assert isinstance(watched.end, TurnFailed)
    assert watched.end.problem["errors"]


async def test_a_replayed_turn_repeats_nothing_that_is_recorded(
    resources: Resources, model_server: ModelServer
) -> None:
    key = uuid7().hex
    counter = Counter()
    compiled = await compile_agent(agent(tools=[counter.tool]), resources)
    message = says(key=key, call=[call("effect", what="x")], say="done")
    first = await run(compiled, message)
    again = await run(compiled, message, journal=first.journal)
    assert again.completed.text == first.completed.text == "done"
    assert again.completed.messages == first.completed.messages
    assert counter.calls == ["r/tool/0/0"]
    assert (await model_server.calls(key))["calls"] == 2


async def test_a_model_answer_is_committed_before_a_tool_with_an_effect_runs(resources: Resources) -> None:
    told: list[str] = []

    class Journal(MemoryJournal):
        async def put(self, entry: Entry, *, durable: bool) -> None:
            told.append(f"{entry.path} {'durable' if durable else 'later'}")
            await super().put(entry, durable=durable)

        async def flush(self) -> None:
            told.append("flush")

    counter = Counter()
    compiled = await compile_agent(agent(tools=[counter.tool, add]), resources)
    await run(compiled, says(call=[call("effect", what="x")]), journal=Journal())
    assert told == ["model/0 later", "flush", "tool/0/0 durable", "model/1 later"]
    told.clear()
    await run(compiled, says(call=[call("add", a=1, b=2)]), journal=Journal())
    assert told == ["model/0 later", "tool/0/0 later", "model/1 later"]


async def test_a_cancelled_turn_leaves_a_valid_history(resources: Resources, model_server: ModelServer) -> None:
    key = uuid7().hex
    started = asyncio.Event()

    @tool
    async def forever() -> str:
        """Never end."""
        started.set()
        await asyncio.Event().wait()
        return ""

    compiled = await compile_agent(agent(tools=[forever]), resources)
    events: list[TurnEvent] = []
    task = asyncio.create_task(
        conduct(
            compiled,
            (),
            says(key=key, call=[call("forever")]),
            journal=MemoryJournal(),
            context=TurnContext(),
            emit=events.append,
        )
    )
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    end = events[-1]
    assert isinstance(end, TurnFailed)
    assert end.problem["code"] == "run_cancelled"
    assert [m.role for m in end.messages] == ["assistant", "tool"]


async def test_closing_the_stream_of_events_closes_the_call_of_the_model(
    resources: Resources, model_server: ModelServer
) -> None:
    key = uuid7().hex
    compiled = await compile_agent(agent(), resources)
    events = turn(compiled, (), says(key=key, say="a b c d", pause=0.2), journal=MemoryJournal(), context=TurnContext())
    assert isinstance(await anext(events), TextPiece)
    await events.aclose()
    async with asyncio.timeout(10):
        while (await model_server.calls(key))["aborted"] != 1:  # noqa: ASYNC110 - the server is another process
            await asyncio.sleep(0.02)


async def test_a_question_to_a_person_stops_the_turn_and_the_decision_goes_on(resources: Resources) -> None:
    counter = Counter()
    functions = {"effect": counter.tool}
    asking = agent(tools=[ToolUse(use="effect", permission="ask")])
    compiled = await compile_agent(asking, resources, functions=functions)
    message = says(call=[call("effect", what="x")], say="done")
    first = await run(compiled, message)
    assert isinstance(first.end, ApprovalNeeded)
    assert first.end.path == "tool/0/0/approval"
    assert counter.calls == []

    journal = first.journal
    await journal.put(_decision(first.end.path, approved=True), durable=True)
    assert (await run(compiled, message, journal=journal)).completed.text == "done"
    assert len(counter.calls) == 1


async def test_a_refused_call_is_told_to_the_model(resources: Resources) -> None:
    counter = Counter()
    asking = agent(tools=[ToolUse(use="effect", permission="ask")])
    compiled = await compile_agent(asking, resources, functions={"effect": counter.tool})
    journal = MemoryJournal()
    await journal.put(_decision("tool/0/0/approval", approved=False), durable=True)
    watched = await run(compiled, says(call=[call("effect", what="x")]), journal=journal)
    assert "A person refused this call" in watched.completed.text
    assert counter.calls == []


def _decision(path: str, *, approved: bool) -> Entry:
    return Entry(path, "approval", "", msgspec.Raw(b"null"), msgspec.Raw(msgspec.json.encode({"approved": approved})))


async def test_a_denied_tool_is_never_called(resources: Resources) -> None:
    counter = Counter()
    compiled = await compile_agent(
        agent(tools=[ToolUse(use="effect", permission="deny")]), resources, functions={"effect": counter.tool}
    )
    watched = await run(compiled, says(call=[call("effect", what="x")]))
    assert "not allowed here" in watched.completed.text
    assert counter.calls == []


async def test_an_agent_calls_another_and_its_steps_lie_below_the_call(resources: Resources) -> None:
    helper = Agent(name="helper", model="local:fixed")
    boss = agent(tools=[ToolUse(use="agent", name="ask_helper", config={"agent": "helper"})])
    compiled = await compile_agent(boss, resources, {"helper": helper})
    watched = await run(compiled, says(call=[call("ask_helper", message="hi")]))
    assert "Hello from the model server." in watched.completed.text
    assert "tool/0/0/model/0" in watched.journal.entries
    below = [e.path for e in watched.events if isinstance(e, ModelFinished)]
    assert below == ["model/0", "tool/0/0/model/0", "model/1"]


async def test_agents_that_call_each_other_for_ever_are_stopped_by_depth(resources: Resources) -> None:
    first = agent(model="local:tool", tools=[ToolUse(use="agent", name="next", config={"agent": "tester"})])
    compiled = await compile_agent(first, resources, {"tester": first})
    watched = await run(compiled, user("go"))
    assert "deep" in msgspec.json.encode([e.output for e in watched.journal.entries.values()]).decode()


async def test_an_input_guardrail_changes_what_the_model_gets(resources: Resources, model_server: ModelServer) -> None:
    compiled = await compile_agent(agent(guardrails=[GuardrailUse(use="pii", action="redact")]), resources)
    watched = await run(compiled, user("mail me at jane.doe@example.com please"))
    assert "jane.doe@example.com" not in watched.completed.text
    assert watched.completed.admitted is not None
    assert "jane.doe" not in watched.completed.admitted.text


@pytest.mark.parametrize("stream", [True, False])
async def test_an_output_guardrail_holds_while_streaming(resources: Resources, stream: bool) -> None:
    use = GuardrailUse(use="pii", on=("output",), action="redact")
    compiled = await compile_agent(agent(guardrails=[use]), resources)
    watched = await run(
        compiled, says(say="write to jane.doe@example.com now", pieces=12), context=TurnContext(stream=stream)
    )
    assert "jane.doe" not in watched.shown
    assert watched.shown == watched.completed.text == watched.completed.messages[-1].text
    assert watched.shown.startswith("write to ")


@pytest.mark.parametrize("stream", [True, False])
async def test_a_blocked_answer_leaves_no_forbidden_word(resources: Resources, stream: bool) -> None:
    use = GuardrailUse(use="pii", on=("output",), action="block")
    compiled = await compile_agent(agent(guardrails=[use]), resources)
    watched = await run(compiled, says(say="it is jane.doe@example.com", pieces=9), context=TurnContext(stream=stream))
    assert watched.code == "guardrail_blocked"
    assert "jane" not in watched.shown


async def test_the_window_drops_what_is_old_and_keeps_the_question(
    resources: Resources, model_server: ModelServer
) -> None:
    key = uuid7().hex
    history = tuple(m for i in range(200) for m in (user(f"question {i} " * 20), assistant(f"answer {i} " * 20)))
    compiled = await compile_agent(agent(memory=Memory(type="window", max_tokens=1000)), resources)
    await run(compiled, says(key=key, say="ok"), history=history)
    sent = (await model_server.requests(key))[-1]
    messages = sent.get("body", sent)["messages"]
    assert 2 < len(messages) < 60
    assert "answer 199" in json.dumps(messages)
    assert "answer 0 " not in json.dumps(messages)


async def test_a_full_memory_that_does_not_fit_is_a_clear_error(resources: Resources) -> None:
    history = tuple(m for i in range(400) for m in (user(f"question {i} " * 20), assistant(f"answer {i} " * 20)))
    compiled = await compile_agent(agent(), resources)
    assert (await run(compiled, user("and?"), history=history)).code == "context_window_exceeded"


async def test_instructions_take_their_share_of_the_window(resources: Resources) -> None:
    history = tuple(m for i in range(40) for m in (user(f"question {i} " * 20), assistant(f"answer {i} " * 20)))
    compiled = await compile_agent(agent(), resources)
    assert (await run(compiled, says(say="ok"), history=history)).completed.text == "ok"
    compiled = await compile_agent(agent(instructions="Answer in verse. " * 1_000), resources)
    assert (await run(compiled, says(say="ok"), history=history)).code == "context_window_exceeded"


async def test_a_running_summary_is_made_once_and_handed_on(resources: Resources) -> None:
    history = tuple(m for i in range(60) for m in (user(f"question {i} " * 20), assistant(f"answer {i} " * 20)))
    compiled = await compile_agent(agent(memory=Memory(type="summary", max_tokens=2000)), resources)
    watched = await run(compiled, says(say="ok"), history=history)
    summary = watched.completed.summary
    assert summary is not None
    assert 0 < summary.upto < len(history)
    again = await run(compiled, says(say="ok"), history=history, context=TurnContext(summary=summary))
    assert again.completed.summary is None
    assert not [p for p in again.journal.entries if p.startswith("summary")]


async def test_a_callers_own_tool_ends_the_turn_with_its_call(resources: Resources) -> None:
    compiled = await compile_agent(agent(), resources)
    own = ToolSpec("weather", "Tell the weather.", {"type": "object", "properties": {"city": {"type": "string"}}})
    context = TurnContext(client_tools=(own,))
    watched = await run(compiled, says(call=[call("weather", city="Rome")]), context=context)
    assert watched.completed.finish == "tool_calls"
    assert watched.completed.messages[-1].tool_calls[0].name == "weather"


async def test_settings_of_one_turn_go_over_the_agents_own(resources: Resources, model_server: ModelServer) -> None:
    key = uuid7().hex
    compiled = await compile_agent(agent(settings=ModelSettings(temperature=0.1, seed=4)), resources)
    await run(compiled, says(key=key, say="ok"), context=TurnContext(settings=ModelSettings(temperature=0.9)))
    sent = (await model_server.requests(key))[-1]
    body = sent.get("body", sent)
    assert body["temperature"] == 0.9
    assert body["seed"] == 4


async def test_every_tool_that_cannot_be_made_is_named_by_its_pointer(resources: Resources) -> None:
    broken = agent(tools=["calculator", "no_such_tool", {"use": "file", "config": {"nonsense": 1}}, "calculator"])
    with pytest.raises(Invalid) as caught:
        await compile_agent(broken, resources)
    pointers = [e.pointer for e in caught.value.errors]
    assert "/tools/1" in pointers
    assert any(p.startswith("/tools/2") for p in pointers)
    assert "/tools/3" in pointers


async def test_a_turn_shows_its_tools_before_their_results(resources: Resources) -> None:
    compiled = await compile_agent(agent(tools=["calculator"]), resources)
    watched = await run(compiled, says(call=[call("calculator", expression="6*7")]))
    kinds = [type(e) for e in watched.events if not isinstance(e, TextPiece)]
    assert kinds == [ModelFinished, ToolStarted, ToolFinished, ModelFinished, TurnCompleted]
    assert "42" in watched.completed.text


def test_a_tool_of_a_script_is_known_by_its_name() -> None:
    assert isinstance(add, Tool)
    assert Agent(name="x", tools=[add]).to_dict()["tools"] == ["add"]  # pyright: ignore[reportArgumentType] - lists become tuples
