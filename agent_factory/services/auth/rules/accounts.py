"""How what proves a person is made, read and compared: mailed tokens, device tokens, recovery codes, one-time codes."""

import hashlib
import re
import secrets
from datetime import datetime, timedelta
from enum import StrEnum

import msgspec
from pyotp import random_base32
from pyotp.exceptions import OTPVerificationError
from pyotp.totp import TOTP

ISSUER = "Agent Factory"
RECOVERY_CODES = 10
DEVICES = 20
"""Devices of an account that are known at a time."""
DEVICE_LASTS = timedelta(days=180)
"""How long a device is known that nobody logs in from."""
_SECRET_BYTES = 32
_STEP_SECONDS = 30
_NEIGHBOURS = 1
"""Steps before and after the present one whose codes are taken, for clocks that differ."""
_BASE32 = "abcdefghijklmnopqrstuvwxyz234567"
_CODE_LENGTH = 16
_GROUP = 4
_OTP = re.compile(r"\d{6}")


class Purpose(StrEnum):
    """What a mailed token is for; it is good for nothing else."""

    VERIFY = "verify"
    RESET = "reset"


class Secret(msgspec.Struct, frozen=True):
    """A secret that is shown once, and the hash that is kept."""

    text: str
    hash: bytes


def make_token(kind: str) -> Secret:
    """Make a token of 256 random bits; `kind` is how it begins."""
    text = f"{kind}_{secrets.token_urlsafe(_SECRET_BYTES)}"
    return Secret(text, token_hash(text))


def token_hash(text: str) -> bytes:
    """Hash a token as it is kept; random bits need no slow hash."""
    return hashlib.sha256(text.encode()).digest()


def make_recovery_codes() -> list[str]:
    """Make codes of 80 random bits each, in groups that people can type."""
    codes = ["".join(secrets.choice(_BASE32) for _ in range(_CODE_LENGTH)) for _ in range(RECOVERY_CODES)]
    return ["-".join(code[i : i + _GROUP] for i in range(0, _CODE_LENGTH, _GROUP)) for code in codes]


def recovery_hash(text: str) -> bytes:
    """Hash a recovery code, however somebody typed it."""
    return token_hash(re.sub(r"[\s-]", "", text).lower())


def make_seed() -> str:
    """Make the seed of a second factor, in base32."""
    return random_base32()


def otpauth(seed: str, email: str) -> str:
    """Write the address that authenticator applications read from a QR code."""
    return TOTP(seed).provisioning_uri(name=email, issuer_name=ISSUER)


def otp_step(seed: str, code: str, moment: datetime) -> int | None:
    """Give the time step that a one-time code belongs to; None for a code that is wrong now (RFC 6238)."""
    digits = code.replace(" ", "")
    if not _OTP.fullmatch(digits) or not digits.isascii():
        return None
    totp = TOTP(seed, interval=_STEP_SECONDS)
    try:
        return totp.verify_and_get_timecode(digits, for_time=moment, valid_window=_NEIGHBOURS)
    except OTPVerificationError:
        return None


def looks_like_otp(code: str) -> bool:
    """Tell a one-time code from a recovery code."""
    return _OTP.fullmatch(code.replace(" ", "")) is not None
