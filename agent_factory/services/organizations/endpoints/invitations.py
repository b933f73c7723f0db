"""HTTP for invitations, for those who come in by one or by registering, and for those who go for good."""

from fastapi import Request, Response

from agent_factory.api.access import needs, open_to_all
from agent_factory.api.dependencies import ActorDep, PlatformDep, Reader, Writer
from agent_factory.api.paging import PagingDep
from agent_factory.api.routing import router
from agent_factory.api.schemas import Act
from agent_factory.database.models import InvitationRow
from agent_factory.kit import ids
from agent_factory.kit.clock import now
from agent_factory.security.rbac import SELF
from agent_factory.services.organizations import service
from agent_factory.services.organizations.endpoints.paths import InvitationPath, Own
from agent_factory.services.organizations.rules import status_of
from agent_factory.services.organizations.schemas import (
    AccountClose,
    InvitationAccept,
    InvitationAccepted,
    InvitationCreate,
    InvitationOut,
    InvitationPage,
    Register,
    Registered,
)

invitations = router("/api/v1/organizations/{organization_id}/invitations", "invitations")
arrivals = router("/api/v1/auth", "auth")


@invitations.post("", status_code=201)
@needs("user:manage")
async def create(
    *,
    session: Writer,
    actor: ActorDep,
    platform: PlatformDep,
    organization_id: Own,
    body: InvitationCreate,
    response: Response,
) -> InvitationOut:
    """Invite an address; the token that lets its reader in is in the mail and nowhere else."""
    row = await service.invite(session, actor, platform, email=body.email, role=body.role)
    of = f"/api/v1/organizations/{ids.encode('org', organization_id)}"
    response.headers["Location"] = f"{of}/invitations/{ids.encode('inv', row.id)}"
    return _shown(row)


@invitations.get("")
@needs("user:manage")
async def list_(session: Reader, actor: ActorDep, _own: Own, paging: PagingDep) -> InvitationPage:
    """List invitations, newest first."""
    found = await service.list_invitations(session, actor, paging.limit, paging.after)
    return InvitationPage(
        data=[_shown(row) for row in found.data], next_cursor=found.next_cursor, has_more=found.has_more
    )


@invitations.get("/{invitation_id}")
@needs("user:manage")
async def get(session: Reader, actor: ActorDep, _own: Own, invitation_id: InvitationPath) -> InvitationOut:
    """Show an invitation."""
    return _shown(await service.get_invitation(session, actor, invitation_id))


@invitations.delete("/{invitation_id}", status_code=204)
@needs("user:manage")
async def revoke(session: Writer, actor: ActorDep, _own: Own, invitation_id: InvitationPath) -> None:
    """Take an invitation back."""
    await service.revoke(session, actor, invitation_id)


@invitations.post("/{invitation_id}:resend")
@needs("user:manage")
async def resend(
    *,
    session: Writer,
    actor: ActorDep,
    platform: PlatformDep,
    _own: Own,
    invitation_id: InvitationPath,
    _body: Act | None = None,
) -> InvitationOut:
    """Send an invitation again, for 7 more days; the token of the mail before is worth nothing."""
    return _shown(await service.resend(session, actor, platform, invitation_id))


@arrivals.post("/accept-invitation", status_code=201)
@open_to_all("who is invited may have no account yet; the token is the credential")
async def accept_invitation(platform: PlatformDep, body: InvitationAccept) -> InvitationAccepted:
    """Become a member by the token of an invitation; who has no account yet chooses its password."""
    password = None if body.password is None else body.password.get_secret_value()
    joined = await service.accept(platform, body.token.get_secret_value(), name=body.name, password=password)
    return InvitationAccepted.model_validate(joined)


@arrivals.post("/register", status_code=202)
@open_to_all("who registers has no account yet")
async def register(request: Request, platform: PlatformDep, body: Register) -> Registered:
    """Make an account and an organisation of one's own, where this installation is open to all.

    The answer is the same whether or not the address is known; its owner learns more by mail.
    """
    await service.register(
        platform,
        email=body.email,
        password=body.password.get_secret_value(),
        name=body.name,
        organization=body.organization,
        address=request.scope["state"]["address"],
    )
    return Registered(detail="We have sent a mail to this address that says how to go on.")


@arrivals.post("/account:close", status_code=204)
@needs(SELF, at_rest=True, audited=False, anew=True)
async def close_account(request: Request, platform: PlatformDep, actor: ActorDep, body: AccountClose) -> None:
    """Close your account for good: you leave every organisation, and your sessions and keys end."""
    await service.close_account(
        platform,
        request.app.state.credentials,
        actor,
        password=body.password.get_secret_value(),
        code=None if body.otp is None else body.otp.get_secret_value(),
    )


def _shown(row: InvitationRow) -> InvitationOut:
    return InvitationOut(
        id=row.id,
        email=row.email,
        role=row.role,
        status=status_of(row, now()),
        invited_by=row.invited_by,
        created_at=row.created_at,
        expires_at=row.expires_at,
        accepted_at=row.accepted_at,
    )
