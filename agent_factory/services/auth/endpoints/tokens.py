"""HTTP for tokens and the sessions of people: who am I, and where am I logged in."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import Response

from agent_factory.api.access import needs, open_to_all
from agent_factory.api.dependencies import ActorDep, PlatformDep, Reader
from agent_factory.api.paging import PagingDep
from agent_factory.api.routing import router
from agent_factory.api.schemas import Id
from agent_factory.security.rbac import MEMBER, SELF
from agent_factory.services.auth import service
from agent_factory.services.auth.endpoints.credentials import CredentialsDep
from agent_factory.services.auth.schemas.tokens import Me, Refresh, SessionPage, TokensOut
from agent_factory.services.auth.schemas.users import UserOut

auth = router("/api/v1/auth", "auth")
well_known = router("/.well-known", "auth")

LoginPath = Annotated[UUID, Id("lgn", in_path=True)]
_PUBLIC_SECONDS = 60


@auth.get("/me")
@needs(MEMBER, at_rest=True)
async def me(session: Reader, actor: ActorDep) -> Me:
    """Show who the caller is, and what he may do."""
    user = UserOut.model_validate(await service.get_user(session, actor, actor.user_id))
    return Me(
        user=user,
        organization_id=actor.organization_id,
        key_id=actor.key_id,
        session_id=actor.session_id,
        rights=sorted(actor.rights),
        scopes=sorted(actor.scopes),
    )


@auth.post("/refresh")
@open_to_all("a refresh token is the credential, in the body")
async def refresh(credentials: CredentialsDep, body: Refresh) -> TokensOut:
    """Get new tokens for a refresh token, which works this once. Used again, it ends its session."""
    pair = await service.refresh(credentials, body.refresh_token, body.organization_id)
    return TokensOut.model_validate(pair)


@auth.post("/logout", status_code=204)
@needs(SELF, at_rest=True, audited=False)
async def logout(credentials: CredentialsDep, actor: ActorDep) -> None:
    """End this session."""
    await service.logout(credentials, actor)


@auth.post("/logout-everywhere", status_code=204)
@needs(SELF, at_rest=True, audited=False)
async def logout_everywhere(credentials: CredentialsDep, actor: ActorDep) -> None:
    """End all of your sessions, in whichever organisation, and this one too."""
    await service.logout_everywhere(credentials, actor)


@auth.get("/sessions")
@needs(SELF, at_rest=True)
async def list_sessions(credentials: CredentialsDep, actor: ActorDep, paging: PagingDep) -> SessionPage:
    """List where you are logged in, newest first."""
    return SessionPage.model_validate(await service.list_sessions(credentials, actor, paging.limit, paging.after))


@auth.delete("/sessions/{login_id}", status_code=204)
@needs(SELF, at_rest=True, audited=False)
async def end_session(credentials: CredentialsDep, actor: ActorDep, login_id: LoginPath) -> None:
    """End one of your sessions; its tokens are refused everywhere within 5 seconds."""
    await service.end_session(credentials, actor, login_id)


@well_known.get("/jwks.json")
@open_to_all("public keys are for everybody")
async def jwks(platform: PlatformDep, response: Response) -> dict[str, Any]:
    """Give the public keys of access tokens, as a JWK set (RFC 7517)."""
    # who keeps them for longer than a key is published in advance would not know it when it signs
    seconds = min(_PUBLIC_SECONDS, int(platform.tokens.settings.publish_seconds))
    response.headers["Cache-Control"] = f"public, max-age={seconds}"
    return await platform.tokens.published()
