"""The tables, one file an owner; importing the package knows them all."""

from agent_factory.database.models.agents import AgentRow, AgentTemplateRow, AgentVersionRow
from agent_factory.database.models.auth import ApiKeyRow, UserRow
from agent_factory.database.models.idempotency import IdempotencyKeyRow
from agent_factory.database.models.organizations import OrganizationRow
from agent_factory.database.models.runs import (
    ApprovalRow,
    MessageRow,
    ProcessRow,
    RunRow,
    RunSnapshotRow,
    RunStatus,
    RunStepRow,
    RunWaitRow,
    SessionRow,
)
from agent_factory.database.models.secrets import DataKeyRow
from agent_factory.database.models.triggers import EventRow, TriggerRow, TriggerTickRow
from agent_factory.database.models.workflows import WorkflowRow, WorkflowVersionRow

__all__ = [
    "AgentRow",
    "AgentTemplateRow",
    "AgentVersionRow",
    "ApiKeyRow",
    "ApprovalRow",
    "DataKeyRow",
    "EventRow",
    "IdempotencyKeyRow",
    "MessageRow",
    "OrganizationRow",
    "ProcessRow",
    "RunRow",
    "RunSnapshotRow",
    "RunStatus",
    "RunStepRow",
    "RunWaitRow",
    "SessionRow",
    "TriggerRow",
    "TriggerTickRow",
    "UserRow",
    "WorkflowRow",
    "WorkflowVersionRow",
]
