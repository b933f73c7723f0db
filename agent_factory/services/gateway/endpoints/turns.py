"""How a turn becomes an answer over HTTP: whole or as a stream, and what ends it when the client leaves."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from typing import Any, Protocol

import msgspec
from fastapi import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from agent_factory.api.problems import openai_shape, respond
from agent_factory.api.sse import EventStream
from agent_factory.core.event import ApprovalNeeded, TurnCompleted, TurnEvent, TurnFailed
from agent_factory.kit import ids
from agent_factory.kit.errors import Conflict, Problem
from agent_factory.runtime.live import LiveRun
from agent_factory.runtime.platform import Platform
from agent_factory.security.auth import Actor
from agent_factory.services.gateway.errors import ApprovalPending
from agent_factory.services.gateway.rules import revive

_NO_RETRY = {"x-should-retry": "false"}
"""The openai clients repeat a request that failed; the loop has done so already, and a repetition is a new run."""

_CLIENT_CLOSED = 499

JSON = "application/json"


class Turn(msgspec.Struct, frozen=True):
    """A run that a request has begun."""

    platform: Platform
    actor: Actor
    run: LiveRun

    @property
    def headers(self) -> dict[str, str]:
        """Name the run, so that its steps can be looked up."""
        return {"x-run-id": ids.encode("run", self.run.id)}

    async def abandon(self) -> None:
        """Cancel the run, for nobody waits for it any more."""
        # The run may end by itself in the meantime, which is as good.
        with suppress(Conflict):
            await self.platform.engine.cancel(self.actor.organization_id, self.run.id)


def waiting(run_id: str, needed: ApprovalNeeded) -> Problem:
    """Tell a client that cannot decide where the decision is due."""
    what = f"the call of {needed.name!r}" if needed.name else "the answer"
    return ApprovalPending(f"The run {run_id} waits until a person has decided on {what}: {needed.reason}")


async def whole(request: Request, turn: Turn, write: Callable[[TurnCompleted], bytes]) -> Response:
    """Wait for the end of a turn and write it; a client that leaves before cancels it."""
    ending = asyncio.ensure_future(turn.run.wait())
    leaving = asyncio.ensure_future(_gone(request.receive))
    try:
        await asyncio.wait({ending, leaving}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        leaving.cancel()
        if not ending.done():
            ending.cancel()
            await turn.abandon()
    if not ending.done() or ending.cancelled():
        return Response(status_code=_CLIENT_CLOSED)
    end = ending.result()
    match end:
        case TurnCompleted():
            return Response(write(end), 200, turn.headers, JSON)
        case TurnFailed():
            return respond(revive(end.problem), request.scope, turn.headers | _NO_RETRY)
        case ApprovalNeeded():
            problem = waiting(turn.headers["x-run-id"], end)
            return respond(problem, request.scope, turn.headers | _NO_RETRY)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class Script(Protocol):
    """Turns the events of a turn into the bytes of one protocol."""

    def open(self) -> bytes:
        """Write what comes before the first event."""
        ...

    def feed(self, event: TurnEvent) -> bytes:
        """Write one event; nothing for most."""
        ...

    def fail(self, error: dict[str, Any]) -> bytes:
        """Write an error in OpenAI's shape as the end of the stream."""
        ...


class TurnStream(EventStream):
    """The stream of a turn; a client that leaves before its end cancels the turn."""

    def __init__(self, turn: Turn, script: Script) -> None:
        """Take the turn's events through the script."""
        super().__init__(self._frames(turn, script), headers=turn.headers)
        self._turn = turn
        self._over = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            if not self._over:
                await self._turn.abandon()

    async def _frames(self, turn: Turn, script: Script) -> AsyncGenerator[bytes, None]:
        yield script.open()
        try:
            async for _, event in turn.run.events():
                if isinstance(event, TurnCompleted | TurnFailed | ApprovalNeeded):
                    self._over = True
                piece = self._piece(event, script)
                if piece:
                    yield piece
        except Problem as problem:
            yield script.fail(openai_shape(problem))

    def _piece(self, event: TurnEvent, script: Script) -> bytes:
        match event:
            case TurnFailed():
                return script.fail(openai_shape(revive(event.problem)))
            case ApprovalNeeded():
                return script.fail(openai_shape(waiting(self._turn.headers["x-run-id"], event)))
            case _:
                return script.feed(event)
