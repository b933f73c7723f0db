"""What can go wrong with tokens."""

from agent_factory.kit.errors import Kind, Problem


class BadToken(Problem):
    """A token that is malformed, forged, expired or ended; which of them is not told."""

    kind = Kind.UNAUTHENTICATED
    code = "invalid_token"
    title = "The token is not valid"
