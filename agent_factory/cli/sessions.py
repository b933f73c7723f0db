"""`agent-factory session`: the conversations that a server keeps."""

from typing import Annotated

import typer

from agent_factory.cli.output import Format, FormatOption, Limit, show

app = typer.Typer(no_args_is_help=True, help="Look into kept conversations.")
Id = Annotated[str, typer.Argument(metavar="SESSION", help="Id of the session.")]


@app.command("list")
def list_sessions(
    ctx: typer.Context,
    agent: Annotated[str | None, typer.Option(help="Only those with this agent (id or name).")] = None,
    limit: Limit = 20,
    form: FormatOption = Format.TABLE,
) -> None:
    """List conversations, newest first."""
    from agent_factory.cli import client, definitions

    chosen = definitions.find(ctx, "agent", agent)["id"] if agent else None
    found = client.call(ctx, "GET", "/sessions", params={"limit": limit, "agent_id": chosen})
    show(found.data["data"], form, ("id", "title", "message_count", "updated_at"))


@app.command()
def messages(ctx: typer.Context, session: Id, form: FormatOption = Format.TABLE) -> None:
    """Show the messages of a conversation, oldest first."""
    from agent_factory.cli import client
    from agent_factory.cli.screen import brief

    found = client.call(ctx, "GET", f"/sessions/{session}/messages", params={"limit": 100}).data["data"]
    if form is not Format.TABLE:
        show(found, form)
        return
    for message in found:
        for part in message["parts"]:
            match part["type"]:
                case "text":
                    typer.echo(f"{message['role']}: {part['text']}")
                case "tool_call":
                    typer.echo(f"  → {part['name']} {brief(part['arguments'])}")
                case "tool_result":
                    typer.echo(f"  ← {brief(part['content'])}")
                case other:
                    typer.echo(f"  [{other}]")
