"""What endpoints ask for: the caller, a transaction, and what the process has open."""

from collections.abc import AsyncGenerator
from typing import Annotated, Any

from fastapi import Depends
from fastapi.openapi.models import HTTPBearer
from fastapi.security.base import SecurityBase
from starlette.requests import HTTPConnection
from starlette.types import Scope

from agent_factory.api.idempotency import Claim
from agent_factory.api.problems import Unauthenticated
from agent_factory.database.session import ReadSession, Session
from agent_factory.runtime.platform import Platform
from agent_factory.security.auth import Actor

_LONGEST_HEADER = 8192
"""Characters of the longest header that is looked at: tokens of other issuers are longer than our own."""


async def authenticate(scope: Scope, *, anew: bool = False) -> Actor:
    """Give the caller of a request, verified once for each request.

    Reads `Authorization: Bearer …` from the ASGI scope, so that mounted
    applications can use it too. With `anew`, whatever this process believes of
    the caller is looked up again. Raises `Unauthenticated`.
    """
    state: dict[str, Any] = scope["state"]
    known: Actor | None = state.get("actor")
    if known is not None:
        return known
    actor: Actor = await scope["app"].state.authenticate(_bearer(scope), anew=anew)
    state["actor"] = actor
    return actor


def _bearer(scope: Scope) -> str:
    values = [value for name, value in scope["headers"] if name == b"authorization"]
    if len(values) == 1 and len(values[0]) <= _LONGEST_HEADER and values[0].isascii():
        scheme, _, secret = values[0].decode().partition(" ")
        if scheme.lower() == "bearer" and secret:
            return secret.strip()
    raise Unauthenticated("Send an API key or an access token as `Authorization: Bearer …`.")


class _ApiKey(SecurityBase):
    """Authentication by API key or access token, as OpenAPI knows it."""

    def __init__(self) -> None:
        self.model = HTTPBearer(description="An API key (`af_…`) or an access token.")
        self.scheme_name = "api_key"

    async def __call__(self, connection: HTTPConnection) -> Actor:
        return await authenticate(connection.scope)


ActorDep = Annotated[Actor, Depends(_ApiKey())]


async def _platform(connection: HTTPConnection) -> Platform:
    return connection.app.state.platform


PlatformDep = Annotated[Platform, Depends(_platform)]


async def reader(actor: ActorDep, platform: PlatformDep) -> AsyncGenerator[ReadSession, None]:
    """Open a read-only transaction of the caller's organisation for the endpoint's time."""
    async with platform.database.read(actor.organization_id) as session:
        yield session


async def writer(connection: HTTPConnection, actor: ActorDep, platform: PlatformDep) -> AsyncGenerator[Session, None]:
    """Open the request's one transaction; it commits before the answer leaves.

    With an Idempotency-Key, a second request with the same key ends here with
    the first one's answer.
    """
    async with platform.database.write(actor.organization_id) as session:
        claim: Claim | None = connection.scope["state"].get("claim")
        if claim is not None:
            await claim.take(session, actor)
        connection.scope["state"]["transaction"] = session
        yield session


# With FastAPI's default scope the answer would leave before the commit, and a commit that fails would be a success.
Reader = Annotated[ReadSession, Depends(reader, scope="function")]
Writer = Annotated[Session, Depends(writer, scope="function")]
