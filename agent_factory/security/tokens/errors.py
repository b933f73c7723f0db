"""What can go wrong with tokens."""

from agent_factory.kit.errors import Kind, Problem


class BadToken(Problem):
    """A token that is malformed, forged, expired or ended; which of them is not told."""

    kind = Kind.UNAUTHENTICATED
    code = "invalid_access_token"
    title = "The access token is not valid"
