"""Every statement over invitations."""

from uuid import UUID

from sqlalchemy import func, select

from agent_factory.database.base import owned_by
from agent_factory.database.models import InvitationRow
from agent_factory.database.pages import newest
from agent_factory.database.session import ReadSession, Session
from agent_factory.kit.pages import Page
from agent_factory.security.auth import Actor


async def invitation(session: ReadSession, actor: Actor, invitation_id: UUID) -> InvitationRow | None:
    """Find one invitation."""
    query = owned_by(actor, InvitationRow).where(InvitationRow.id == invitation_id)
    return (await session.scalars(query)).one_or_none()


async def invitations(session: ReadSession, actor: Actor, limit: int, after: UUID | None) -> Page[InvitationRow]:
    """List invitations, newest first."""
    return await newest(session, owned_by(actor, InvitationRow), InvitationRow, limit, after)


async def open_for(session: ReadSession, actor: Actor, email: str) -> InvitationRow | None:
    """Find the invitation of an address that was neither accepted nor revoked; its time may be over."""
    query = owned_by(actor, InvitationRow).where(
        func.lower(InvitationRow.email) == email.lower(),
        InvitationRow.accepted_at.is_(None),
        InvitationRow.revoked_at.is_(None),
    )
    return (await session.scalars(query)).one_or_none()


async def by_token(session: ReadSession, token_hash: bytes) -> InvitationRow | None:
    """Find the invitation that a token is for, of whichever organisation; for a system transaction."""
    return (await session.scalars(select(InvitationRow).where(InvitationRow.token_hash == token_hash))).one_or_none()


async def by_token_held(session: Session, token_hash: bytes) -> InvitationRow | None:
    """Find the same, and hold it until the transaction ends."""
    query = select(InvitationRow).where(InvitationRow.token_hash == token_hash).with_for_update()
    return (await session.scalars(query)).one_or_none()


async def add(session: Session, row: InvitationRow) -> None:
    """Insert an invitation."""
    session.add(row)
    await session.flush()
