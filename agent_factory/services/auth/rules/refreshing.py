"""How refresh tokens are made and read (S30).

A token names its login and holds two secrets of 256 bits: one that all tokens
of the family share, and its own. Who shows the family's secret has had one of
its tokens, so an older token is known for what it is without a list of them,
and a guess harms nobody.
"""

import hashlib
import re
import secrets
from uuid import UUID

import msgspec

from agent_factory.kit import ids
from agent_factory.kit.errors import NotFound

_TOKEN = re.compile(r"afr_([0-9a-hjkmnp-tv-z]{26})_([A-Za-z0-9_-]{43})_([A-Za-z0-9_-]{43})")
_BYTES = 32


class RefreshToken(msgspec.Struct, frozen=True):
    """The parts of a token."""

    login_id: UUID
    family: str
    own: str

    def __str__(self) -> str:
        """Write the token as it is sent."""
        return f"afr_{ids.encode('lgn', self.login_id).removeprefix('lgn_')}_{self.family}_{self.own}"

    @property
    def family_hash(self) -> bytes:
        """Hash the family's secret as it is stored."""
        return hashlib.sha256(self.family.encode()).digest()

    @property
    def own_hash(self) -> bytes:
        """Hash the token's own secret as it is stored."""
        return hashlib.sha256(self.own.encode()).digest()


def first_token(login_id: UUID) -> RefreshToken:
    """Make the first token of a family."""
    return RefreshToken(login_id, _secret(), _secret())


def next_token(token: RefreshToken) -> RefreshToken:
    """Make the token that takes the place of another."""
    return RefreshToken(token.login_id, token.family, _secret())


def read_token(text: str) -> RefreshToken | None:
    """Read what looks like a refresh token, else None."""
    match = _TOKEN.fullmatch(text)
    if match is None:
        return None
    try:
        return RefreshToken(ids.decode("lgn", f"lgn_{match[1]}"), match[2], match[3])
    except NotFound:
        return None


def _secret() -> str:
    return secrets.token_urlsafe(_BYTES)
