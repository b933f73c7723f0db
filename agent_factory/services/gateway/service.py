"""What the doors of the gateway have in common: which agents a caller may use, and a turn of one."""

from collections.abc import AsyncGenerator, Generator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import msgspec

from agent_factory.core.agent import AgentStatus
from agent_factory.core.message import Message
from agent_factory.core.model import Embedder, Embeddings, ModelSettings, ToolSpec, UnknownModel
from agent_factory.database.models import AgentRow
from agent_factory.kit import ids
from agent_factory.kit.errors import NotFound
from agent_factory.kit.pages import Page, read_cursor
from agent_factory.runtime.engine import Start
from agent_factory.runtime.live import LiveRun
from agent_factory.runtime.platform import Platform
from agent_factory.security.auth import Actor
from agent_factory.services.agents import service as agents
from agent_factory.services.agents.errors import AgentNotDeployed
from agent_factory.services.agents.service import Pinned
from agent_factory.services.gateway.errors import ModelNotFound, NoEmbeddings
from agent_factory.services.gateway.rules import admit, as_one, within
from agent_factory.services.runs import service as runs

_PAGE = 100


class Offer(msgspec.Struct, frozen=True):
    """A deployed agent as others see it."""

    id: str
    name: str
    description: str
    created: int
    organization: str


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """A turn that a caller asks for. `said` is all that he sent, in order, and none of it is trusted."""

    agent: str
    said: list[Message]
    stream: bool
    source: str = "openai"
    session_id: UUID | None = None
    settings: ModelSettings | None = None
    output: dict[str, Any] | None = None
    client_tools: tuple[ToolSpec, ...] = ()


async def offers(platform: Platform, actor: Actor, cursor: str | None) -> Page[Offer]:
    """List deployed agents, newest first, a page at a time."""
    async with platform.database.read(actor.organization_id) as session:
        found = await agents.list_agents(session, actor, _PAGE, read_cursor(cursor), status=AgentStatus.DEPLOYED)
    return Page([_offer(row) for row in found.data], found.next_cursor, found.has_more)


async def all_offers(platform: Platform, actor: Actor) -> AsyncGenerator[Offer, None]:
    """List every deployed agent, newest first."""
    cursor: str | None = None
    while True:
        found = await offers(platform, actor, cursor)
        for offer in found.data:
            yield offer
        cursor = found.next_cursor
        if cursor is None:
            return


async def offer(platform: Platform, actor: Actor, ref: str) -> Offer:
    """Find a deployed agent by id or name; raises `ModelNotFound`."""
    with _as_model(ref):
        async with platform.database.read(actor.organization_id) as session:
            pinned = await agents.pin(session, actor, ref)
            row, _ = await agents.get(session, actor, pinned.agent_id)
    return _offer(row)


async def begin(platform: Platform, actor: Actor, ask: Ask) -> LiveRun:
    """Start a turn of a deployed agent; when this returns, it is committed.

    Raises `ModelNotFound`, `BadRequest` where nothing was said, and whatever
    keeps the engine from starting.
    """

    def start(pinned: Pinned) -> Start:
        history, message = _heard(pinned, ask)
        return Start(
            organization_id=actor.organization_id,
            user_id=actor.user_id,
            agent=pinned.agent,
            agents=pinned.agents,
            agent_id=pinned.agent_id,
            agent_version=pinned.version,
            deployed=True,
            session_id=ask.session_id,
            message=message,
            history=history,
            stream=ask.stream,
            source=ask.source,
            settings=None if ask.settings is None else within(pinned.agent.settings, ask.settings),
            output=ask.output,
            client_tools=ask.client_tools,
        )

    with _as_model(ask.agent):
        return (await runs.begin(platform, actor, ask.agent, start)).run


async def embed(platform: Platform, model: str, texts: list[str], dimensions: int | None) -> Embeddings:
    """Turn texts into vectors; raises `NoEmbeddings` where the model's provider has none."""
    # OpenAI's own names carry no vendor, and a client that was written for OpenAI sends them.
    name = f"openai:{model}" if model.startswith("text-embedding-") else model
    try:
        found = await platform.resources.models.find(name)
    except UnknownModel as problem:
        raise NoEmbeddings(problem.detail, "model") from None
    if not isinstance(found.provider, Embedder):
        raise NoEmbeddings(
            f"{found.provider.name} has no embeddings; use openai:…, ollama:…, an endpoint of your own, or demo.",
            "model",
        )
    return await found.provider.embed(found.model, texts, dimensions)


def _heard(pinned: Pinned, ask: Ask) -> tuple[tuple[Message, ...], Message]:
    """Give history and input as this agent may hear them."""
    guarded = any(use.on is None or "input" in use.on for use in pinned.agent.guardrails)
    if ask.session_id is None and not guarded:
        return admit(ask.said, {tool.name for tool in ask.client_tools})
    # Guardrails look at the input alone, and a stored session has its own history: what came beside goes through both.
    known = {tool.name for tool in ask.client_tools} if ask.session_id is not None and not guarded else set[str]()
    history, message = admit(ask.said, known)
    return (), as_one(history, message)


@contextmanager
def _as_model(ref: str) -> Generator[None]:
    """Tell of an agent that cannot be asked as of a model that is not there."""
    try:
        yield
    except AgentNotDeployed as problem:
        raise ModelNotFound(f"{problem.detail} Only deployed agents can be asked here.") from None
    except NotFound:
        raise ModelNotFound(f"There is no deployed agent {ref[:100]!r} in your organisation.") from None


def _offer(row: AgentRow) -> Offer:
    return Offer(
        id=ids.encode("agt", row.id),
        name=row.name,
        description=row.description,
        created=int(row.created_at.timestamp()),
        organization=ids.encode("org", row.organization_id),
    )
