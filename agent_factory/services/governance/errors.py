"""What can go wrong with looking into the audit trail."""

from agent_factory.kit.errors import NotFound


class AuditEventNotFound(NotFound):
    """No such event, or another organisation's."""

    code = "audit_event_not_found"
    title = "Audit event not found"
