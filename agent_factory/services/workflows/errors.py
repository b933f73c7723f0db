"""What can go wrong with workflows."""

from agent_factory.kit.errors import Conflict, Invalid, NotFound
from agent_factory.runtime.flow import outcome as flow


class WorkflowNotFound(NotFound):
    """No such workflow in the caller's organisation."""

    code = "workflow_not_found"
    title = "Workflow not found"


class VersionNotFound(NotFound):
    """The workflow has no version with this number."""

    code = "workflow_version_not_found"
    title = "Workflow version not found"


class WorkflowArchived(Conflict):
    """An archived workflow stays as it is."""

    code = "workflow_archived"
    title = "The workflow is archived"


class WrongStatus(Conflict):
    """The life cycle has no such step from where the workflow is."""

    code = "workflow_status_conflict"
    title = "The workflow's status does not allow this"


class WorkflowNotDeployed(Conflict):
    """No version of the workflow is in service."""

    code = "workflow_not_deployed"
    title = "The workflow is not deployed"


class NothingToRollBackTo(Conflict):
    """No earlier version exists."""

    code = "workflow_no_earlier_version"
    title = "There is no earlier version"


class NamesInvalid(Invalid):
    """What a workflow names cannot be brought together."""

    code = "workflow_names_invalid"
    title = "The workflow names what cannot be used"


class InputInvalid(flow.InputInvalid):
    """A run's input that does not meet the workflow's `input` schema."""

    code = "input_invalid"
    title = "The input does not match the workflow"


class NotForkable(Invalid):
    """A change that the task at which a run is forked has no place for."""

    code = "fork_invalid"
    title = "The run cannot be forked so"
