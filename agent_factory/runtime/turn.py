"""The agent loop: one turn of a conversation, from the user's message to the answer (S55-S62)."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress

import msgspec

from agent_factory.core.event import (
    ApprovalNeeded,
    ModelFinished,
    TextPiece,
    ToolFinished,
    ToolStarted,
    TurnCompleted,
    TurnEvent,
    TurnFailed,
)
from agent_factory.core.journal import Journal
from agent_factory.core.message import Message, Reasoning, Summary, ToolCall, ToolResult, user
from agent_factory.core.model import Finish, ModelRequest, ModelResponse, ModelSettings, OutputSchema
from agent_factory.core.schema import Schema
from agent_factory.kit.errors import FieldError, Invalid, Kind, Problem
from agent_factory.runtime.admission import admit
from agent_factory.runtime.answer import ask_model
from agent_factory.runtime.aside import judged
from agent_factory.runtime.compile import Compiled, named_output
from agent_factory.runtime.limits import Meter, TimeLimitExceeded
from agent_factory.runtime.masking import masked_messages
from agent_factory.runtime.memory import count_tokens, view
from agent_factory.runtime.scope import Emit, Scope, SubJournal, TurnContext, TurnEnd, Waiting
from agent_factory.runtime.summary import summariser
from agent_factory.runtime.toolbox import all_pure, run_tools

_CALL_SECONDS = 120.0
"""The longest single model call, in seconds; the turn's own limit may cut it shorter."""

_RESERVE = 1024
"""Tokens of a model's window that are kept free for its answer where `max_tokens` is not set."""


class OutputInvalid(Problem):
    """The answer does not meet the agent's output schema, even after one repair."""

    kind = Kind.UPSTREAM
    code = "output_invalid"
    title = "The answer does not match the output schema"


class RunCancelled(Problem):
    """Somebody cancelled the turn."""

    kind = Kind.CANCELLED
    code = "run_cancelled"
    title = "The run was cancelled"


async def conduct(
    compiled: Compiled,
    history: Sequence[Message],
    message: Message,
    *,
    journal: Journal,
    context: TurnContext,
    emit: Emit,
) -> TurnEnd:
    """Run one turn and return its end, which is also the last event that `emit` gets.

    Nothing is raised for what a model, a tool or a user does wrong: the end
    tells. What the journal holds already is not done again. A cancelled task
    emits its `TurnFailed` and then raises `CancelledError` as usual.
    """
    meter = Meter(compiled.agent.limits)
    compiled = judged(compiled, context.spending, meter)
    turn_ = _Turn(Scope(compiled, context, journal, meter, emit, _below), history, message)
    try:
        end = await turn_.run()
    except asyncio.CancelledError:
        emit(turn_.failed(RunCancelled("The run was cancelled before it had ended.")))
        raise
    emit(end)
    return end


async def turn(
    compiled: Compiled,
    history: Sequence[Message],
    message: Message,
    *,
    journal: Journal,
    context: TurnContext,
) -> AsyncGenerator[TurnEvent, None]:
    """Run one turn as a stream of events; closing the generator cancels the turn."""
    queue: asyncio.Queue[TurnEvent | None] = asyncio.Queue()

    async def produce() -> None:
        try:
            await conduct(compiled, history, message, journal=journal, context=context, emit=queue.put_nowait)
        finally:
            queue.put_nowait(None)

    task = asyncio.create_task(produce())
    try:
        while (event := await queue.get()) is not None:
            yield event
        await task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _below(scope: Scope, path: str, name: str, message: Message) -> TurnEnd:
    """Run the turn of an agent that another one called, as steps below the path of that call."""
    context = scope.context
    child = await scope.compiled.child(name)
    meter = Meter(child.agent.limits, above=scope.meter)

    def emit(event: TurnEvent) -> None:
        # Only what happened is passed on: the words of an agent below are for the agent above.
        if isinstance(event, ToolStarted | ToolFinished | ModelFinished):
            scope.emit(msgspec.structs.replace(event, path=f"{path}/{event.path}"))

    below = TurnContext(
        run_id=context.run_id,
        organization_id=context.organization_id,
        prefix=f"{context.prefix}{path}/",
        stream=False,
        depth=context.depth + 1,
        spending=context.spending and context.spending.of(name, child.agent.name).at(f"{context.prefix}{path}/"),
    )
    journal = SubJournal(scope.journal, path)
    child = judged(child, below.spending, meter)
    end = await _Turn(Scope(child, below, journal, meter, emit, _below), (), message).run()
    if isinstance(end, ApprovalNeeded):
        return msgspec.structs.replace(end, path=f"{path}/{end.path}")
    return end


