"""HTTP for accounts: logging in, passwords, and the second factor."""

from fastapi import Request, Response

from agent_factory.api.access import needs, open_to_all
from agent_factory.api.dependencies import ActorDep, PlatformDep
from agent_factory.api.routing import SHOWN_ONCE, router
from agent_factory.security.rbac import SELF
from agent_factory.services.auth.endpoints.credentials import CredentialsDep
from agent_factory.services.auth.schemas.accounts import (
    LONGEST_TOKEN,
    Accepted,
    AccountOut,
    AddressIn,
    BothFactors,
    EnrolmentOut,
    LoginIn,
    LoginOut,
    MembershipOut,
    OtpIn,
    PasswordChange,
    PasswordIn,
    RecoveryCodes,
    ResetIn,
    VerificationIn,
)
from agent_factory.services.auth.schemas.tokens import TokensOut
from agent_factory.services.auth.schemas.users import UserOut
from agent_factory.services.auth.service import accounts as service
from agent_factory.services.auth.service import second_factor
from agent_factory.services.auth.service.login import Login, log_in

accounts = router("/api/v1/auth", "auth")

_DEVICE_COOKIE = "af_device"
_DEVICE_SECONDS = 180 * 86_400
_SENT = Accepted(detail="If the address waits for a letter, one is on its way.")


@accounts.post("/login")
@open_to_all("whoever has no credentials yet gets them here")
async def login(
    request: Request, response: Response, platform: PlatformDep, credentials: CredentialsDep, body: LoginIn
) -> LoginOut:
    """Log in by address and password, and by a code where there is a second factor."""
    device = body.device.get_secret_value() if body.device else request.cookies.get(_DEVICE_COOKIE, "")[:LONGEST_TOKEN]
    asked = Login(
        email=body.email,
        password=body.password.get_secret_value(),
        code=body.otp.get_secret_value() if body.otp else None,
        organization_id=body.organization_id,
        device=device or None,
        address=_address(request),
        agent=request.headers.get("user-agent", ""),
    )
    given = await log_in(platform, credentials, asked)
    response.set_cookie(
        _DEVICE_COOKIE,
        given.device,
        max_age=_DEVICE_SECONDS,
        path=f"{accounts.prefix}/login",
        secure=True,
        httponly=True,
        samesite="strict",
    )
    return LoginOut(
        **TokensOut.model_validate(given.tokens).model_dump(),
        user=UserOut.model_validate(given.user),
        organizations=[
            MembershipOut(organization_id=m.organization_id, user_id=m.id, role=m.role) for m in given.memberships
        ],
        device=given.device,
    )


@accounts.post("/verify-email", status_code=204)
@open_to_all("a mailed token is the credential, in the body")
async def verify_email(platform: PlatformDep, body: VerificationIn) -> None:
    """Confirm an address by the token that was mailed to it, with the password of the registration."""
    await service.verify_email(
        platform,
        email=body.email,
        token=body.token.get_secret_value(),
        password=body.password.get_secret_value(),
    )


@accounts.post("/resend-verification", status_code=202)
@open_to_all("whoever registered cannot log in yet")
async def resend_verification(request: Request, platform: PlatformDep, body: AddressIn) -> Accepted:
    """Mail another token to an address that is not confirmed yet. The answer is the same for every address."""
    await service.send_verification_again(platform, body.email, address=_address(request))
    return _SENT


@accounts.post("/forgot-password", status_code=202)
@open_to_all("whoever forgot the password cannot log in")
async def forgot_password(request: Request, platform: PlatformDep, body: AddressIn) -> Accepted:
    """Mail a token for another password, good for an hour. The answer is the same for every address."""
    await service.request_reset(platform, body.email, address=_address(request))
    return _SENT


@accounts.post("/reset-password", status_code=204)
@open_to_all("a mailed token is the credential, in the body")
async def reset_password(platform: PlatformDep, credentials: CredentialsDep, body: ResetIn) -> None:
    """Choose another password by a mailed token, which works once. Every session of the account ends."""
    await service.reset_password(
        platform,
        credentials,
        email=body.email,
        token=body.token.get_secret_value(),
        password=body.password.get_secret_value(),
    )


@accounts.get("/account")
@needs(SELF, at_rest=True)
async def account(platform: PlatformDep, actor: ActorDep) -> AccountOut:
    """Show the account that you are, whichever organisation you act in."""
    row = await service.account_of(platform, actor)
    return AccountOut(
        email=row.email,
        name=row.name,
        has_password=row.password_hash is not None,
        verified_at=row.verified_at,
        password_changed_at=row.password_changed_at,
        second_factor=row.otp_confirmed_at is not None,
        recovery_codes_left=await service.codes_left(platform, row),
    )


@accounts.post("/password", status_code=204)
@needs(SELF, at_rest=True, audited=False, anew=True)
async def change_password(
    platform: PlatformDep, credentials: CredentialsDep, actor: ActorDep, body: PasswordChange
) -> None:
    """Choose another password; all of your other sessions end. An account without one gets its first."""
    current = body.current_password
    await service.change_password(
        platform,
        credentials,
        actor,
        current=current.get_secret_value() if current else None,
        password=body.password.get_secret_value(),
    )


@accounts.post("/second-factor", openapi_extra={SHOWN_ONCE: True})
@needs(SELF, at_rest=True, audited=False, anew=True)
async def enrol(platform: PlatformDep, actor: ActorDep, body: PasswordIn) -> EnrolmentOut:
    """Begin with a second factor: put the secret into an authenticator, then confirm with a code of it."""
    return EnrolmentOut.model_validate(await second_factor.enrol(platform, actor, body.password.get_secret_value()))


@accounts.post("/second-factor:confirm", openapi_extra={SHOWN_ONCE: True})
@needs(SELF, at_rest=True, audited=False, anew=True)
async def confirm(platform: PlatformDep, actor: ActorDep, body: OtpIn) -> RecoveryCodes:
    """Switch the second factor on. The recovery codes are in this answer and in no other."""
    return RecoveryCodes(recovery_codes=list(await second_factor.confirm(platform, actor, body.otp.get_secret_value())))


@accounts.post("/second-factor:disable", status_code=204)
@needs(SELF, at_rest=True, audited=False, anew=True)
async def disable(platform: PlatformDep, actor: ActorDep, body: BothFactors) -> None:
    """Switch the second factor off, by password and code."""
    await second_factor.disable(platform, actor, body.password.get_secret_value(), body.otp.get_secret_value())


@accounts.post("/recovery-codes", openapi_extra={SHOWN_ONCE: True})
@needs(SELF, at_rest=True, audited=False, anew=True)
async def renew_codes(platform: PlatformDep, actor: ActorDep, body: BothFactors) -> RecoveryCodes:
    """Get ten new recovery codes; the ones from before work no more."""
    codes = await second_factor.renew_codes(
        platform, actor, body.password.get_secret_value(), body.otp.get_secret_value()
    )
    return RecoveryCodes(recovery_codes=list(codes))


def _address(request: Request) -> str:
    known: str | None = request.scope["state"].get("address")
    return known or (request.client.host if request.client else "")
