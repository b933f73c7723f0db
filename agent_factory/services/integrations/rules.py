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
_PORTS = 65_536
_ELSEWHERE = frozenset("*/?#@\\ ")
"""Characters that would make more, or something else, than a host of what is written behind `https://`."""
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*|\[[0-9a-f:.]+\]")
_NUMBER = re.compile(r"[0-9]+")


def place_of(secret_id: UUID) -> Place:
    """Give the place that a secret's value is sealed for."""
    return Place("secrets", "value", secret_id)


def check_secret(value: str, hosts: Sequence[str]) -> list[str]:
    """Give the hosts as they are compared with those that are dialled.

    Raises `SecretInvalid` for a value that cannot be sent, or a host that is none.
    """
    kept: list[str] = []
    faults: list[FieldError] = []
    for index, host in enumerate(hosts):
        try:
            kept.append(_written(host))
        except ValueError as fault:
            faults.append(FieldError(f"/hosts/{index}", str(fault)))
    if _UNSENDABLE.search(value):
        faults.append(FieldError("/value", "holds a line break or a NUL character, which no header can carry"))
    if faults:
        raise SecretInvalid("The secret cannot be kept.", errors=faults)
    return list(dict.fromkeys(kept))


def _written(host: str) -> str:
    """Write a host as `host_of` does: small letters, ASCII, without the usual port."""
    below = host.startswith(_BELOW)
    given = host.removeprefix(_BELOW)
    try:
        known = host_of(f"https://{given}") if given.isprintable() and not set(given) & _ELSEWHERE else ""
    except Invalid:
        known = ""
    name, colon, port = known.rpartition(":") if known.rpartition(":")[2].isdigit() else (known, "", "")
    if not _NAME.fullmatch(name) or (colon and not 0 < int(port) < _PORTS):
        raise ValueError("name a host, such as api.example.com, api.example.com:8443 or *.example.com")
    labels = name.split(".")
    if below and (len(labels) == 1 or _NUMBER.fullmatch(labels[-1])):
        raise ValueError("is too wide; name the domain, such as *.example.com")
    return _BELOW + known if below else known
