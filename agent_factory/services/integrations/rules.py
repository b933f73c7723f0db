"""What a secret and its hosts have to be."""

import re
from collections.abc import Sequence
from uuid import UUID

from agent_factory.kit.errors import FieldError, Invalid
from agent_factory.security.encryption import Place
from agent_factory.security.outgoing import host_of
from agent_factory.services.integrations.errors import SecretInvalid

SHORTEST = 8
"""Characters of a value: a shorter one could not be masked without blanking ordinary words."""
LONGEST = 16_000

_UNSENDABLE = re.compile(r"[\x00\r\n]")
_BELOW = "*."


def place_of(secret_id: UUID) -> Place:
    """Give the place that a secret's value is sealed for."""
    return Place("secrets", "value", secret_id)


def check_secret(value: str, hosts: Sequence[str]) -> None:
    """Raise `SecretInvalid` for a value that cannot be sent, or a host that is none."""
    faults = [FieldError(f"/hosts/{i}", _fault(host)) for i, host in enumerate(hosts) if _fault(host)]
    if _UNSENDABLE.search(value):
        faults.append(FieldError("/value", "holds a line break or a NUL character, which no header can carry"))
    if faults:
        raise SecretInvalid("The secret cannot be kept.", errors=faults)


def _fault(host: str) -> str:
    name = host.removeprefix(_BELOW).lower()
    try:
        known = host_of(f"https://{name}")
    except Invalid:
        known = ""
    if known != name or any(c in name for c in "*/?#@ "):
        return "name a host, such as api.example.com, api.example.com:8443 or *.example.com"
    if host.startswith(_BELOW) and "." not in name.partition(":")[0]:
        return "is too wide; name the domain, such as *.example.com"
    return ""
