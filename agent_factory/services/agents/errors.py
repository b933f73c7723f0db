"""What can go wrong with agents."""

from agent_factory.kit.errors import Conflict, Invalid, NotFound


class AgentNotFound(NotFound):
    """No such agent in the caller's organisation."""

    code = "agent_not_found"
    title = "Agent not found"


class VersionNotFound(NotFound):
    """The agent has no version with this number."""

    code = "agent_version_not_found"
    title = "Agent version not found"


class TemplateNotFound(NotFound):
    """No template has this name."""

    code = "agent_template_not_found"
    title = "Agent template not found"


class AgentArchived(Conflict):
    """An archived agent stays as it is."""

    code = "agent_archived"
    title = "The agent is archived"


class WrongStatus(Conflict):
    """The life cycle has no such step from where the agent is."""

    code = "agent_status_conflict"
    title = "The agent's status does not allow this"


class AgentNotDeployed(Conflict):
    """No version of the agent is in service."""

    code = "agent_not_deployed"
    title = "The agent is not deployed"


class NothingToRollBackTo(Conflict):
    """No earlier version exists."""

    code = "agent_no_earlier_version"
    title = "There is no earlier version"


class SubAgentsInvalid(Invalid):
    """The agents that an agent calls cannot be brought together."""

    code = "agent_graph_invalid"
    title = "The agents below cannot be used"
