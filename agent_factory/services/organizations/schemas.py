"""What travels about organisations and their people."""

from typing import Annotated, Self
from uuid import UUID

from pydantic import Field, SecretStr, model_validator

from agent_factory.api.paging import PageOf
from agent_factory.api.schemas import Id, Input, Moment, Output
from agent_factory.kit import mailbox
from agent_factory.security.passwords import LONGEST

OrganizationId = Annotated[UUID, Id("org")]
UserId = Annotated[UUID, Id("usr")]
TeamId = Annotated[UUID, Id("team")]
InvitationId = Annotated[UUID, Id("inv")]
GrantId = Annotated[UUID, Id("gra")]
AgentId = Annotated[UUID, Id("agt")]
WorkflowId = Annotated[UUID, Id("wf")]

Name = Annotated[str, Field(min_length=1, max_length=255)]
Description = Annotated[str, Field(max_length=2000)]
RoleName = Annotated[str, Field(min_length=1, max_length=50, pattern=r"^[a-z][a-z0-9_-]*$")]
Rights = Annotated[
    list[Annotated[str, Field(max_length=100)]],
    Field(max_length=100, description="Such as `agent:run`, `agent:*` or `*`."),
]
Password = Annotated[SecretStr, Field(max_length=LONGEST)]
Address = Annotated[str, Field(max_length=mailbox.LONGEST, pattern=mailbox.PATTERN, examples=["ada@example.com"])]


class OrganizationCreate(Input):
    """An organisation to be founded."""

    name: Name


class OrganizationPatch(Input):
    """What may be changed."""

    name: Name


class OrganizationOut(Output):
    """An organisation, and who the caller is in it.

    A deleted one can be restored until `restorable_until`.
    """

    id: OrganizationId
    name: str
    domain: str | None
    plan: str
    status: str
    restorable_until: Moment | None
    user_id: UserId
    role: str
    created_at: Moment


class OrganizationPage(PageOf[OrganizationOut]):
    """A page of organisations."""


class MemberOut(Output):
    """A member: a `person`, or a `service` that acts by keys; `status` is `active` or `disabled`.

    With `account_disabled`, the operator keeps the person out of every organisation.
    """

    id: UserId
    email: str
    name: str
    kind: str
    role: str
    status: str
    account_disabled: bool
    created_at: Moment


class MemberPage(PageOf[MemberOut]):
    """A page of people."""


class MemberPatch(Input):
    """Another role for a person."""

    role: RoleName


class InvitationCreate(Input):
    """Somebody to be invited."""

    email: Address
    role: RoleName = "developer"


class InvitationOut(Output):
    """An invitation, without its token; `status` is `open`, `accepted`, `revoked` or `expired`."""

    id: InvitationId
    email: str
    role: str
    status: str
    invited_by: UserId
    created_at: Moment
    expires_at: Moment
    accepted_at: Moment | None


class InvitationPage(PageOf[InvitationOut]):
    """A page of invitations."""


class InvitationAccept(Input):
    """The token of an invitation; who has no account yet also says its password."""

    token: Annotated[SecretStr, Field(min_length=1, max_length=200)]
    password: Password | None = None
    name: Annotated[str, Field(max_length=255)] = ""


class InvitationAccepted(Output):
    """A new membership; log in to use it."""

    organization_id: OrganizationId
    user_id: UserId
    role: str
    new_account: bool


class Register(Input):
    """An account and an organisation to be made."""

    email: Address
    password: Password
    name: Annotated[str, Field(max_length=255)] = ""
    organization: Name = "Home"


class AccountClose(Input):
    """The password of the account, and a code where there is a second factor."""

    password: Annotated[SecretStr, Field(min_length=1, max_length=LONGEST)]
    otp: Annotated[SecretStr, Field(min_length=6, max_length=64)] | None = None


class Registered(Output):
    """What happens next, whoever asked."""

    detail: str


class TeamCreate(Input):
    """A team to be made."""

    name: Name
    description: Description = ""


class TeamPatch(Input):
    """What may be changed of a team."""

    name: Name | None = None
    description: Description | None = None


class TeamOut(Output):
    """A team."""

    id: TeamId
    name: str
    description: str
    created_at: Moment
    updated_at: Moment


class TeamPage(PageOf[TeamOut]):
    """A page of teams."""


class TeamPlace(Input):
    """A person's place in a team; a role gives its rights beside those of the person's own."""

    role: RoleName | None = None


class TeamMemberOut(Output):
    """A person in a team."""

    user_id: UserId
    email: str
    name: str
    role: str | None
    created_at: Moment


class TeamMemberPage(PageOf[TeamMemberOut]):
    """A page of a team's people."""


class RoleCreate(Input):
    """A role to be made."""

    name: RoleName
    description: Description = ""
    rights: Rights


class RolePatch(Input):
    """What may be changed of a role; everybody who has it gets the change."""

    description: Description | None = None
    rights: Rights | None = None


class RoleOut(Output):
    """A role: its rights, and all the permissions that these hold."""

    name: str
    description: str
    built_in: bool
    rights: list[str]
    permissions: list[str]


class RolePage(PageOf[RoleOut]):
    """All roles: the built-in ones first."""


class GrantCreate(Input):
    """Rights of one person or one team to one agent or one workflow."""

    user_id: UserId | None = None
    team_id: TeamId | None = None
    agent_id: AgentId | None = None
    workflow_id: WorkflowId | None = None
    rights: Annotated[Rights, Field(min_length=1)]

    @model_validator(mode="after")
    def _one_of_each(self) -> Self:
        if (self.user_id is None) == (self.team_id is None):
            raise ValueError("name either a user_id or a team_id")
        if (self.agent_id is None) == (self.workflow_id is None):
            raise ValueError("name either an agent_id or a workflow_id")
        return self


class GrantPatch(Input):
    """Other rights for the same."""

    rights: Annotated[Rights, Field(min_length=1)]


class GrantOut(Output):
    """A grant."""

    id: GrantId
    user_id: UserId | None
    team_id: TeamId | None
    agent_id: AgentId | None
    workflow_id: WorkflowId | None
    rights: list[str]
    created_by: UserId | None
    created_at: Moment


class GrantPage(PageOf[GrantOut]):
    """A page of grants."""


class PermissionAsk(Input):
    """A question whether somebody may do something; without a `user_id`, the caller."""

    user_id: UserId | None = None
    resource: Annotated[str, Field(max_length=100, description="A noun such as `agent`, or the id of one.")]
    action: Annotated[str, Field(max_length=50, description="A verb such as `run`.")]


class PermissionAnswer(Output):
    """Whether somebody may."""

    allowed: bool
