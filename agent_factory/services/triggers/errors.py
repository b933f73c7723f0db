"""What can go wrong with triggers, and with the requests that reach a webhook."""

from agent_factory.kit.errors import Conflict, Invalid, Kind, NotFound, Problem


class TriggerNotFound(NotFound):
    """No such trigger in the caller's organisation."""

    code = "trigger_not_found"
    title = "Trigger not found"


class TriggerDeclared(Conflict):
    """The trigger is part of a workflow's definition, and changes with it."""

    code = "trigger_declared"
    title = "The trigger comes from the workflow's definition"


class TriggerUnsigned(Conflict):
    """The trigger checks no signature, so it has no secret."""

    code = "trigger_unsigned"
    title = "The trigger has no secret"


class TriggerInvalid(Invalid):
    """Settings that do not fit the trigger's type."""

    code = "trigger_invalid"
    title = "The trigger's settings are not valid"


class WebhookNotFound(NotFound):
    """No webhook listens at this path."""

    code = "webhook_not_found"
    title = "Webhook not found"


class WebhookMethod(Problem):
    """The webhook listens to another method."""

    kind = Kind.METHOD_NOT_ALLOWED
    code = "webhook_method_not_allowed"
    title = "Method not allowed"


class SignatureInvalid(Problem):
    """A request that is not signed as the webhook asks for."""

    kind = Kind.UNAUTHENTICATED
    code = "signature_invalid"
    title = "The signature is not valid"


class WebhookTooLarge(Problem):
    """A body over the webhook's limit."""

    kind = Kind.TOO_LARGE
    code = "webhook_body_too_large"
    title = "The body is too large"


class WebhookMalformed(Problem):
    """A request that cannot be read."""

    kind = Kind.MALFORMED
    code = "webhook_malformed"
    title = "Malformed request"


class WebhookUnreadable(Problem):
    """A body in a format that webhooks do not read."""

    kind = Kind.UNSUPPORTED_MEDIA
    code = "webhook_unsupported_media"
    title = "Unsupported media type"
