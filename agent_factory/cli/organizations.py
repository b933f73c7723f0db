"""`agent-factory org` and `agent-factory member`: organisations, and who is in one."""

import asyncio
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agent_factory.cli import options
from agent_factory.cli.output import Format, FormatOption, Limit, show

if TYPE_CHECKING:
    from agent_factory.settings import Settings

organizations = typer.Typer(no_args_is_help=True, help="Found organisations; rename, suspend, delete or restore one.")
members = typer.Typer(no_args_is_help=True, help="Invite people to the organisation, and say what each may do.")

Person = Annotated[str, typer.Argument(metavar="PERSON", help="E-mail address or id of the person.")]
RoleName = Annotated[str, typer.Argument(metavar="ROLE", help="viewer, developer, team_lead, … ; see `org roles`.")]
_COLUMNS = ("id", "name", "role", "status", "created_at")
_PEOPLE = ("id", "email", "name", "role", "status")
_INVITED = ("id", "email", "role", "status", "expires_at")
_DOOMED = ("id", "name", "deleted_at", "purged_from", "status")
_MOST = 100


@organizations.command("list")
def list_organizations(ctx: typer.Context, limit: Limit = 20, form: FormatOption = Format.TABLE) -> None:
    """List the organisations that you are in."""
    from agent_factory.cli import client

    show(client.call(ctx, "GET", "/organizations", params={"limit": limit}).data["data"], form, _COLUMNS)


@organizations.command("show")
def show_organization(ctx: typer.Context, form: FormatOption = Format.YAML) -> None:
    """Show the organisation that you act in."""
    from agent_factory.cli import client

    show(client.call(ctx, "GET", _own(ctx)).data, form)


@organizations.command()
def create(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="Name of the organisation.")],
    form: FormatOption = Format.YAML,
) -> None:
    """Found another organisation, which you lead; log in to it to act in it."""
    from agent_factory.cli import client

    show(client.call(ctx, "POST", "/organizations", json={"name": name}).data, form)


@organizations.command()
def rename(ctx: typer.Context, name: Annotated[str, typer.Argument(help="The new name.")]) -> None:
    """Give the organisation another name."""
    from agent_factory.cli import client

    client.call(ctx, "PATCH", _own(ctx), json={"name": name})
    typer.echo(f"the organisation is named {name}")


@organizations.command()
def suspend(ctx: typer.Context) -> None:
    """Begin nothing more for the organisation until it is resumed."""
    _step(ctx, "suspend", "suspended")


@organizations.command()
def resume(ctx: typer.Context) -> None:
    """End a suspension."""
    _step(ctx, "resume", "active again")


@organizations.command()
def delete(ctx: typer.Context) -> None:
    """Delete the organisation; its owners can restore it for some time, then all of it is removed."""
    from agent_factory.cli import client

    own = _own(ctx)
    client.call(ctx, "DELETE", own)
    until = client.call(ctx, "GET", own).data["restorable_until"]
    typer.echo(f"the organisation is deleted; until {until} you can take that back: agent-factory org restore")


@organizations.command()
def restore(ctx: typer.Context) -> None:
    """Take the deletion of the organisation back."""
    _step(ctx, "restore", "back")


@organizations.command()
def roles(ctx: typer.Context, form: FormatOption = Format.TABLE) -> None:
    """List the roles that a person here can have."""
    from agent_factory.cli import client

    show(client.call(ctx, "GET", "/roles").data["data"], form, ("name", "built_in", "rights"))


