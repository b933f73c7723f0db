"""The audit trail: append-only, chained by seals, signed at checkpoints; see docs/reference/audit.md."""

from typing import TYPE_CHECKING

from agent_factory.kit.exports import exported

if TYPE_CHECKING:
    from agent_factory.security.audit.event import Event, Origin, Outcome, during, origin, record, record_alone
    from agent_factory.security.audit.findings import Finding, Progress, Touched
    from agent_factory.security.audit.lookout import Lookout
    from agent_factory.security.audit.settings import AuditSettings
    from agent_factory.security.audit.trail import Trail

__all__ = [
    "AuditSettings",
    "Event",
    "Finding",
    "Lookout",
    "Origin",
    "Outcome",
    "Progress",
    "Touched",
    "Trail",
    "during",
    "origin",
    "record",
    "record_alone",
]

__getattr__ = exported(
    __name__,
    {
        "AuditSettings": "settings",
        "Event": "event",
        "Finding": "verifying",
        "Lookout": "lookout",
        "Origin": "event",
        "Outcome": "event",
        "Progress": "verifying",
        "Touched": "verifying",
        "Trail": "trail",
        "during": "event",
        "origin": "event",
        "record": "event",
        "record_alone": "event",
    },
)
