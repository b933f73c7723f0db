"""Replays a recorded conversation through our agent loop against a loopback server that answers as recorded."""

import json
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Protocol

import msgspec
import orjson
from aiohttp import web

from agent_factory.core.agent import Agent, Retry
from agent_factory.core.event import ApprovalNeeded, TurnCompleted, TurnFailed
from agent_factory.core.journal import MemoryJournal
from agent_factory.core.message import Message, ToolResult
from agent_factory.core.model import ToolSpec
from agent_factory.core.schema import Schema
from agent_factory.core.tool import Tool, ToolContext, ToolFactory
from agent_factory.kit.catalog import Catalog
from agent_factory.kit.errors import Invalid
from agent_factory.providers import Access
from agent_factory.providers.wire.provider import Wire, WireProvider
from agent_factory.runtime.compile import Resources, compile_agent
from agent_factory.runtime.models import Models, ModelsSettings, ResolvedModel
from agent_factory.runtime.scope import TurnContext
from agent_factory.runtime.turn import conduct
from agent_factory.security.egress import Egress
from tests.recorded.conversations import PROVIDER, Conversation, same_json

_ID = re.compile(r"\b(?:call_[0-9a-f]{32}|pyd_ai_[0-9a-f]{32})\b")
"""Ids as we and as the recording client make them up."""


class Protocolled(Protocol):
    """How one protocol's recordings are read; see `conversations`."""

    def tools(self, request: dict[str, Any], /) -> list[dict[str, Any]]: ...
    def read(self, request: dict[str, Any], /) -> tuple[str, list[Message]]: ...
    def canonical(self, request: dict[str, Any], /) -> list[Any]: ...
    def answer(self, interaction: dict[str, Any], /) -> tuple[str, list[tuple[str, object]]] | None: ...


class DifferenceError(Exception):
    """The replay is not what was recorded; the words say where."""


class Recorder:
    """A server that gives one conversation's answers in order and keeps what it was sent."""

    def __init__(self) -> None:
        self.answers: list[dict[str, Any]] = []
        self.sent: list[dict[str, Any]] = []
        self.url = ""

    def load(self, interactions: list[dict[str, Any]]) -> None:
        self.answers = list(interactions)
        self.sent = []

    async def handle(self, request: web.Request) -> web.Response:
        self.sent.append(orjson.loads(await request.read()))
        answer = self.answers.pop(0)
        headers = {"Content-Type": answer["content_type"] or "application/json"}
        return web.Response(status=answer["status"], body=answer["response"].encode(), headers=headers)


