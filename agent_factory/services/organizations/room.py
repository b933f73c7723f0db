"""What the organizations room shows."""

from agent_factory.api.room import Room
from agent_factory.services.organizations.endpoints.grants import grants
from agent_factory.services.organizations.endpoints.invitations import arrivals, invitations
from agent_factory.services.organizations.endpoints.members import members
from agent_factory.services.organizations.endpoints.organizations import organizations
from agent_factory.services.organizations.endpoints.roles import permissions, roles
from agent_factory.services.organizations.endpoints.teams import teams

room = Room(
    name="organizations",
    routers=(members, invitations, teams, organizations, roles, permissions, grants, arrivals),
)
