"""Workflows as a kind of definitions."""

from agent_factory.database.models import WorkflowRow, WorkflowVersionRow
from agent_factory.services.definitions.service import Kind
from agent_factory.services.workflows.errors import (
    NothingToRollBackTo,
    VersionNotFound,
    WorkflowArchived,
    WorkflowNotDeployed,
    WorkflowNotFound,
    WrongStatus,
)

WORKFLOW = Kind(
    noun="workflow",
    prefix="wf",
    heads=WorkflowRow,
    versions=WorkflowVersionRow,
    not_found=WorkflowNotFound,
    version_not_found=VersionNotFound,
    archived=WorkflowArchived,
    wrong_status=WrongStatus,
    not_deployed=WorkflowNotDeployed,
    no_earlier=NothingToRollBackTo,
)
