"""Ids that are the same whoever makes them: what is started twice by the same cause is one run."""

import hashlib
from datetime import datetime
from uuid import UUID


def named(moment: datetime, *cause: UUID | str) -> UUID:
    """Make the UUIDv7 of a cause at a moment; the moment is the time that the id carries."""
    stamp = max(0, int(moment.timestamp() * 1000)) & 0xFFFF_FFFF_FFFF
    words = "\n".join(part.hex if isinstance(part, UUID) else part for part in cause)
    rand = int.from_bytes(hashlib.sha256(words.encode()).digest()[:10])
    return UUID(int=stamp << 80 | 0x7 << 76 | (rand >> 68) << 64 | 0b10 << 62 | (rand & 0x3FFF_FFFF_FFFF_FFFF))
