"""`agent-factory template`: ready-made agents to begin with."""

from typing import Annotated

import typer

from agent_factory.cli.output import Format, FormatOption, show

app = typer.Typer(no_args_is_help=True, help="Begin with a ready-made agent.")
Ref = Annotated[str, typer.Argument(metavar="TEMPLATE", help="Name of the template.")]


@app.command("list")
def list_templates(ctx: typer.Context, form: FormatOption = Format.TABLE) -> None:
    """List the templates."""
    from agent_factory.cli import client

    found = client.call(ctx, "GET", "/agent-templates")
    show(found.data["data"], form, ("name", "category", "description"))


@app.command("show")
def show_template(ctx: typer.Context, template: Ref, form: FormatOption = Format.YAML) -> None:
    """Show a template with its definition."""
    from agent_factory.cli import client

    show(client.call(ctx, "GET", f"/agent-templates/{template}").data, form)


@app.command()
def use(
    ctx: typer.Context,
    template: Ref,
    name: Annotated[str | None, typer.Option(help="Name of the new agent. (default: the template's)")] = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """Create an agent from a template, as a draft."""
    from agent_factory.cli import client

    definition = client.call(ctx, "GET", f"/agent-templates/{template}").data["definition"]
    if name is not None:
        definition["name"] = name
    made = client.call(ctx, "POST", "/agents", json=definition)
    show(made.data, form, ("id", "name", "status"))
