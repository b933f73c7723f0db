"""Which network addresses are the public internet, which are somebody's inside, and which one subscriber has."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

_NAT64 = IPv6Network("64:ff9b::/96")
_SIX_TO_FOUR = IPv6Network("2002::/16")
_GLOBAL_UNICAST = IPv6Network("2000::/3")

_INSIDE_4 = tuple(
    IPv4Network(n)
    for n in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",  # shared by carriers, and by clouds for their own services
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/3",  # multicast, reserved, broadcast
        "168.63.129.16/32",  # the host of an Azure machine, although its address is a public one
    )
)
_INSIDE_6 = tuple(
    IPv6Network(n)
    for n in (
        "2001::/23",  # Teredo, benchmarks, ORCHID
        "2001:db8::/32",
        "2002::/16",
        "3fff::/20",
    )
)


def is_public(address: str) -> bool:
    """Tell whether an IP address is globally routed unicast; addresses wrapped in IPv6 are unwrapped first.

    Anything that is not an IP address, or carries a zone, is not public.
    """
    try:
        ip = ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, IPv6Address):
        inner = _unwrapped(ip)
        if inner is None:
            return not ip.scope_id and ip in _GLOBAL_UNICAST and not any(ip in n for n in _INSIDE_6)
        ip = inner
    return ip.is_global and not any(ip in n for n in _INSIDE_4)


def _unwrapped(ip: IPv6Address) -> IPv4Address | None:
    """Give the IPv4 address that an IPv6 address carries to its network."""
    if ip.ipv4_mapped is not None:
        return ip.ipv4_mapped
    if ip in _NAT64:
        return IPv4Address(int(ip) & 0xFFFF_FFFF)
    if ip in _SIX_TO_FOUR:
        return IPv4Address((int(ip) >> 80) & 0xFFFF_FFFF)
    return None


def subscriber(address: str) -> str:
    """Give what one subscriber has: an IPv4 address, or the /64 of an IPv6 address, whose rest he chooses himself."""
    try:
        ip = ip_address(address)
    except ValueError:
        return address
    if not isinstance(ip, IPv6Address):
        return address
    if ip.ipv4_mapped is not None:
        return str(ip.ipv4_mapped)
    return f"{IPv6Address(int(ip) >> 64 << 64)}/64"
