"""What can go wrong with organisations and their people."""

from agent_factory.kit.errors import Conflict, FieldError, Invalid, NotFound


class OrganizationNotFound(NotFound):
    """No such organisation, or not the caller's."""

    code = "organization_not_found"
    title = "Organisation not found"


class NotSuspended(Conflict):
    """An organisation that is in another part of its life."""

    code = "organization_status_conflict"
    title = "The organisation's status does not allow this"


class TooManyOrganizations(Conflict):
    """More organisations than one person may found."""

    code = "too_many_organizations"
    title = "Too many organisations"


class AccountNeeded(Conflict):
    """A caller who could never get into an organisation of his own."""

    code = "account_needed"
    title = "This needs an account"


class RegistrationClosed(NotFound):
    """Nobody may come in this way here."""

    code = "registration_closed"
    title = "Registration is closed"


class LastOwner(Conflict):
    """The one who leads the organisation; without him nobody would."""

    code = "last_owner"
    title = "An organisation needs an owner"

    def __init__(self) -> None:
        """Say what to do first."""
        super().__init__("This is the last active owner; make somebody else an owner first.")


class ServiceHasNoRole(Conflict):
    """A caller who is no person."""

    code = "service_has_no_role"
    title = "A service has no role"


class AlreadyMember(Conflict):
    """An address whose owner is here already."""

    code = "already_member"
    title = "Already a member"


class InvitationNotFound(NotFound):
    """No such invitation in the caller's organisation."""

    code = "invitation_not_found"
    title = "Invitation not found"


class InvitationClosed(Conflict):
    """An invitation that was accepted or revoked."""

    code = "invitation_closed"
    title = "The invitation is closed"


class PasswordNeeded(Invalid):
    """A newcomer who has not said with which password to make an account."""

    code = "password_needed"
    title = "Choose a password"

    def __init__(self) -> None:
        """Point at the field."""
        super().__init__(
            "You have no account yet; choose its password.",
            errors=[FieldError("/password", "this field is required")],
        )


class InvitationInvalid(NotFound):
    """A token that lets nobody in: unknown, used, revoked or too old; which of them is not told."""

    code = "invitation_invalid"
    title = "The invitation is not valid"

    def __init__(self) -> None:
        """Say what to do next."""
        super().__init__("This invitation is unknown, used, revoked or too old; ask for another.")


class TeamNotFound(NotFound):
    """No such team in the caller's organisation."""

    code = "team_not_found"
    title = "Team not found"


class TeamMemberNotFound(NotFound):
    """Somebody who is not in the team."""

    code = "team_member_not_found"
    title = "Not in the team"


class RoleNotFound(NotFound):
    """No such role in the caller's organisation."""

    code = "role_not_found"
    title = "Role not found"


class RoleBuiltIn(Conflict):
    """A role that comes with the product."""

    code = "role_built_in"
    title = "Built-in roles stay as they are"


class RoleInUse(Conflict):
    """A role that somebody has, or was promised."""

    code = "role_in_use"
    title = "The role is in use"


class TooManyRoles(Conflict):
    """More roles than an organisation may make."""

    code = "too_many_roles"
    title = "Too many roles"


class UnknownRole(Invalid):
    """A role that the organisation does not have."""

    code = "unknown_role"
    title = "Unknown role"

    def __init__(self, role: str, pointer: str = "/role") -> None:
        """Point at the field."""
        super().__init__(
            "There is no such role; GET /api/v1/roles lists them.",
            errors=[FieldError(pointer, f"there is no role {role!r}")],
        )


class UnknownRights(Invalid):
    """Rights that are none."""

    code = "unknown_rights"
    title = "Unknown rights"


class GrantNotFound(NotFound):
    """No such grant in the caller's organisation."""

    code = "grant_not_found"
    title = "Grant not found"


class GrantedNotFound(NotFound):
    """The agent or workflow of a grant is not there."""

    code = "granted_resource_not_found"
    title = "No such agent or workflow"


class TooManyGrants(Conflict):
    """More grants than one person or team may have."""

    code = "too_many_grants"
    title = "Too many grants"
