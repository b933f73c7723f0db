"""`agent-factory secret`: secrets of an organisation, and the keys that seal everything secret."""

import asyncio
import sys
from getpass import getpass
from typing import TYPE_CHECKING, Annotated

import typer

from agent_factory.cli import options
from agent_factory.cli.output import Format, FormatOption, Limit, show

if TYPE_CHECKING:
    from uuid import UUID

    from agent_factory.security.encryption.rotation import Progress
    from agent_factory.settings import Settings

app = typer.Typer(no_args_is_help=True, help="Keep secrets for agents and workflows; rotate the keys that seal them.")
Name = Annotated[str, typer.Argument(metavar="NAME", help="How agents and workflows name it.")]
_COLUMNS = ("id", "name", "hosts", "fingerprint", "created_at", "last_used_at")


@app.command("set")
def set_secret(
    ctx: typer.Context,
    name: Name,
    host: Annotated[
        list[str] | None,
        typer.Option(help="A host that it may be sent to, such as api.example.com or *.example.com; repeatable."),
    ] = None,
    description: Annotated[str | None, typer.Option(help="What it is for.")] = None,
    form: FormatOption = Format.YAML,
) -> None:
    """Keep a secret, or give it another value; the value comes from the terminal or from standard input.

    A new one needs at least one --host; an old one keeps its hosts where none is named.
    """
    from agent_factory.cli import client

    known = _find(ctx, name)
    if known is None and not host:
        raise typer.BadParameter("a new secret needs the hosts that it may be sent to", param_hint="--host")
    body = {"value": _value(), "hosts": host, "description": description}
    given = {field: value for field, value in body.items() if value is not None}
    if known is None:
        kept = client.call(ctx, "POST", "/secrets", json={"name": name, **given})
    else:
        kept = client.call(ctx, "PUT", f"/secrets/{known}", json=given)
    show(kept.data, form)


@app.command("list")
def list_secrets(ctx: typer.Context, limit: Limit = 20, form: FormatOption = Format.TABLE) -> None:
    """List secrets, newest first; nobody is shown their values."""
    from agent_factory.cli import client

    show(client.call(ctx, "GET", "/secrets", params={"limit": limit}).data["data"], form, _COLUMNS)


@app.command()
def delete(ctx: typer.Context, name: Name) -> None:
    """Remove a secret; what names it fails from then on."""
    from agent_factory.cli import client
    from agent_factory.kit.errors import NotFound

    known = _find(ctx, name)
    if known is None:
        raise NotFound(f"There is no secret {name!r}; see `agent-factory secret list`.")
    client.call(ctx, "DELETE", f"/secrets/{known}")
    typer.echo(f"{name} is deleted")


@app.command()
def rotate(
    ctx: typer.Context,
    *,
    organization: Annotated[
        str | None, typer.Option(metavar="ORG", help="Only this organisation's data key. (default: every data key)")
    ] = None,
    kek: Annotated[
        bool, typer.Option("--kek", help="First make a new key in the key file, and wrap every data key with it.")
    ] = False,
    database_url: Annotated[
        str | None,
        typer.Option(
            envvar="AF_DATABASE__URL", show_envvar=True, help="PostgreSQL to use. (default: that of the running `up`)"
        ),
    ] = None,
) -> None:
    """Make new data keys, and seal anew whatever the old ones seal, while everything runs.

    For whoever operates the installation: it needs the database and the key.
    What is interrupted goes on by itself, in any process that works on runs.
    """
    from agent_factory.cli.configuration import settings
    from agent_factory.cli.work import running_database
    from agent_factory.kit import ids

    state = options.of(ctx).state
    configured = settings(database={"url": database_url or running_database(ctx), "data_dir": state.home})
    chosen = [ids.decode("org", organization)] if organization else None
    done = asyncio.run(_rotated(configured, chosen, kek=kek))
    typer.echo(
        f"{done.wrapped} data keys wrapped, {done.sealed} values sealed anew, {done.dropped} old keys dropped"
        + (f"; {done.failed} values or data keys cannot be opened and stay as they are" if done.failed else "")
    )
    if done.failed:
        raise typer.Exit(1)


async def _rotated(configured: "Settings", organizations: "list[UUID] | None", *, kek: bool) -> "Progress":
    from agent_factory.database import data_keys
    from agent_factory.database.session import Database
    from agent_factory.kit.errors import Invalid
    from agent_factory.security.encryption import open_vault
    from agent_factory.security.encryption.key_file import KeyFile
    from agent_factory.security.encryption.rotation import catch_up, renew

    assert configured.database.url is not None
    database = Database(configured.database.url, configured.database)
    try:
        vault = open_vault(configured.encryption, database.pool, configured.database.data_dir)
        if kek:
            wrapper = vault.wrappers[0]
            if not isinstance(wrapper, KeyFile):
                raise Invalid(
                    "KMS rotates its key itself; for another key, set AF_ENCRYPTION__KMS_KEY_ID and run this."
                )
            wrapper.add(first=not await data_keys.wrapping(database.pool))
        await renew(database.pool, vault, organizations)
        return await catch_up(database.pool, vault)
    finally:
        await database.close()


def _find(ctx: typer.Context, name: str) -> str | None:
    from agent_factory.cli import client

    found = client.call(ctx, "GET", "/secrets", params={"name": name}).data["data"]
    return found[0]["id"] if found else None


def _value() -> str:
    """Read the value where nobody sees it: no argument, for other users of a machine see those."""
    if sys.stdin.isatty():
        return getpass("Value: ")  # which hides what is typed before it asks, as Typer's own prompt does not
    return sys.stdin.read().removesuffix("\n")
