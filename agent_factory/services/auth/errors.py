"""What can go wrong with accounts, users and keys."""

from agent_factory.kit.errors import Conflict, Invalid, Kind, NotFound, Problem


class BadKey(Problem):
    """A key that is unknown, revoked or expired; which of them is not told."""

    kind = Kind.UNAUTHENTICATED
    code = "invalid_api_key"
    title = "The API key is not valid"


class KeyNotFound(NotFound):
    """No such key in the caller's organisation."""

    code = "api_key_not_found"
    title = "API key not found"


class UserNotFound(NotFound):
    """No such user in the caller's organisation."""

    code = "user_not_found"
    title = "User not found"


class BadCredentials(Problem):
    """An address or a password that is wrong; which of them, or why, is not told (abuse 18)."""

    kind = Kind.UNAUTHENTICATED
    code = "invalid_credentials"
    title = "The address or the password is not right"


class OtpRequired(Problem):
    """The password is right, and the account has a second factor."""

    kind = Kind.UNAUTHENTICATED
    code = "otp_required"
    title = "A one-time code is needed"


class OtpRefused(Problem):
    """A one-time or recovery code that is wrong, or was used before."""

    kind = Kind.UNAUTHENTICATED
    code = "otp_refused"
    title = "The code is not right"


class TooManyAttempts(Problem):
    """More attempts failed than may within a while."""

    kind = Kind.LIMITED
    code = "too_many_attempts"
    title = "Too many attempts"


class WrongPassword(Problem):
    """Somebody who is logged in gave a wrong password."""

    kind = Kind.FORBIDDEN
    code = "wrong_password"
    title = "The password is not right"


class NotAMember(Problem):
    """The account belongs to no organisation, or not to the one that was named."""

    kind = Kind.FORBIDDEN
    code = "not_a_member"
    title = "Not a member of the organisation"


class AccountExists(Conflict):
    """There is an account with this address already; never told to whoever is not known."""

    code = "account_exists"
    title = "There is such an account already"


class AccountNotFound(NotFound):
    """No account with such an address; told to the operator alone."""

    code = "account_not_found"
    title = "Account not found"


class AccountDisabled(Conflict):
    """An account that was closed, or that the operator has disabled; told to nobody but its owner."""

    code = "account_disabled"
    title = "The account is disabled"


class NoAccount(Conflict):
    """A caller that is no person, such as the key of a service."""

    code = "no_account"
    title = "The caller has no account"


class BadMailedToken(Invalid):
    """A mailed token that is wrong, used, expired, or somebody else's; which of them is not told (abuse 17)."""

    code = "invalid_token"
    title = "The token is not valid"


class SecondFactorState(Conflict):
    """The second factor is on already, or not on."""

    code = "second_factor_state"
    title = "The second factor is not in that state"


class BadRefresh(Problem):
    """A refresh token that is unknown, used, ended or too old; which of them is not told."""

    kind = Kind.UNAUTHENTICATED
    code = "invalid_refresh_token"
    title = "The refresh token is not valid"


class RefreshOverlaps(Conflict):
    """Two requests used one refresh token at the same moment; the other one got its successor."""

    code = "refresh_overlaps"
    title = "Another request is refreshing this session"


class LoginNotFound(NotFound):
    """No such session of the caller."""

    code = "login_not_found"
    title = "Session not found"


class NoSession(Conflict):
    """A caller that is not logged in, such as an API key."""

    code = "no_session"
    title = "The caller has no session"
