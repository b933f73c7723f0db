"""The audit trail: append-only, chained by seals, signed at checkpoints; see docs/reference/audit.md."""

from agent_factory.security.audit.event import Event, Origin, Outcome, during, origin, record, record_alone

__all__ = ["Event", "Origin", "Outcome", "during", "origin", "record", "record_alone"]
