"""Embeddings: texts in, vectors out, as floats or as base64 of little-endian 32-bit floats."""

import array
import base64
import sys
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec

from agent_factory.services.gateway.errors import BadRequest, Unsupported

MOST_TEXTS = 2048
"""Texts of one request, as in the protocol."""


class EmbeddingRequest(msgspec.Struct):
    """The body of `POST /v1/embeddings`; fields that are not here are ignored."""

    model: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    input: str | list[Any]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, msgspec.Meta(ge=1, le=100_000)] | None = None
    user: str | None = None

    def texts(self) -> list[str]:
        """Give the texts; token numbers are refused, for they mean something to one vendor's model only."""
        texts: list[Any] = [self.input] if isinstance(self.input, str) else self.input
        if not texts or len(texts) > MOST_TEXTS:
            raise BadRequest(f"Between 1 and {MOST_TEXTS} texts can be embedded at once.", "input", "wrong number")
        for index, text in enumerate(texts):
            at = "input" if isinstance(self.input, str) else f"input[{index}]"
            if isinstance(text, int | list):
                raise Unsupported("Send texts: token numbers differ from model to model.", at)
            if not isinstance(text, str) or not text:
                raise BadRequest("Each input is a text that is not empty.", at, "not a text")
        return texts


def embeddings(model: str, vectors: Sequence[Sequence[float]], tokens: int, encoding: str | None) -> bytes:
    """Write the vectors in the order of the texts."""
    as_text = encoding == "base64"
    data: list[dict[str, Any]] = [
        {"object": "embedding", "index": index, "embedding": _base64(vector) if as_text else list(vector)}
        for index, vector in enumerate(vectors)
    ]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return msgspec.json.encode({"object": "list", "data": data, "model": model, "usage": usage})


def _base64(vector: Sequence[float]) -> str:
    packed = array.array("f", vector)
    if sys.byteorder == "big":
        packed.byteswap()
    return base64.b64encode(packed.tobytes()).decode()
