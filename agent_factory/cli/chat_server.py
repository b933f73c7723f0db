"""A conversation that a server keeps; it is found again after any restart."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing
from typing import Any

import msgspec
import typer

from agent_factory.cli import client
from agent_factory.cli.client import Event, Server
from agent_factory.cli.screen import Screen, ask_consent, can_ask
from agent_factory.core.event import ApprovalNeeded, TurnCompleted, TurnEvent, TurnFailed
from agent_factory.kit.errors import NotFound, Problem
from agent_factory.local import ApprovalMissing, typed

_decode = msgspec.json.Decoder(TurnEvent).decode
_PAGE = 100


class BrokenOff(Problem):
    """The server stopped sending before the turn had ended."""

    code = "stream_broken_off"
    title = "The answer broke off"


class ServerConversation:
    """Talks to one session of a server."""

    def __init__(self, ctx: typer.Context, agent: str | None, session: str | None, *, last: bool) -> None:
        self._ctx = ctx
        self._stack = AsyncExitStack()
        self._agent = agent
        self._session = session
        self._last = last
        self._run = ""
        self._seen = ""

    async def begin(self) -> str:
        """Find or make the session."""
        self._server: Server = await self._stack.enter_async_context(client.connected(self._ctx))
        if self._last:
            self._session = await self._newest()
        if self._session is None:
            return await self.renew()
        found = (await self._server.request("GET", f"/api/v1/sessions/{self._session}")).data
        self._agent = self._agent or found["agent_id"]
        return f"session {self._session}, {found['message_count']} messages so far"

    async def _newest(self) -> str:
        asked: dict[str, Any] = {"limit": 1}
        if self._agent is not None:
            asked["agent_id"] = (await self._server.find("agent", self._agent))["id"]
        found = (await self._server.request("GET", "/api/v1/sessions", params=asked)).data["data"]
        if not found:
            raise NotFound("There is no conversation yet; begin one with: agent-factory chat AGENT")
        return found[0]["id"]

    async def renew(self) -> str:
        """Make a new session with the same agent."""
        made = await self._server.request("POST", "/api/v1/sessions", json={"agent": self._agent})
        self._session = str(made.data["id"])
        return f"session {self._session} is new; continue it later with --session {self._session}"

    async def say(self, text: str) -> None:
        """Send a message and show the turn; leaving early cancels the turn on the server."""
        screen = Screen()
        self._run = self._seen = ""
        path = f"/api/v1/sessions/{self._session}/messages"
        events = self._server.events("POST", path, json={"content": text, "stream": True})
        try:
            while (asked := await self._follow(events, screen)) is not None:
                screen.end()
                events = await self._decided(asked)
        except asyncio.CancelledError:
            if self._run:
                await self._server.request("POST", f"/api/v1/runs/{self._run}:cancel")
            raise
        finally:
            screen.end()

    async def _follow(self, events: AsyncGenerator[Event, None], screen: Screen) -> ApprovalNeeded | None:
        """Show a turn up to its end, or up to its question to a person, which is given back."""
        async with aclosing(events):
            async for event in events:
                self._seen = event.id
                if event.name == "run.started":
                    self._run = str(msgspec.json.decode(event.data)["run_id"])
                    continue
                match told := _known(event):
                    case TurnCompleted():
                        screen.complete(told.text)
                        return None
                    case TurnFailed():
                        raise typed(told.problem)
                    case ApprovalNeeded():
                        return told
                    case None:
                        continue
                    case _:
                        screen.show(told)
        raise BrokenOff(f"The server broke off; see later what came of it: agent-factory runs get {self._run}")

    async def _decided(self, asked: ApprovalNeeded) -> AsyncGenerator[Event, None]:
        """Have a person decide, let the run go on, and give what it does from there."""
        path = f"/api/v1/runs/{self._run}"
        if not can_ask():
            raise ApprovalMissing(
                f"{asked.name} asks for consent ({asked.reason}); decide with: agent-factory runs approve {self._run}"
            )
        decision = "approve" if ask_consent(asked) else "deny"
        await self._server.request("POST", f"{path}:resume", json={"decision": decision})
        return self._server.events("GET", f"{path}/events", headers={"last-event-id": self._seen})

    async def history(self) -> list[tuple[str, str]]:
        """Read all that was said, page by page."""
        said: list[tuple[str, str]] = []
        cursor: str | None = None
        while True:
            asked = {"limit": _PAGE, "cursor": cursor}
            page = (await self._server.request("GET", f"/api/v1/sessions/{self._session}/messages", params=asked)).data
            said += [(message["role"], message["text"]) for message in page["data"] if message["text"]]
            cursor = page["next_cursor"]
            if cursor is None:
                return said

    async def close(self) -> None:
        """Close the connection."""
        await self._stack.aclose()


def _known(event: Event) -> TurnEvent | None:
    """Read an event; one that a newer server may send and we do not know is skipped."""
    try:
        return _decode(event.data)
    except msgspec.ValidationError:
        return None
