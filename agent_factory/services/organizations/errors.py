"""What can go wrong with organisations."""

from agent_factory.kit.errors import NotFound


class OrganizationNotFound(NotFound):
    """No such organisation, or not the caller's."""

    code = "organization_not_found"
    title = "Organisation not found"
