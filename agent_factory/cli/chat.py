"""`agent-factory chat`: a conversation at the terminal."""

import asyncio
import sys
from pathlib import Path
from typing import Annotated, Protocol

import typer

from agent_factory.cli.problems import lines
from agent_factory.kit.errors import Problem

_HELP = "/history shows the conversation, /new begins another, /exit leaves."


class Conversation(Protocol):
    """Someone to talk to."""

    async def begin(self) -> str:
        """Get ready, and say who answers."""
        ...

    async def say(self, text: str) -> None:
        """Send a message and show the answer as it comes."""
        ...

    async def renew(self) -> str:
        """Begin a new conversation, and say so."""
        ...

    async def history(self) -> list[tuple[str, str]]:
        """Give who said what so far."""
        ...

    async def close(self) -> None:
        """Let go of what `begin` opened."""
        ...


def chat(
    ctx: typer.Context,
    who: Annotated[str | None, typer.Argument(metavar="[FILE|AGENT]", help="Blueprint, or agent of a server.")] = None,
    *,
    agent: Annotated[str | None, typer.Option("--agent", help="Which agent of the file.")] = None,
    model: Annotated[str | None, typer.Option("--model", help="With a file: model in place of the agent's.")] = None,
    session: Annotated[str | None, typer.Option("--session", help="With a server: continue this session.")] = None,
    last: Annotated[bool, typer.Option("--last", help="With a server: continue the newest session.")] = False,
    workspace: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, help="With a file: folder of the file tools.")
    ] = None,
) -> None:
    """Talk to an agent: to one in a file here, or to one of a server.

    A server keeps the conversation, so that it can be continued after any
    restart. Without a terminal, each line of stdin is one message.
    """
    if who is not None and _is_file(who):
        if session or last:
            raise typer.BadParameter("a conversation with a file is not kept", param_hint="--session/--last")
        from agent_factory.cli.chat_local import LocalConversation

        conversation: Conversation = LocalConversation(Path(who), agent, model, workspace)
    else:
        if who is None and not (session or last):
            raise typer.BadParameter("name a file or an agent, or continue by --last", param_hint="FILE|AGENT")
        from agent_factory.cli.chat_server import ServerConversation

        conversation = ServerConversation(ctx, who, session, last=last)
    talk(conversation)


def _is_file(who: str) -> bool:
    path = Path(who)
    if path.is_file():
        return True
    if path.suffix in (".yaml", ".yml", ".json") or "/" in who:
        raise typer.BadParameter(f"the file {who} does not exist", param_hint="FILE|AGENT")
    return False


def talk(conversation: Conversation) -> None:
    """Read messages until the end of stdin, /exit, or Ctrl-C at the prompt; Ctrl-C in an answer stops that answer."""
    live = sys.stdin.isatty()
    if live:
        import readline  # noqa: F401  # pyright: ignore[reportUnusedImport] - being there gives `input` its editing keys
    with asyncio.Runner() as runner:
        try:
            typer.echo(runner.run(conversation.begin()), err=True)
            if live:
                typer.echo(_HELP, err=True)
            while (text := _next(live=live)) is not None:
                if not _turn(runner, conversation, text, live=live):
                    break
        finally:
            runner.run(conversation.close())


def _next(*, live: bool) -> str | None:
    """Read the next message that says something; `None` at the end."""
    while True:
        try:
            line = input("you> ") if live else next(sys.stdin)
        except (EOFError, StopIteration):
            return None
        except KeyboardInterrupt:
            typer.echo(err=True)
            return None
        if line.strip():
            return line.strip()


def _turn(runner: asyncio.Runner, conversation: Conversation, text: str, *, live: bool) -> bool:
    """Do what one line asks for; false when it asks to leave."""
    if text in ("/exit", "/quit"):
        return False
    try:
        if text == "/new":
            typer.echo(runner.run(conversation.renew()), err=True)
        elif text == "/history":
            for speaker, words in runner.run(conversation.history()):
                typer.echo(f"{speaker}> {words}")
        elif text.startswith("/"):
            typer.echo(_HELP, err=True)
        else:
            runner.run(conversation.say(text))
    except Problem as problem:
        if not live:
            raise
        typer.echo("\n".join(lines(problem)), err=True)
    except KeyboardInterrupt:
        if not live:
            raise
        typer.echo("\nstopped", err=True)
    return True
