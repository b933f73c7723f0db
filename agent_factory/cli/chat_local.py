"""A conversation with an agent from a file, in this process; it ends with the command."""

from contextlib import AsyncExitStack
from pathlib import Path

from agent_factory.cli import documents
from agent_factory.cli.configuration import settings
from agent_factory.cli.screen import DEMO_NOTICE, Screen, ask_consent, can_ask
from agent_factory.core.event import ApprovalNeeded, TurnCompleted, TurnFailed
from agent_factory.core.message import Message, user
from agent_factory.local import ApprovalMissing, open_resources, stream, typed
from agent_factory.runtime.compile import Resources


class LocalConversation:
    """Keeps the messages in memory."""

    def __init__(self, file: Path, agent: str | None, model: str | None, workspace: Path | None) -> None:
        self._team = documents.read(file)
        self._agent = documents.pick(self._team, agent)
        if model is not None:
            self._agent = self._agent.model_copy(update={"model": model})
        self._workspace = workspace
        self._stack = AsyncExitStack()
        self._resources: Resources | None = None
        self._messages: tuple[Message, ...] = ()

    async def begin(self) -> str:
        """Open what the agent may reach."""
        resources = await self._stack.enter_async_context(open_resources(settings(), workspace=self._workspace))
        self._resources = resources
        demo = (await resources.models.find(self._agent.model)).provider.name == "demo"
        note = f"\n{DEMO_NOTICE}" if demo else ""
        return f"{self._agent.name} listens; this conversation is not kept.{note}"

    async def say(self, text: str) -> None:
        """Run one turn on top of what was said."""
        screen = Screen()
        said = user(text)
        approve = ask_consent if can_ask() else None
        try:
            async for event in stream(
                self._agent, said, history=self._messages, agents=self._team, resources=self._resources, approve=approve
            ):
                match event:
                    case TurnCompleted():
                        self._messages += (event.admitted or said, *event.messages)
                    case TurnFailed():
                        if event.messages:
                            self._messages += (event.admitted or said, *event.messages)
                        raise typed(event.problem)
                    case ApprovalNeeded():
                        raise ApprovalMissing(
                            f"{event.name} asks for consent ({event.reason}), and there is no terminal to ask at."
                        )
                    case _:
                        screen.show(event)
        finally:
            screen.end()

    async def renew(self) -> str:
        """Forget what was said."""
        self._messages = ()
        return "a new conversation"

    async def history(self) -> list[tuple[str, str]]:
        """Give the words of both sides."""
        return [(m.role, m.text) for m in self._messages if m.text]

    async def close(self) -> None:
        """Close connections."""
        await self._stack.aclose()
