"""What can go wrong with tools and secrets."""

from agent_factory.kit.errors import Invalid, NotFound


class ToolNotFound(NotFound):
    """No tool has this name."""

    code = "tool_not_found"
    title = "Tool not found"


class SecretNotFound(NotFound):
    """No such secret in the caller's organisation."""

    code = "secret_not_found"
    title = "Secret not found"


class SecretInvalid(Invalid):
    """A value that cannot be sent, or a host that is none."""

    code = "secret_invalid"
    title = "The secret is not valid"
