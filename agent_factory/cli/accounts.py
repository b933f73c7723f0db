"""`agent-factory login`, `logout` and `account`: who you are to a server."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from agent_factory.cli.output import Format, FormatOption, show

if TYPE_CHECKING:
    from agent_factory.connectors.mail.post import Post
    from agent_factory.database.session import Session
    from agent_factory.settings import Settings

T = TypeVar("T")
app = typer.Typer(
    no_args_is_help=True,
    help="Confirm your address, change your password, use a second factor; disable and enable people.",
)
second_factor = typer.Typer(no_args_is_help=True, help="Switch the second factor on and off.")
app.add_typer(second_factor, name="second-factor")

Email = Annotated[str, typer.Option("--email", help="Address of the account.", prompt="E-mail address")]
Token = Annotated[str, typer.Argument(metavar="TOKEN", help="The token of the letter.")]
_ENROLLED = "Put this into your authenticator, as text or as a QR code of the URI:"


def login(
    ctx: typer.Context,
    email: Email,
    otp: Annotated[str | None, typer.Option(help="Code of your authenticator, or a recovery code.")] = None,
    organization: Annotated[str | None, typer.Option(help="Id of the organisation to act in.")] = None,
) -> None:
    """Log in to a server; commands act for you from then on. The password is asked for, or read from stdin."""
    import time

    from agent_factory.cli import client, options
    from agent_factory.cli.problems import Told
    from agent_factory.cli.state import SignedIn

    state, url = options.of(ctx).state, client.url_of(ctx)
    device = state.devices.get(f"{email.lower()} {url}")
    asked = {"email": email, "password": secret("Password"), "otp": otp, "organization_id": organization}
    asked |= {"device": device} if device else {}
    try:
        given = client.call_openly(ctx, "/auth/login", json=asked).data
    except Told as problem:
        if problem.reported_code != "otp_required" or not sys.stdin.isatty():
            raise
        given = client.call_openly(ctx, "/auth/login", json={**asked, "otp": secret("Code")}).data
    with state.one_at_a_time():
        expires_at = time.time() + given["expires_in"]
        state.keep_login(SignedIn(url, email, given["access_token"], given["refresh_token"], expires_at))
        state.keep_device(f"{email.lower()} {url}", given["device"])
    typer.echo(f"logged in as {given['user']['email']}, {given['user']['role']} of {given['user']['organization_id']}")


def logout(ctx: typer.Context) -> None:
    """End the session of `login`; commands use the key that `up` kept from then on, if there is one."""
    from agent_factory.cli import client, options
    from agent_factory.cli.problems import Told
    from agent_factory.kit.errors import Kind

    state = options.of(ctx).state
    if state.signed_in is None:
        typer.echo("you are not logged in")
        return
    try:
        client.call(ctx, "POST", "/auth/logout")
    except Told as problem:
        if problem.reported_kind is not Kind.UNAUTHENTICATED:  # it has ended by itself
            raise
    state.keep_login(None)
    typer.echo("logged out")


@app.command("show")
def show_account(ctx: typer.Context, form: FormatOption = Format.YAML) -> None:
    """Show the account that commands here act for."""
    from agent_factory.cli import client

    show(client.call(ctx, "GET", "/auth/account").data, form)


@app.command("set-password")
def set_password(ctx: typer.Context) -> None:
    """Choose a password: the first one, or another. Passwords are asked for, or read from stdin, the present one first.

    All of your other sessions end.
    """
    from agent_factory.cli import client

    body: dict[str, str] = {}
    if client.call(ctx, "GET", "/auth/account").data["has_password"]:
        body["current_password"] = secret("Present password")
    client.call(ctx, "POST", "/auth/password", json={**body, "password": secret("New password", twice=True)})
    typer.echo("the password is set")


@app.command()
def register(
    ctx: typer.Context,
    email: Email,
    name: Annotated[str, typer.Option(help="Your name.")] = "",
    organization: Annotated[str, typer.Option(help="Name of the organisation that you found.")] = "Home",
) -> None:
    """Make an account and an organisation, where the server is open to all; a letter says how to go on."""
    from agent_factory.cli import client

    body = {"email": email, "name": name, "organization": organization, "password": secret("Password", twice=True)}
    typer.echo(client.call_openly(ctx, "/auth/register", json=body).data["detail"])


@app.command()
def verify(ctx: typer.Context, token: Token, email: Email) -> None:
    """Confirm your address with the token of the letter and the password that you registered with."""
    from agent_factory.cli import client

    body = {"email": email, "token": token, "password": secret("Password")}
    client.call_openly(ctx, "/auth/verify-email", json=body)
    typer.echo(f"{email} is confirmed; log in with: agent-factory login --email {email}")


@app.command("resend-verification")
def resend_verification(ctx: typer.Context, email: Email) -> None:
    """Ask for another letter to confirm your address with."""
    _ask(ctx, "/auth/resend-verification", email)


@app.command("forgot-password")
def forgot_password(ctx: typer.Context, email: Email) -> None:
    """Ask for a letter to choose a new password with."""
    _ask(ctx, "/auth/forgot-password", email)


@app.command("reset-password")
def reset_password(ctx: typer.Context, token: Token, email: Email) -> None:
    """Choose a new password with the token of the letter. Every session of the account ends."""
    from agent_factory.cli import client

    body = {"email": email, "token": token, "password": secret("New password", twice=True)}
    client.call_openly(ctx, "/auth/reset-password", json=body)
    typer.echo("the password is set")


@second_factor.command("enable")
def enable(ctx: typer.Context) -> None:
    """Ask for a code of your authenticator at every login from now on."""
    from agent_factory.cli import client

    made = client.call(ctx, "POST", "/auth/second-factor", json={"password": secret("Password")}).data
    typer.echo(f"{_ENROLLED}\n\n    {made['secret']}\n    {made['otpauth_uri']}\n")
    given = client.call(ctx, "POST", "/auth/second-factor:confirm", json={"otp": secret("Code")}).data
    _show_codes(given["recovery_codes"])


@second_factor.command("disable")
def disable(ctx: typer.Context) -> None:
    """Ask for no code any more."""
    from agent_factory.cli import client

    client.call(ctx, "POST", "/auth/second-factor:disable", json=_both())
    typer.echo("the second factor is off")


@app.command("recovery-codes")
def recovery_codes(ctx: typer.Context) -> None:
    """Get new recovery codes; the ones from before work no more."""
    from agent_factory.cli import client

    _show_codes(client.call(ctx, "POST", "/auth/recovery-codes", json=_both()).data["recovery_codes"])


Address = Annotated[str, typer.Argument(metavar="EMAIL", help="Address of the account.")]
DatabaseUrl = Annotated[
    str | None,
    typer.Option(
        envvar="AF_DATABASE__URL", show_envvar=True, help="PostgreSQL to use. (default: that of the running `up`)"
    ),
]


@app.command("disable")
def disable_account(ctx: typer.Context, email: Address, *, database_url: DatabaseUrl = None) -> None:
    """Keep a person out of every organisation, within 5 seconds, until enabled again; for the operator.

    Works on the database itself, and needs it and the key file as the server has them.
    """
    from agent_factory.kit.ids import encode
    from agent_factory.services.auth.service import disable_account

    for organization_id in _operate(ctx, database_url, partial(disable_account, email=email)):
        typer.echo(f"nobody else leads {encode('org', organization_id)}", err=True)
    typer.echo(f"{email} is disabled; its sessions and keys are refused everywhere within 5 seconds")


@app.command("enable")
def enable_account(ctx: typer.Context, email: Address, *, database_url: DatabaseUrl = None) -> None:
    """Let a person in again who was disabled, or who closed the account; for the operator."""
    from agent_factory.services.auth.service import enable_account

    _operate(ctx, database_url, partial(enable_account, email=email))
    typer.echo(f"{email} is enabled")


@app.command("close")
def close(ctx: typer.Context) -> None:
    """Close your own account for good: you leave every organisation, and your sessions and keys end."""
    from agent_factory.cli import client, options

    body = {"password": secret("Password")}
    if client.call(ctx, "GET", "/auth/account").data["second_factor"]:
        body["otp"] = secret("Code")
    client.call(ctx, "POST", "/auth/account:close", json=body)
    options.of(ctx).state.keep_login(None)
    typer.echo("the account is closed")


def _operate(ctx: typer.Context, database_url: str | None, work: "Callable[[Session, Post], Awaitable[T]]") -> "T":
    """Do something in the database of the installation, with its mail and its keys."""
    from agent_factory.cli import options
    from agent_factory.cli.configuration import settings
    from agent_factory.cli.work import running_database

    state = options.of(ctx).state
    configured = settings(database={"url": database_url or running_database(ctx), "data_dir": state.home})
    return asyncio.run(_operated(configured, work))


async def _operated(configured: "Settings", work: "Callable[[Session, Post], Awaitable[T]]") -> "T":
    from agent_factory.connectors.mail.post import Post
    from agent_factory.database.session import Database
    from agent_factory.security.encryption import open_vault

    assert configured.database.url is not None
    database = Database(configured.database.url, configured.database)
    try:
        vault = open_vault(configured.encryption, database.pool, configured.database.data_dir)
        async with database.system() as session:
            return await work(session, Post(database.pool, vault, configured.mail))
    finally:
        await database.close()


def _both() -> dict[str, str]:
    return {"password": secret("Password"), "otp": secret("Code")}


def _ask(ctx: typer.Context, path: str, email: str) -> None:
    from agent_factory.cli import client

    typer.echo(client.call_openly(ctx, path, json={"email": email}).data["detail"])


def _show_codes(codes: list[str]) -> None:
    typer.echo("Keep these recovery codes; each lets you in once without your authenticator:\n")
    for code in codes:
        typer.echo(f"    {code}")


def secret(what: str, *, twice: bool = False) -> str:
    """Ask for a secret without showing it; without a terminal, read the next line of stdin."""
    from agent_factory.cli.problems import Refused

    if sys.stdin.isatty():
        return typer.prompt(what, hide_input=True, confirmation_prompt=twice, err=True)
    line = sys.stdin.readline().rstrip("\r\n")
    if not line:
        raise Refused(f"Run it at a terminal, or give this on a line of stdin: {what.lower()}.")
    return line
