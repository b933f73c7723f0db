"""What travels about workflows."""

from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import Field, StringConstraints, WithJsonSchema, model_validator

from agent_factory.api.paging import PageOf
from agent_factory.api.schemas import Id, Input, definition_of
from agent_factory.services.definitions.schemas import Patch, Summary, VersionSummary

WorkflowId = Annotated[UUID, Id("wf")]
Version = Annotated[int, Field(ge=1, le=2_147_483_647, strict=True)] | Literal["latest"]
Priority = Annotated[int, Field(ge=-1000, le=1000, strict=True)]

WorkflowDefinition = Annotated[dict[str, Any], WithJsonSchema(definition_of("Workflow"))]
"""A workflow's definition as it travels; `core.workflow` reads it, so that every fault has its pointer."""


class WorkflowSummary(Summary):
    """A workflow without its definition."""

    id: WorkflowId


class WorkflowOut(WorkflowSummary):
    """A workflow with its newest definition."""

    definition: WorkflowDefinition


class WorkflowPage(PageOf[WorkflowSummary]):
    """A page of workflows."""


class WorkflowVersionOut(VersionSummary):
    """A version, which never changes."""

    definition: WorkflowDefinition


class RunStart(Input):
    """A run to begin: of the deployed version, unless another is named; a higher `priority` goes first."""

    input: Any = None
    version: Version | None = None
    priority: Priority = 0


class Execute(RunStart):
    """A run to begin of a workflow that is named by its id or name, or of a whole definition that is kept nowhere."""

    workflow_id: WorkflowId | None = None
    name: Annotated[str, StringConstraints(min_length=1, max_length=200)] | None = None
    workflow: WorkflowDefinition | None = None

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if sum(each is not None for each in (self.workflow_id, self.name, self.workflow)) != 1:
            raise ValueError("give one of workflow_id, name and workflow")
        if self.workflow is not None and self.version is not None:
            raise ValueError("a definition that is kept nowhere has no version")
        return self


class Changes(Input):
    """What is to be different in the task at which a run is forked, or the whole definition instead of the pinned one.

    `prompt` and `model` are those of a model call or of an agent's turn;
    `config` is a merge patch of the task's settings.
    """

    prompt: Annotated[str, StringConstraints(min_length=1)] | None = None
    model: Annotated[str, StringConstraints(min_length=1, max_length=200)] | None = None
    config: Patch | None = None
    definition: WorkflowDefinition | None = None

    @model_validator(mode="after")
    def _whole_or_part(self) -> Self:
        if self.definition is not None and (self.prompt or self.model or self.config):
            raise ValueError("give a whole definition, or changes to the task, not both")
        return self


class ForkIn(Input):
    """Where a run is begun again, and what is different then; everything before is taken as it was."""

    from_: str = Field(alias="from", min_length=1, max_length=64)
    input: Any = None
    changes: Changes | None = None
    priority: Priority | None = None
