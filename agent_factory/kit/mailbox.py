"""E-mail addresses: which are addresses, and when two are the same."""

import re

LONGEST = 254
PATTERN = (
    r"^[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]{1,64}(\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]{1,64})*"
    r"@[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*$"
)
"""An address as RFC 5321 has it, without quoting, comments or characters beyond ASCII.

Nothing that it lets through can end a line of a mail's head, and no two
spellings of it look alike.
"""
_ADDRESS = re.compile(PATTERN)
_LONGEST_LOCAL = 64


def is_address(text: str) -> bool:
    """Tell whether a text is an address."""
    local, _, _ = text.rpartition("@")
    return len(text) <= LONGEST and len(local) <= _LONGEST_LOCAL and _ADDRESS.fullmatch(text) is not None


def same_for_all(address: str) -> str:
    """Give the one spelling of an address that all its spellings share."""
    return address.strip().lower()
