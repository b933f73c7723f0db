"""How long tokens live, and how long a process believes what it has verified."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


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
