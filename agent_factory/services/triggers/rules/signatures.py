"""Signatures of webhooks: Standard Webhooks v1, and GitHub's."""

import base64
import binascii
import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from datetime import datetime

from agent_factory.kit.errors import FieldError
from agent_factory.services.triggers.errors import SignatureInvalid, TriggerInvalid
from agent_factory.services.triggers.rules.configs import Signature

_STANDARD = "whsec_"
_FEWEST, _MOST = 24, 64
_SHORTEST, _LONGEST = 16, 200
_DIGITS = re.compile(r"[0-9]{1,12}")
_MOST_SIGNATURES = 10


def new_secret(signature: Signature) -> str:
    """Make a secret, as its owner gets to see it once."""
    if signature is Signature.STANDARD:
        return _STANDARD + base64.b64encode(secrets.token_bytes(32)).decode()
    return secrets.token_hex(32)


def key_of(signature: Signature, secret: str) -> bytes:
    """Give the key that a secret stands for; raises `TriggerInvalid` for one that is too weak or not of its form."""
    if signature is Signature.STANDARD:
        try:
            key = base64.b64decode(secret.removeprefix(_STANDARD), validate=True)
        except (binascii.Error, ValueError):
            key = b""
        if not _FEWEST <= len(key) <= _MOST:
            raise _refused(f"whsec_ and {_FEWEST} to {_MOST} bytes in base64")
        return key
    if not _SHORTEST <= len(secret) <= _LONGEST or not secret.isascii():
        raise _refused(f"{_SHORTEST} to {_LONGEST} ASCII characters")
    return secret.encode()


def _refused(wanted: str) -> TriggerInvalid:
    return TriggerInvalid("The secret cannot be used.", errors=[FieldError("/secret", f"has to be {wanted}")])


def verify(
    signature: Signature, key: bytes, headers: Mapping[str, str], body: bytes, *, now: datetime, tolerance: int
) -> None:
    """Raise `SignatureInvalid` unless a request is signed with the key, and not too old where its time is signed."""
    if signature is Signature.STANDARD:
        _verify_standard(key, headers, body, now=now, tolerance=tolerance)
    else:
        given = headers.get("x-hub-signature-256", "")
        wanted = "sha256=" + hmac.new(key, body, hashlib.sha256).hexdigest()
        if not hmac.compare_digest(given.encode("latin-1", "replace"), wanted.encode()):
            raise SignatureInvalid("Sign the body with the webhook's secret, as X-Hub-Signature-256: sha256=….")


def _verify_standard(key: bytes, headers: Mapping[str, str], body: bytes, *, now: datetime, tolerance: int) -> None:
    message, stamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not message or not _DIGITS.fullmatch(stamp):
        raise SignatureInvalid(
            "Send webhook-id, webhook-timestamp and webhook-signature, as Standard Webhooks has them."
        )
    if abs(now.timestamp() - int(stamp)) > tolerance:
        raise SignatureInvalid(f"The request was signed more than {tolerance} s before or after the server's time.")
    signed = b".".join((message.encode("latin-1", "replace"), stamp.encode(), body))
    wanted = "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    given = headers.get("webhook-signature", "").split(" ")[:_MOST_SIGNATURES]
    # Each is compared, whatever the others said.
    matches = [hmac.compare_digest(each.encode("latin-1", "replace"), wanted.encode()) for each in given]
    if not any(matches):
        raise SignatureInvalid("No v1 signature of the request was made with the webhook's secret.")
