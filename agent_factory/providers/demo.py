"""The built-in demo: answers by rules, so that everything works before a real model is set."""

import re
from collections.abc import AsyncGenerator, Sequence

import orjson

from agent_factory.core.message import Message, Part, Text, ToolCall, ToolResult
from agent_factory.core.model import (
    Done,
    Embeddings,
    ModelEvent,
    ModelInfo,
    ModelProvider,
    ModelRequest,
    ModelResponse,
    Pricing,
    TextDelta,
    ToolCallDelta,
    Usage,
)
from agent_factory.kit.ids import uuid7
from agent_factory.providers import Access
from agent_factory.providers.demonstration.arithmetic import decimals
from agent_factory.providers.demonstration.embedding import DIMENSIONS, hashed
from agent_factory.providers.demonstration.minimal import document
from agent_factory.providers.demonstration.plan import arguments, planned
from agent_factory.security.egress import Egress

NOTICE = "(This is the built-in demo, no language model.)"
_TOKEN = 4
"""Characters of an estimated token."""
_PIECE = re.compile(r"\s*\S+\s*")
_SHOWN = 2000


class Demo:
    """A model of deterministic rules. It says in every answer what it is."""

    name = "demo"

    async def inference(self, request: ModelRequest) -> ModelResponse:
        """Answer in one piece."""
        parts = _answer(request)
        made = sum(len(p.text) if isinstance(p, Text) else len(p.name) + len(p.arguments) for p in parts)
        said = sum(_size(m) for m in request.messages) + len(request.instructions)
        return ModelResponse(
            Message("assistant", tuple(parts)),
            Usage(said // _TOKEN + 1, made // _TOKEN + 1),
            "tool_calls" if any(isinstance(p, ToolCall) for p in parts) else "stop",
            "demo",
            f"demo-{uuid7().hex}",
        )

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        """Answer word by word."""
        response = await self.inference(request)
        calls = 0
        for part in response.message.parts:
            if isinstance(part, Text):
                for piece in _PIECE.findall(part.text):
                    yield TextDelta(piece)
            elif isinstance(part, ToolCall):
                yield ToolCallDelta(calls, part.id, part.name, part.arguments)
                calls += 1
        yield Done(response)

    async def embed(self, model: str, texts: Sequence[str], dimensions: int | None = None) -> Embeddings:  # noqa: ARG002 - there is one
        """Turn texts into vectors by hashing their words."""
        vectors = tuple(hashed(text, dimensions or DIMENSIONS) for text in texts)
        return Embeddings(vectors, "demo", sum(len(text) // _TOKEN + 1 for text in texts))

    async def get_available_models(self) -> list[ModelInfo]:
        """List the one model."""
        return [ModelInfo("demo", "demo", 1_000_000)]

    async def get_pricing(self) -> list[Pricing]:
        """Say that it costs nothing."""
        return [Pricing("demo", "0", "0")]


def _size(message: Message) -> int:
    return sum(
        len(p.text) if isinstance(p, Text) else len(p.content) if isinstance(p, ToolResult) else 0
        for p in message.parts
    )


def _answer(request: ModelRequest) -> list[Text | ToolCall]:
    start = max((i for i, m in enumerate(request.messages) if m.role == "user" and m.text), default=-1)
    said = request.messages[start].text if start >= 0 else ""
    since: list[Part] = [p for m in request.messages[start + 1 :] for p in m.parts]
    called = {p.name for p in since if isinstance(p, ToolCall)}
    results = [p for p in since if isinstance(p, ToolResult)]
    choice = request.settings.tool_choice
    if choice != "none" and not results and not called:
        wanted = planned(said, request.tools)
        if not wanted and choice not in (None, "auto"):
            forced = next((t for t in request.tools if choice in ("required", t.name)), None)
            wanted = [(forced, arguments(forced, said))] if forced else []
        if wanted:
            return [ToolCall(f"call_{uuid7().hex}", t.name, orjson.dumps(a).decode()) for t, a in wanted]
    words = _words(said, results, [t.name for t in request.tools])
    if request.output is not None:
        made = document(request.output.schema, f"{words} {NOTICE}")
        return [Text(orjson.dumps(made).decode())]
    return [Text(f"{words}\n\n{NOTICE}")]


def _words(said: str, results: list[ToolResult], tools: list[str]) -> str:
    if results:
        return "\n".join(_told(r, said) for r in results)
    if not tools:
        return f"You said: {_cut(said, 200)}" if said else "There is no message to answer."
    return f"You said: {_cut(said, 200)}\nI call a tool when a message asks for it. Here I have: {', '.join(tools)}."


def _told(result: ToolResult, said: str) -> str:
    content = _cut(result.content, _SHOWN)
    if result.is_error:
        return f"The tool {result.name} failed: {content}"
    if result.name == "calculator":
        return f"The result is {_rounded(content, decimals(said))}."
    return f"The tool {result.name} answered:\n{content}"


def _rounded(value: str, places: int | None) -> str:
    """Write a number with as many places as were asked for: 409.5 in cents is 409.50."""
    try:
        return value if not places else f"{float(value):.{places}f}"
    except ValueError:
        return value


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]}…"


class DemoFactory:
    """The demo as a provider; it needs nothing and ignores the network."""

    name = "demo"
    needs = "Nothing; it is always there."

    def build(self, access: Access, egress: Egress) -> ModelProvider:  # noqa: ARG002 - it goes nowhere
        """Make the demo."""
        return Demo()


plugin = DemoFactory()
