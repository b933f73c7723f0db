"""Whose word counts for a client's address: that of the proxies which the operator named (abuse 75)."""

import re
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from starlette.types import Scope

_FORWARDED_FOR = re.compile(r'(?:^|[;\s])for\s*=\s*("[^"]*"|[^;,\s]+)', re.IGNORECASE)
_RFC_7239 = b"forwarded"
_PROTO = (b"http", b"https")


class Proxies:
    """The machines in front of us that say who is asking."""

    def __init__(self, networks: Iterable[str], header: str = "x-forwarded-for") -> None:
        """Believe machines in these networks, and of what they send the one header that they write themselves.

        Any other they may pass on as the client invented it.
        """
        self._networks: tuple[IPv4Network | IPv6Network, ...] = tuple(ip_network(n) for n in networks)
        self._header = header.encode()

    def address(self, scope: Scope) -> str:
        """Give the address of a request's client.

        Each proxy adds at the end who asked it, so the list is read from its
        end up to the first machine that is not one of ours; what stands before
        that is hearsay.
        """
        client = scope.get("client")
        address: str = client[0] if client else ""
        if not self._networks or not self._trusts(address):
            return address
        for named in reversed(self._forwarded(scope)):
            if _ip(named) is None:
                return address
            address = named
            if not self._trusts(address):
                break
        return address

    def scheme(self, scope: Scope) -> str:
        """Give the scheme that the client used, as the nearest machine says that says it."""
        client = scope.get("client")
        if self._networks and client and self._trusts(client[0]):
            lines = [value for name, value in scope["headers"] if name == b"x-forwarded-proto"]
            said = lines[-1].rpartition(b",")[2].strip() if lines else b""
            if said in _PROTO:
                return said.decode()
        return scope.get("scheme", "http")

    def _forwarded(self, scope: Scope) -> list[str]:
        """List who asked whom, from the client on."""
        lines = [value.decode("latin-1") for name, value in scope["headers"] if name == self._header]
        parts = ",".join(lines).split(",") if lines else []
        if self._header != _RFC_7239:
            return [_bare(part) for part in parts]
        found = (_FORWARDED_FOR.search(part) for part in parts)
        return [_bare(match[1]) if match else "" for match in found]

    def _trusts(self, address: str) -> bool:
        ip = _ip(address)
        return ip is not None and any(ip in network for network in self._networks)


def _bare(text: str) -> str:
    """Take an address out of its quotes, its brackets and its port."""
    text = text.strip().strip('"')
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0] if text.count(":") == 1 else text


def _ip(text: str) -> IPv4Address | IPv6Address | None:
    try:
        ip = ip_address(text)
    except ValueError:
        return None
    if isinstance(ip, IPv6Address) and ip.ipv4_mapped is not None:
        return ip.ipv4_mapped
    return ip
