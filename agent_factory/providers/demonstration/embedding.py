"""Vectors without a model: each word is hashed to a place, so equal texts are equal and similar ones are near."""

import hashlib
import math
import re

_WORD = re.compile(r"\w+")
DIMENSIONS = 256


def hashed(text: str, dimensions: int) -> tuple[float, ...]:
    """Give a vector of length 1, the same for the same text on every machine."""
    vector = [0.0] * dimensions
    words = _WORD.findall(text.lower()) or [text]
    for word in words:
        # Signed places keep two unlike texts at right angles on average, as learnt vectors are.
        place = int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "big")
        vector[(place >> 1) % dimensions] += 1.0 if place & 1 else -1.0
    length = math.sqrt(sum(v * v for v in vector))
    if length == 0.0:
        vector[0], length = 1.0, 1.0
    return tuple(v / length for v in vector)
