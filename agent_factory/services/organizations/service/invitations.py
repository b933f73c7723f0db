"""Invitations: a place in an organisation for whoever reads the mail of an address."""

from uuid import UUID

from agent_factory.database.models import InvitationRow, OrganizationRow
from agent_factory.database.session import ReadSession, Session
from agent_factory.kit.clock import now, rfc3339
from agent_factory.kit.ids import uuid7
from agent_factory.kit.pages import Page
from agent_factory.runtime.platform import Platform
from agent_factory.security import rbac
from agent_factory.security.auth import Actor
from agent_factory.services.auth import service as auth
from agent_factory.services.organizations import errors
from agent_factory.services.organizations.queries import invitations as queries
from agent_factory.services.organizations.queries import organizations
from agent_factory.services.organizations.rules import INVITED_FOR, new_token, status_of, token_hash
from agent_factory.services.organizations.service.authority import acting
from agent_factory.services.organizations.service.roles import rights_of_role

_MANAGE = "user:manage"


async def get_invitation(session: ReadSession, actor: Actor, invitation_id: UUID) -> InvitationRow:
    """Find an invitation; raises `InvitationNotFound`."""
    row = await queries.invitation(session, actor, invitation_id)
    if row is None:
        raise errors.InvitationNotFound("There is no such invitation in your organisation.")
    return row


async def list_invitations(session: ReadSession, actor: Actor, limit: int, after: UUID | None) -> Page[InvitationRow]:
    """List invitations, newest first."""
    return await queries.invitations(session, actor, limit, after)


async def invite(session: Session, actor: Actor, platform: Platform, *, email: str, role: str) -> InvitationRow:
    """Invite an address by mail; raises `UnknownRole`, `Denied`, `AlreadyMember`, or `Conflict` where it is invited."""
    caller = await acting(session, actor, _MANAGE)
    rbac.check_giving(caller, await rights_of_role(session, caller, role))
    if await auth.member_by_email(session, caller.organization_id, email) is not None:
        raise errors.AlreadyMember("The owner of this address is in your organisation already.")
    moment = now()
    before = await queries.open_for(session, caller, email)
    if before is not None and before.expires_at <= moment:
        before.revoked_at = moment
        await session.flush()
    row = InvitationRow(
        id=uuid7(),
        organization_id=caller.organization_id,
        email=email,
        role=role,
        token_hash=b"",
        invited_by=caller.user_id,
        created_at=moment,
        expires_at=moment,
    )
    await _post(session, platform, row)
    await queries.add(session, row)
    return row


async def resend(session: Session, actor: Actor, platform: Platform, invitation_id: UUID) -> InvitationRow:
    """Send an invitation again, with a token of its own; the one before is worth nothing from then on.

    Raises `InvitationNotFound`, `InvitationClosed` or `Denied`.
    """
    caller = await acting(session, actor, _MANAGE)
    row = await get_invitation(session, caller, invitation_id)
    rbac.check_giving(caller, await rights_of_role(session, caller, row.role))
    _check_not_closed(row)
    row.invited_by = caller.user_id
    await _post(session, platform, row)
    return row


async def revoke(session: Session, actor: Actor, invitation_id: UUID) -> None:
    """Take an invitation back; raises `InvitationNotFound`, or `InvitationClosed` for one that was accepted."""
    caller = await acting(session, actor, _MANAGE)
    row = await get_invitation(session, caller, invitation_id)
    if row.revoked_at is None:
        _check_not_closed(row)
        row.revoked_at = now()


def _check_not_closed(row: InvitationRow) -> None:
    if status_of(row, now()) in ("accepted", "revoked"):
        raise errors.InvitationClosed(f"The invitation is {status_of(row, now())}; make another.")


async def _post(session: Session, platform: Platform, row: InvitationRow) -> None:
    """Give an invitation a new token, and post it."""
    organization = await organizations.organization(session, row.organization_id)
    assert organization is not None, "it is held"
    token = new_token()
    row.token_hash = token_hash(token)
    row.expires_at = now() + INVITED_FOR
    await platform.mail.post(
        session,
        to=row.email,
        subject=f"You are invited to {_one_line(organization.name)}",
        text=_letter(organization, row, token),
    )


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _letter(organization: OrganizationRow, row: InvitationRow, token: str) -> str:
    return (
        f"You are invited to the organisation {_one_line(organization.name)!r} as {row.role}.\n\n"
        f"Accept it until {rfc3339(row.expires_at)}:\n\n"
        f"    agent-factory member accept {token}\n\n"
        "or send the token to POST /api/v1/auth/accept-invitation. If you expect no invitation, do nothing: without "
        "the token nobody joins in your name.\n"
    )
