"""`agent-factory run`: one turn of an agent from a file, in this process."""

import asyncio
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent_factory.cli import output

if TYPE_CHECKING:
    from agent_factory.core.agent import Agent
    from agent_factory.core.event import TurnCompleted


class Form(StrEnum):
    """How the answer is printed."""

    TEXT = "text"
    JSON = "json"
    YAML = "yaml"
    TABLE = "table"


def run(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="Blueprint (YAML or JSON).")],
    message: Annotated[str | None, typer.Argument(help="What to say; read from stdin when left out.")] = None,
    *,
    agent: Annotated[str | None, typer.Option("--agent", help="Which agent of the file.")] = None,
    model: Annotated[str | None, typer.Option("--model", help="Model in place of the agent's own.")] = None,
    form: Annotated[Form, typer.Option("-o", "--output", help="How to print the answer.")] = Form.TEXT,
    workspace: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, help="Folder of the file tools. (default: here)")
    ] = None,
    no_stream: Annotated[bool, typer.Option("--no-stream", help="Print the answer when it is whole.")] = False,
) -> None:
    """Run an agent from a file once. Needs no server and no database.

    The answer goes to stdout; tool calls and notes go to stderr.
    """
    from agent_factory.cli import documents

    said = message if message is not None else _piped()
    team = documents.read(file)
    chosen = documents.pick(team, agent)
    if model is not None:
        chosen = chosen.model_copy(update={"model": model})
    asyncio.run(_turn(chosen, team, said, form=form, workspace=workspace, whole=no_stream))


def _piped() -> str:
    if sys.stdin.isatty():
        raise typer.BadParameter("say something: give a message, or pipe one in", param_hint="MESSAGE")
    text = sys.stdin.read().strip()
    if not text:
        raise typer.BadParameter("the message on stdin is empty", param_hint="MESSAGE")
    return text


async def _turn(
    agent: "Agent", team: "dict[str, Agent]", message: str, *, form: Form, workspace: Path | None, whole: bool
) -> None:
    from agent_factory.cli.configuration import settings
    from agent_factory.cli.screen import DEMO_NOTICE, Screen, ask_consent, can_ask
    from agent_factory.core.event import ApprovalNeeded, TurnCompleted, TurnFailed
    from agent_factory.local import ApprovalMissing, open_resources, stream, typed

    streaming = form is Form.TEXT and not whole
    screen = Screen(answers=streaming)
    async with open_resources(settings(), workspace=workspace) as resources:
        if (await resources.models.find(agent.model)).provider.name == "demo":
            screen.note(DEMO_NOTICE)
        approve = ask_consent if can_ask() else None
        async for event in stream(agent, message, agents=team, resources=resources, approve=approve):
            match event:
                case TurnFailed():
                    screen.end()
                    raise typed(event.problem)
                case ApprovalNeeded():
                    screen.end()
                    raise ApprovalMissing(
                        f"{event.name} asks for consent ({event.reason}), and there is no terminal to ask at."
                    )
                case TurnCompleted():
                    screen.end()
                    if not streaming:
                        _print(event, form)
                case _:
                    screen.show(event)


def _print(done: "TurnCompleted", form: Form) -> None:
    from agent_factory.cli.screen import clean

    if form is Form.TEXT:
        typer.echo(clean(done.text))
        return
    usage = {"input_tokens": done.usage.input_tokens, "output_tokens": done.usage.output_tokens}
    result = {"text": done.text, "output": done.output, "usage": usage, "cost_usd": done.cost_usd}
    output.show(result, output.Format(form.value))
