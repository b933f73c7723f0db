"""What can go wrong with users and keys."""

from agent_factory.kit.errors import Kind, NotFound, Problem


class BadKey(Problem):
    """A key that is unknown, revoked or expired; which of them is not told."""

    kind = Kind.UNAUTHENTICATED
    code = "invalid_api_key"
    title = "The API key is not valid"


class KeyNotFound(NotFound):
    """No such key in the caller's organisation."""

    code = "api_key_not_found"
    title = "API key not found"


class UserNotFound(NotFound):
    """No such user in the caller's organisation."""

    code = "user_not_found"
    title = "User not found"