class _Turn:
    """The state of one turn: what has been said so far."""

    def __init__(self, scope: Scope, history: Sequence[Message], message: Message) -> None:
        self._scope = scope
        self._history = history
        self._message = message
        self._admitted: Message | None = None
        self._said: list[Message] = []
        self._summary = scope.context.summary
        settings = scope.compiled.settings
        if scope.context.settings is not None:
            settings = settings.model_copy(update=scope.context.settings.model_dump(exclude_unset=True))
        self._settings: ModelSettings = settings
        self._output, self._output_schema = self._output_of(scope)
        specs = scope.compiled.specs
        self._specs = specs + scope.context.client_tools
        self._fixed = self._fixed_tokens(scope)
        self._client_names = frozenset(t.name for t in scope.context.client_tools)

    @staticmethod
    def _output_of(scope: Scope) -> tuple[OutputSchema | None, Schema | None]:
        asked = scope.context.output
        if scope.compiled.output is None and asked is not None:
            return named_output(asked), Schema(asked)
        return scope.compiled.output, scope.compiled.output_schema

    def _fixed_tokens(self, scope: Scope) -> int:
        """Count what every request of the turn carries besides the conversation, where the window is known."""
        if scope.compiled.model.window is None:
            return 0
        carried = msgspec.json.encode((self._specs, self._output)).decode()
        return count_tokens(scope.compiled.agent.instructions) + count_tokens(carried)

    async def run(self) -> TurnEnd:
        """Go through the turn; every deliberate error becomes its end."""
        limit = self._scope.compiled.agent.limits.seconds
        timer = asyncio.timeout(limit)
        try:
            async with timer:
                return await self._steps()
        except TimeoutError:
            if not timer.expired():
                raise
            return self.failed(TimeLimitExceeded(f"The turn took more than {limit:g} s; see `limits.seconds`."))
        except Waiting as waiting:
            return waiting.needed
        except Problem as problem:
            return self.failed(problem)

    def failed(self, problem: Problem) -> TurnFailed:
        """End the turn without an answer, leaving a history that every vendor accepts."""
        scope = self._scope
        meter = scope.meter
        scope.compiled.resources.redactor.cleanse(problem, scope.context.organization_id)
        if scope.context.on_failure is not None:
            scope.context.on_failure(problem)
        return TurnFailed(
            problem=problem.as_dict(),
            messages=tuple(_whole(self._said)),
            usage=meter.usage,
            cost_usd=meter.cost_usd,
            admitted=self._admitted,
            summary=self._moved(),
        )

    def _moved(self) -> Summary | None:
        return None if self._summary is self._scope.context.summary else self._summary

    async def _steps(self) -> TurnCompleted:
        scope = self._scope
        taken = self._client_names & scope.compiled.tools.keys()
        if taken:
            raise Invalid(f"The agent has tools of its own that are named {', '.join(sorted(taken))}; rename yours.")
        admitted = await admit(scope, self._message)
        if admitted is not self._message:
            self._message = self._admitted = admitted
        extra: list[Message] = []
        repaired = False
        step = 0
        while True:
            scope.meter.begin_step()
            request = await self._request(step, extra)
            response = await ask_model(scope, f"model/{step}", request, show=self._output is None)
            calls = response.message.tool_calls
            if calls:
                self._said.append(response.message)
                if await self._call(step, calls):
                    return self._completed(response.message.text, response.finish)
            else:
                faults = self._faults(response)
                if not faults:
                    self._said.append(response.message)
                    return self._completed(response.message.text, response.finish)
                if repaired:
                    raise OutputInvalid("The model was told the faults once and made them again.", errors=faults)
                repaired = True
                extra = [response.message, user(_repair(faults))]
            step += 1

    async def _request(self, step: int, extra: list[Message]) -> ModelRequest:
        scope = self._scope
        settings = self._settings
        left = scope.meter.tokens_left
        if left is not None and (settings.max_tokens is None or settings.max_tokens > left):
            settings = settings.model_copy(update={"max_tokens": max(1, left)})
        seen = await view(
            scope.compiled.agent.memory,
            [*self._history, self._message, *self._said, *extra],
            window=scope.compiled.model.window,
            reserve=self._fixed + (settings.max_tokens or _RESERVE),
            summary=self._summary,
            summarise=summariser(scope, step),
        )
        self._summary = seen.summary
        redactor, own = scope.compiled.resources.redactor, scope.context.organization_id
        return ModelRequest(
            model=scope.compiled.model.model,
            messages=masked_messages(redactor, own, seen.messages),
            instructions=redactor.text(scope.compiled.agent.instructions, own),
            tools=self._specs,
            settings=settings,
            output=self._output,
            # a little longer than the turn, so that the turn's own limit is the one that is told
            timeout=min(_CALL_SECONDS, scope.meter.seconds_left + 1.0),
        )

    async def _call(self, step: int, calls: list[ToolCall]) -> bool:
        """Run the calls of a step; true when they are the caller's own to run."""
        scope = self._scope
        if self._client_names and all(call.name in self._client_names for call in calls):
            return True
        if not all_pure(scope, calls):
            await scope.journal.flush()
        self._said.append(await run_tools(scope, step, calls))
        return False

    def _faults(self, response: ModelResponse) -> list[FieldError]:
        if self._output_schema is None:
            return []
        try:
            document = msgspec.json.decode(_bare(response.message.text))
        except msgspec.DecodeError as error:
            return [FieldError("", f"not JSON: {error}")]
        return self._output_schema.faults(document)

    def _completed(self, text: str, finish: Finish) -> TurnCompleted:
        meter = self._scope.meter
        output = None
        if self._output_schema is not None and finish != "tool_calls":
            output = msgspec.json.decode(_bare(text))
            self._scope.emit(TextPiece(text))
        return TurnCompleted(
            text=text,
            messages=tuple(self._said),
            usage=meter.usage,
            output=output,
            cost_usd=meter.cost_usd,
            finish=finish,
            admitted=self._admitted,
            summary=self._moved(),
        )


def _bare(text: str) -> str:
    """Take the fence away that many models put around JSON."""
    text = text.strip()
    if text.startswith("```") and text.endswith("```"):
        return text[3:-3].removeprefix("json").strip()
    return text


def _repair(faults: list[FieldError]) -> str:
    lines = "\n".join(f"- at {f.pointer or '/'}: {f.detail}" for f in faults)
    return f"Your answer does not match the required JSON Schema:\n{lines}\nAnswer again with the corrected JSON alone."


def _whole(said: list[Message]) -> list[Message]:
    """Answer the calls that were left open, and drop a last message that holds nothing but thoughts."""
    whole = list(said)
    if whole and whole[-1].role == "assistant":
        last = whole[-1]
        if last.tool_calls:
            note = "Not run: the turn ended before."
            whole.append(Message("tool", tuple(ToolResult(c.id, c.name, note, is_error=True) for c in last.tool_calls)))
        elif all(isinstance(part, Reasoning) for part in last.parts):
            whole.pop()
    return whole