@organizations.command()
def deleted(
    ctx: typer.Context,
    *,
    database_url: Annotated[
        str | None,
        typer.Option(
            envvar="AF_DATABASE__URL", show_envvar=True, help="PostgreSQL to use. (default: that of the running `up`)"
        ),
    ] = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """List all deleted organisations of the installation, and when each is removed for good; for its operator."""
    from agent_factory.cli.configuration import settings
    from agent_factory.cli.work import running_database

    state = options.of(ctx).state
    configured = settings(database={"url": database_url or running_database(ctx), "data_dir": state.home})
    show(asyncio.run(_doomed(configured)), form, _DOOMED)


@members.command("list")
def list_members(ctx: typer.Context, limit: Limit = 20, form: FormatOption = Format.TABLE) -> None:
    """List the people of the organisation."""
    from agent_factory.cli import client

    show(client.call(ctx, "GET", f"{_own(ctx)}/members", params={"limit": limit}).data["data"], form, _PEOPLE)


@members.command()
def invite(
    ctx: typer.Context,
    email: Annotated[str, typer.Argument(metavar="EMAIL", help="Address to invite.")],
    role: Annotated[str, typer.Option(help="Role that the person gets.")] = "developer",
    form: FormatOption = Format.TABLE,
) -> None:
    """Invite an address; the mail has what lets its reader in."""
    from agent_factory.cli import client

    made = client.call(ctx, "POST", f"{_own(ctx)}/invitations", json={"email": email, "role": role}).data
    show(made, form, _INVITED if form is Format.TABLE else ())


@members.command()
def invitations(ctx: typer.Context, limit: Limit = 20, form: FormatOption = Format.TABLE) -> None:
    """List invitations, newest first."""
    from agent_factory.cli import client

    show(client.call(ctx, "GET", f"{_own(ctx)}/invitations", params={"limit": limit}).data["data"], form, _INVITED)


@members.command()
def accept(
    ctx: typer.Context,
    token: Annotated[str, typer.Argument(metavar="TOKEN", help="The token of the letter.")],
    name: Annotated[str, typer.Option(help="Your name, if you have no account yet.")] = "",
) -> None:
    """Accept an invitation. Who has no account yet is asked for a password, or gives it on a line of stdin."""
    from agent_factory.cli import client
    from agent_factory.cli.accounts import secret
    from agent_factory.cli.problems import Told

    body = {"token": token, "name": name}
    try:
        joined = client.call_openly(ctx, "/auth/accept-invitation", json=body).data
    except Told as problem:
        if problem.reported_code != "password_needed":
            raise
        body["password"] = secret("New password", twice=True)
        joined = client.call_openly(ctx, "/auth/accept-invitation", json=body).data
    typer.echo(f"you are {joined['role']} of {joined['organization_id']}; log in with: agent-factory login")


@members.command("role")
def set_role(ctx: typer.Context, person: Person, role: RoleName) -> None:
    """Give a person another role."""
    from agent_factory.cli import client

    own = _own(ctx)
    client.call(ctx, "PATCH", f"{own}/members/{_found(ctx, own, person)}", json={"role": role})
    typer.echo(f"{person} is {role}")


@members.command()
def disable(ctx: typer.Context, person: Person) -> None:
    """Keep a person out until enabled again."""
    _turn(ctx, person, "disable", "disabled")


@members.command()
def enable(ctx: typer.Context, person: Person) -> None:
    """Let a disabled person in again."""
    _turn(ctx, person, "enable", "enabled")


@members.command()
def remove(ctx: typer.Context, person: Person) -> None:
    """End a person's membership, with its keys."""
    from agent_factory.cli import client

    own = _own(ctx)
    client.call(ctx, "DELETE", f"{own}/members/{_found(ctx, own, person)}")
    typer.echo(f"{person} is removed")


async def _doomed(configured: "Settings") -> list[dict[str, Any]]:
    from agent_factory.database import purge
    from agent_factory.database.session import Database
    from agent_factory.kit.clock import now, rfc3339
    from agent_factory.kit.ids import encode

    assert configured.database.url is not None
    database = Database(configured.database.url, configured.database)
    try:
        moment, grace = now(), timedelta(days=configured.organizations.purge_days)
        found = await purge.due(database.pool, moment)
    finally:
        await database.close()
    return [
        {
            "id": encode("org", each.id),
            "name": each.name,
            "deleted_at": rfc3339(each.deleted_at),
            "purged_from": rfc3339(each.deleted_at + grace),
            "status": "being purged" if each.purge_began_at else _due(each.deleted_at + grace, moment),
        }
        for each in found
    ]


def _due(purged_from: datetime, moment: datetime) -> str:
    return "restorable" if purged_from > moment else "due"


def _own(ctx: typer.Context) -> str:
    """Give the path of the organisation that the caller acts in."""
    from agent_factory.cli import client

    return f"/organizations/{client.call(ctx, 'GET', '/auth/me').data['organization_id']}"


def _step(ctx: typer.Context, verb: str, done: str) -> None:
    from agent_factory.cli import client

    client.call(ctx, "POST", f"{_own(ctx)}:{verb}")
    typer.echo(f"the organisation is {done}")


def _turn(ctx: typer.Context, person: str, verb: str, done: str) -> None:
    from agent_factory.cli import client

    own = _own(ctx)
    client.call(ctx, "POST", f"{own}/members/{_found(ctx, own, person)}:{verb}")
    typer.echo(f"{person} is {done}")


def _found(ctx: typer.Context, own: str, person: str) -> str:
    """Find a person's id by the address, or take the id as it is; raises `NotFound`."""
    from agent_factory.cli import client
    from agent_factory.kit.errors import NotFound

    if "@" not in person:
        return person
    cursor: str | None = None
    while True:
        page: dict[str, Any] = client.call(ctx, "GET", f"{own}/members", params={"limit": _MOST, "cursor": cursor}).data
        for each in page["data"]:
            if each["email"].lower() == person.lower():
                return each["id"]
        cursor = page["next_cursor"]
        if cursor is None:
            raise NotFound(f"There is nobody with the address {person} here; see `agent-factory member list`.")
