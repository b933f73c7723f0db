"""Embeddings over OpenAI's wire, for the providers that have them."""

from collections.abc import Sequence

import msgspec

from agent_factory.core.model import Embeddings, ModelProtocolError
from agent_factory.kit.errors import Problem
from agent_factory.providers.wire.failures import failure
from agent_factory.providers.wire.provider import WireProvider, told

_SECONDS = 60.0
_MOST = 128_000_000
"""Bytes of one answer: 2,048 vectors of 3,072 numbers written out."""


class _Vector(msgspec.Struct):
    embedding: list[float]
    index: int = -1


class _Usage(msgspec.Struct):
    prompt_tokens: int = 0


class _Answer(msgspec.Struct):
    data: list[_Vector]
    model: str | None = None
    usage: _Usage | None = None


_decode = msgspec.json.Decoder(_Answer).decode


class EmbeddingProvider(WireProvider):
    """A provider over OpenAI's wire that embeds as well as it answers."""

    async def embed(self, model: str, texts: Sequence[str], dimensions: int | None = None) -> Embeddings:
        """Embed texts in one call."""
        body: dict[str, object] = {"model": model, "input": list(texts), "encoding_format": "float"}
        if dimensions is not None:
            body["dimensions"] = dimensions
        try:
            answer = await self._egress.request(
                "POST",
                self._base + "/embeddings",
                headers=self._headers,
                body=msgspec.json.encode(body),
                timeout=_SECONDS,
                max_bytes=_MOST,
            )
        except Problem as error:
            raise told(self.name, error) from error
        if answer.status != 200:  # noqa: PLR2004 - HTTP
            raise failure(self.name, answer.status, answer.headers, answer.body)
        return self._read(answer.body, model, len(texts))

    def _read(self, body: bytes, model: str, count: int) -> Embeddings:
        try:
            read = _decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise ModelProtocolError(f"{self.name} answered with embeddings that cannot be read.") from None
        rows = sorted(read.data, key=lambda row: row.index)
        if len(rows) != count or any(not row.embedding for row in rows):
            raise ModelProtocolError(f"{self.name} answered with {len(rows)} vectors for {count} texts.")
        tokens = read.usage.prompt_tokens if read.usage else 0
        return Embeddings(tuple(tuple(row.embedding) for row in rows), read.model or model, tokens)