@asynccontextmanager
async def recorder() -> AsyncGenerator[Recorder, None]:
    """Run a recorder on a free port."""
    made = Recorder()
    app = web.Application(client_max_size=64_000_000)
    app.router.add_post("/{path:.*}", made.handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    try:
        yield made
    finally:
        await runner.cleanup()


class _OneModel(Models):
    """Resolves every name to the recorded vendor's wire."""

    def __init__(self, provider: WireProvider, egress: Egress) -> None:
        super().__init__(ModelsSettings(), egress)
        self._only = provider

    def resolve(self, name: str) -> ResolvedModel:
        return ResolvedModel(self._only, name, name)


class Replay:
    """One conversation's replay; `run` raises `DifferenceError` where it is not exact."""

    def __init__(self, protocol: Protocolled, conversation: Conversation, server: Recorder, egress: Egress) -> None:
        self._protocol = protocol
        self._interactions = conversation.interactions
        self._server = server
        self._egress = egress
        self._said: list[Message] = []
        self._instructions = ""

    async def run(self, wire: Wire) -> None:
        self._server.load(self._interactions)
        provider = WireProvider(Access(PROVIDER, self._server.url), self._egress, wire)
        resources = Resources(_OneModel(provider, self._egress), Catalog[ToolFactory]("agent_factory.tools"))
        at = 0
        while at < len(self._interactions):
            end = self._end_of_turn(at)
            message = self._prepare(at)
            await self._turn(resources, at, end, message)
            at = end + 1

    def _prepare(self, at: int) -> Message:
        """Set the history for the turn that begins here, and give its message.

        Where the request continues the one before, what we said ourselves stays;
        only what came from outside is taken from the recording.
        """
        instructions, messages = self._protocol.read(self._interactions[at]["request"])
        rest = self._continuation(at)
        if rest is None:
            self._instructions, self._said = instructions, messages[:-1]
        else:
            self._said += messages[len(messages) - rest : -1]
        return messages[-1]

    def _continuation(self, at: int) -> int | None:
        """Count the messages after the last answer, where the request continues the one before."""
        if at == 0:
            return None
        before = self._protocol.canonical(self._interactions[at - 1]["request"])
        now = self._protocol.canonical(self._interactions[at]["request"])
        more = now[len(before) :]
        if now[: len(before)] != before or not more or more[0]["role"] != "assistant" or len(more) == 1:
            return None
        if self._protocol.answer(self._interactions[at - 1]) is None:
            return None
        return len(more) - 1

    def _results(self, at: int) -> list[ToolResult] | None:
        """Give the results that a request adds, where it adds nothing else and answers every call."""
        rest = self._continuation(at)
        answer = self._protocol.answer(self._interactions[at - 1]) if rest else None
        if rest is None or answer is None or not answer[1]:
            return None
        _, messages = self._protocol.read(self._interactions[at]["request"])
        parts = [p for m in messages[len(messages) - rest :] for p in m.parts]
        results = [p for p in parts if isinstance(p, ToolResult)]
        plain = all(not r.is_error and not r.media for r in results)
        return results if plain and len(results) == len(parts) == len(answer[1]) else None

    def _end_of_turn(self, at: int) -> int:
        """Find the last interaction of the turn that begins here, tools being run in between."""
        end = at
        while end + 1 < len(self._interactions):
            results = self._results(end + 1)
            answer = self._protocol.answer(self._interactions[end])
            if results is None or answer is None or not self._runnable(end, answer[1]):
                break
            end += 1
        last = self._protocol.answer(self._interactions[end])
        open_calls = {name for name, _ in last[1]} if last else set()
        called = {
            name for i in range(at, end) for name, _ in (self._protocol.answer(self._interactions[i]) or ("", []))[1]
        }
        return at if open_calls & called else end

    def _runnable(self, at: int, calls: list[tuple[str, object]]) -> bool:
        """Tell whether our own loop would run these calls: known tools, arguments that fit."""
        schemas = {
            t["name"]: t.get("parameters") or {} for t in self._protocol.tools(self._interactions[at]["request"])
        }
        try:
            return all(name in schemas and Schema(schemas[name]).accepts(value or {}) for name, value in calls)
        except Invalid:
            return False

    async def _turn(self, resources: Resources, at: int, end: int, message: Message) -> None:
        request, last = self._interactions[at]["request"], self._interactions[end]
        expected = self._protocol.answer(last)
        open_names = {name for name, _ in expected[1]} if expected else set[str]()
        results = [r for i in range(at + 1, end + 1) for r in self._results(i) or []]
        offered = {
            t["name"]: t for i in range(at, end + 1) for t in self._protocol.tools(self._interactions[i]["request"])
        }
        own = [_tool(t, results) for t in offered.values() if t["name"] not in open_names]
        unknown: list[dict[str, Any]] = [{"name": n} for n in open_names if n not in offered]
        theirs = [t for n, t in offered.items() if n in open_names] + unknown
        agent = Agent(
            name="replay",
            model=request["model"],
            instructions=self._instructions,
            tools=tuple(own),
            retry=Retry(attempts=1),
        )
        context = TurnContext(stream=bool(request.get("stream")), client_tools=tuple(_spec(t) for t in theirs))
        compiled = await compile_agent(agent, resources)
        first = len(self._server.sent)
        ended = await conduct(
            compiled, self._said, message, journal=MemoryJournal(), context=context, emit=lambda _: None
        )
        self._check_sent(at, end, self._server.sent[first:])
        self._check_end(ended, expected)
        self._said += [message, *(() if isinstance(ended, ApprovalNeeded) else ended.messages)]

    def _check_sent(self, at: int, end: int, sent: list[dict[str, Any]]) -> None:
        if len(sent) != end - at + 1:
            raise DifferenceError(f"{len(sent)} calls instead of {end - at + 1}")
        for index, ours in enumerate(sent):
            wanted = self._with_known_ids(self._protocol.canonical(self._interactions[at + index]["request"]))
            made = self._with_known_ids(self._protocol.canonical(ours))
            if made != wanted:
                raise DifferenceError(_first_difference(made, wanted))

    def _with_known_ids(self, messages: list[Any]) -> list[Any]:
        """Number the ids of calls to which the server gave none: there each client makes up its own.

        Where a server gives the same id again, the recording client put the response's before it.
        """
        given = "".join(i["response"] for i in self._interactions)
        text = re.sub(r"\bresp_\w+:(?=call_)", "", json.dumps(messages))
        made_up = [i for i in dict.fromkeys(_ID.findall(text)) if i not in given]
        for number, name in enumerate(made_up):
            text = text.replace(name, f"made-up-{number}")
        return json.loads(text)

    @staticmethod
    def _check_end(ended: TurnCompleted | TurnFailed | ApprovalNeeded, expected: Any) -> None:
        if expected is None:
            if not isinstance(ended, TurnFailed):
                raise DifferenceError("an error was taken for an answer")
            return
        if not isinstance(ended, TurnCompleted):
            raise DifferenceError(f"the turn ended with {msgspec.to_builtins(ended).get('problem')}")
        calls = [(c.name, same_json(c.arguments)) for m in ended.messages[-1:] for c in m.tool_calls]
        wanted = [(name, value or {}) for name, value in expected[1]]
        if ended.text != expected[0] or calls != wanted:
            raise DifferenceError(f"the answer {ended.text!r} {calls} is not {expected[0]!r} {wanted}")


def _tool(tool: dict[str, Any], results: list[ToolResult]) -> Tool:
    """Make a tool that gives the recorded results, by the call's id or, where that was made up, by turns."""
    by_turns = iter([r.content for r in results if r.name == tool["name"] and _ID.fullmatch(r.call_id)])

    async def answer(*, context: ToolContext, **_: object) -> str:
        own = [r for r in results if r.name == tool["name"] and r.call_id.rpartition(":")[2] == context.call_id]
        found = own[0].content if own else None
        return next(by_turns) if found is None else found

    parameters = tool.get("parameters") or {"type": "object", "properties": {}}
    return Tool(tool["name"], tool.get("description") or "", parameters, answer, takes_context=True, max_result=10**9)


def _spec(tool: dict[str, Any]) -> ToolSpec:
    return ToolSpec(tool["name"], tool.get("description") or "", tool.get("parameters") or {"type": "object"})


def _first_difference(made: list[Any], wanted: list[Any]) -> str:
    for index, (ours, theirs) in enumerate(zip(made, wanted, strict=False)):
        if ours != theirs:
            return f"message {index} is {json.dumps(ours)[:600]} instead of {json.dumps(theirs)[:600]}"
    return f"{len(made)} messages instead of {len(wanted)}"
