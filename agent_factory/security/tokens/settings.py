"""How long tokens live, how long a process believes what it has verified, and whose tokens it takes besides."""

from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from agent_factory.kit import ids
from agent_factory.kit.errors import NotFound

KNOWN_SHARE = 0.2
"""The part of the belief period for which a process goes by the keys that it has; tokens take the rest."""
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


def _organization(value: Any) -> UUID:  # noqa: ANN401 - whatever the setting says
    if isinstance(value, UUID):
        return value
    try:
        return ids.decode("org", str(value))
    except NotFound:
        raise ValueError("has to be the id of an organisation, org_…") from None


def fetchable(url: str) -> bool:
    """Tell whether keys may be fetched from somewhere: encrypted on the way, or from this machine."""
    try:
        split = urlsplit(url)
        host = split.hostname
        _ = split.port
    except ValueError:
        return False
    plain = split.scheme == "http" and host in _LOOPBACK
    return bool(host) and split.username is None and not split.fragment and (plain or split.scheme == "https")


class IssuerSettings(BaseModel):
    """Somebody else whose access tokens count here, in one organisation (S33, merge 3).

    `issuer` and `audience` are compared exactly with `iss` and `aud`. The keys
    are at `jwks_url`, or where the issuer's OpenID configuration says. A token
    stands for the active member whose address is in `email_claim`, if
    `verified_claim` is true. Each of `scopes_claims` that is there narrows what
    it may be used for. Clocks may be `leeway` seconds apart. While the keys
    cannot be fetched, known ones count for `stale_minutes` more.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    issuer: str = Field(min_length=1, max_length=255)
    audience: str = Field(min_length=1, max_length=255)
    organization: Annotated[UUID, BeforeValidator(_organization)]
    jwks_url: str | None = Field(default=None, max_length=2000)
    email_claim: str = Field(default="email", min_length=1, max_length=255)
    verified_claim: str = Field(default="email_verified", min_length=1, max_length=255)
    scopes_claims: tuple[str, ...] = ("scope", "scp")
    leeway: int = Field(default=30, ge=0, le=60)
    stale_minutes: float = Field(default=60.0, ge=0, le=1440)

    @model_validator(mode="after")
    def _keys_come_safely(self) -> Self:
        if not fetchable(self.jwks_url or self.issuer):
            raise ValueError("keys come over https:// only; without jwks_url, the issuer itself has to be such a URL")
        return self


class AuthSettings(BaseModel):
    """Tokens and sessions; times in seconds unless the name says days.

    `issuer` and `audience` stand in every access token and are compared
    exactly. `believed_seconds` is the longest that a revoked key, an ended
    session, a disabled person or a changed right may go on to work anywhere.
    A session ends when it was not refreshed for `idle_days`, and after
    `session_days` in any case. After `signing_key_days` tokens are signed with
    a new key, which is published `publish_seconds` before its first use.

    `registration` says who may come in anew: with `open` everybody may found an
    organisation, with `invited` who has an invitation to one may join it, with
    `closed` only those who have an account already.

    `issuers` are those whose tokens count beside our own.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    issuer: str = Field(default="agent-factory", min_length=1, max_length=255)
    audience: str = Field(default="agent-factory", min_length=1, max_length=255)
    access_seconds: int = Field(default=600, ge=10, le=3600)
    believed_seconds: float = Field(default=5.0, ge=0, le=5)
    idle_days: float = Field(default=30.0, gt=0, le=365)
    session_days: float = Field(default=90.0, gt=0, le=3650)
    signing_key_days: float = Field(default=90.0, gt=0, le=3650)
    publish_seconds: float = Field(default=10.0, ge=0, le=3600)
    registration: Literal["open", "invited", "closed"] = "invited"
    issuers: tuple[IssuerSettings, ...] = ()

    @model_validator(mode="after")
    def _known_before_it_signs(self) -> Self:
        if self.publish_seconds < self.believed_seconds * KNOWN_SHARE:
            raise ValueError(
                f"publish_seconds: no process looks for keys sooner than every {KNOWN_SHARE:.0%} of belief"
            )
        return self

    @model_validator(mode="after")
    def _nobody_under_anothers_name(self) -> Self:
        names = [each.casefold().rstrip("/") for each in (self.issuer, *(other.issuer for other in self.issuers))]
        if len(set(names)) < len(names):
            raise ValueError("issuers: each has a name of its own, and none has that of this installation")
        return self
