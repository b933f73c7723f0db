"""The tables, one file an owner; importing the package knows them all."""

from agent_factory.database.models.accounts import (
    AccountRow,
    DeviceRow,
    FailedLoginsRow,
    MailedTokenRow,
    RecoveryCodeRow,
)
from agent_factory.database.models.agents import AgentRow, AgentTemplateRow, AgentVersionRow
from agent_factory.database.models.audit import (
    AuditCheckpointRow,
    AuditEventRow,
    AuditKeyRow,
    AuditPendingRow,
    AuditSealRow,
)
from agent_factory.database.models.auth import ApiKeyRow, LoginRow, SigningKeyRow, UserRow
from agent_factory.database.models.billing import (
    BudgetRow,
    MeterRow,
    QuotaRow,
    ReservationRow,
    UsageDayRow,
    UsageMarkRow,
)
from agent_factory.database.models.data_keys import DataKeyRow
from agent_factory.database.models.idempotency import IdempotencyKeyRow
from agent_factory.database.models.integrations import SecretRow
from agent_factory.database.models.limits import OrganizationOriginRow, RateCounterRow, RateUseRow
from agent_factory.database.models.mail import LetterRow
from agent_factory.database.models.organizations import (
    GrantRow,
    InvitationRow,
    OrganizationRow,
    RoleRow,
    TeamMemberRow,
    TeamRow,
)
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
from agent_factory.database.models.triggers import EventRow, TriggerRow, TriggerTickRow
from agent_factory.database.models.workflows import WorkflowRow, WorkflowVersionRow

__all__ = [
    "AccountRow",
    "AgentRow",
    "AgentTemplateRow",
    "AgentVersionRow",
    "ApiKeyRow",
    "ApprovalRow",
    "AuditCheckpointRow",
    "AuditEventRow",
    "AuditKeyRow",
    "AuditPendingRow",
    "AuditSealRow",
    "BudgetRow",
    "DataKeyRow",
    "DeviceRow",
    "EventRow",
    "FailedLoginsRow",
    "GrantRow",
    "IdempotencyKeyRow",
    "InvitationRow",
    "LetterRow",
    "LoginRow",
    "MailedTokenRow",
    "MessageRow",
    "MeterRow",
    "OrganizationOriginRow",
    "OrganizationRow",
    "ProcessRow",
    "QuotaRow",
    "RateCounterRow",
    "RateUseRow",
    "RecoveryCodeRow",
    "ReservationRow",
    "RoleRow",
    "RunRow",
    "RunSnapshotRow",
    "RunStatus",
    "RunStepRow",
    "RunWaitRow",
    "SecretRow",
    "SessionRow",
    "SigningKeyRow",
    "TeamMemberRow",
    "TeamRow",
    "TriggerRow",
    "TriggerTickRow",
    "UsageDayRow",
    "UsageMarkRow",
    "UserRow",
    "WorkflowRow",
    "WorkflowVersionRow",
]
