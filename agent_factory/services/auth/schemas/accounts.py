"""What travels about accounts, logins and second factors."""

from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr

from agent_factory.api.schemas import Input, Moment, Output
from agent_factory.kit import mailbox
from agent_factory.security.passwords import LONGEST
from agent_factory.services.auth.schemas.tokens import TokensOut
from agent_factory.services.auth.schemas.users import OrganizationId, UserId, UserOut

LONGEST_TOKEN = 128


def _address(value: str) -> str:
    if not mailbox.is_address(value):
        raise ValueError("has to be a plain e-mail address, such as ada@example.com")
    return value


EmailAddress = Annotated[str, Field(min_length=3, max_length=mailbox.LONGEST), AfterValidator(_address)]
"""An address that mail can be sent to."""
AnyAddress = Annotated[str, Field(min_length=1, max_length=mailbox.LONGEST)]
"""What somebody says is the address of an account; one that nobody can have is merely unknown."""
Password = Annotated[SecretStr, Field(min_length=1, max_length=LONGEST)]
"""A password; one that is too long is refused before anything is computed (abuse 20)."""
Code = Annotated[SecretStr, Field(min_length=6, max_length=64)]
"""A one-time code of an authenticator, or a recovery code."""
MailedToken = Annotated[SecretStr, Field(min_length=1, max_length=LONGEST_TOKEN)]
"""A token from a letter."""


class LoginIn(Input):
    """Who wants to get in."""

    email: AnyAddress
    password: Password
    otp: Code | None = Field(default=None, description="A one-time or recovery code, where there is a second factor.")
    organization_id: OrganizationId | None = Field(
        default=None, description="Where to act; if absent, where the account has been longest and something is done."
    )
    device: SecretStr | None = Field(
        default=None,
        min_length=1,
        max_length=LONGEST_TOKEN,
        description="What an earlier login gave to this device: it gets in although others lock the account.",
    )


class MembershipOut(Output):
    """An organisation that the account may act in."""

    organization_id: OrganizationId
    user_id: UserId
    role: str


class LoginOut(TokensOut):
    """Tokens, who this is, and where else the account may act."""

    user: UserOut
    organizations: list[MembershipOut]
    device: str = Field(description="Send it with the next login from this device.")


class AddressIn(Input):
    """An address, for a letter that may go to it."""

    email: AnyAddress


class VerificationIn(Input):
    """The token of a letter, and the password of the registration."""

    email: AnyAddress
    token: MailedToken
    password: Password


class ResetIn(Input):
    """The token of a letter, and another password."""

    email: AnyAddress
    token: MailedToken
    password: Password


class PasswordChange(Input):
    """Another password; the present one is needed where there is one."""

    current_password: Password | None = None
    password: Password


class PasswordIn(Input):
    """The account's password, for what is not done without it."""

    password: Password


class OtpIn(Input):
    """A one-time code."""

    otp: Code


class BothFactors(Input):
    """The account's password, and a one-time or recovery code."""

    password: Password
    otp: Code


class Accepted(Output):
    """The request is taken, whatever comes of it."""

    detail: str


class EnrolmentOut(Output):
    """What an authenticator needs: the same as a URI for a QR code, and as text. It is shown this once."""

    secret: str
    otpauth_uri: str


class RecoveryCodes(Output):
    """Codes that stand in for the second factor, each once. They are shown this once."""

    recovery_codes: list[str]


class AccountOut(Output):
    """The account that the caller is, whichever organisation he acts in."""

    email: str
    name: str
    has_password: bool
    verified_at: Moment | None
    password_changed_at: Moment | None
    second_factor: bool
    recovery_codes_left: int
