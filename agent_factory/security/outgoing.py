"""What tools need for requests of their own: the guarded client, hosts by name, secrets bound to a host."""

import base64
import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Self

import msgspec
import orjson
import pydantic
import yarl
from pydantic import Field

from agent_factory.core.tool import ToolContext, ToolDenied
from agent_factory.kit.errors import FieldError, Invalid
from agent_factory.kit.redaction import without
from agent_factory.security.egress import Answer, Egress

_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_FRAMING = frozenset(
    {"host", "connection", "content-length", "transfer-encoding", "upgrade", "accept-encoding", "te", "trailer"}
)
"""Headers that frame a message; who sets them can hide a second request in the first."""


def _sendable(headers: dict[str, str]) -> dict[str, str]:
    for name, value in headers.items():
        if name.lower() in _FRAMING:
            raise ValueError(f"may not hold {name[:100]}, which frames the request or leads it elsewhere")
        if not _HEADER.fullmatch(name) or not value.isprintable():
            raise ValueError(f"{name[:100]!r} is no header that can be sent")
    return headers


FixedHeaders = Annotated[dict[str, str], Field(max_length=50), pydantic.AfterValidator(_sendable)]
"""Headers that an author sets for every request.

`Host` is none of them: behind a server that stands for many, it leads to
another one than the address says, and a secret would go there with it.
"""

_TOLD = ("content-type", "location", "retry-after", "etag", "link")
"""Response headers that a model may need."""


class BoundSecret(pydantic.BaseModel):
    """A secret that goes along as a header, or in the query, to one host and to no other."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    secret: str = Field(min_length=1, max_length=100, description="Name of the stored secret.")
    host: str = Field(min_length=1, max_length=255, description="The exact host; with :port where it is not the usual.")
    header: str = Field(default="Authorization", pattern=r"^[A-Za-z0-9-]{1,100}$")
    query: str | None = Field(
        default=None, min_length=1, max_length=100, description="Name in the query, instead of the header."
    )
    format: str | None = Field(
        default=None,
        max_length=200,
        description="The value: {} stands for the secret, {base64} for its Base64; by default 'Bearer {}' in a "
        "header, and {} in the query.",
    )

    @pydantic.model_validator(mode="after")
    def _names_the_secret(self) -> Self:
        if self.format is not None and "{}" not in self.format and "{base64}" not in self.format:
            raise ValueError("format has to hold {} or {base64}, where the secret goes")
        if self.format is not None and not self.format.isprintable():
            raise ValueError("format may hold no line break or other control character")
        if self.header.lower() in _FRAMING:
            raise ValueError(f"header may not be {self.header}, which frames the request")
        return self

    def written(self, value: str) -> str:
        """Write the value as it is sent."""
        form = self.format or ("{}" if self.query else "Bearer {}")
        if "{base64}" in form:
            return form.replace("{base64}", base64.b64encode(value.encode()).decode())
        return form.replace("{}", value)


class Credentials(msgspec.Struct, frozen=True):
    """What goes along with one request and is shown to nobody; `values` are the texts to mask in its answer."""

    headers: dict[str, str] = {}
    params: dict[str, str] = {}
    values: tuple[str, ...] = ()


def guarded(context: ToolContext, tool: str) -> Egress:
    """Give the guarded client of a context, open also for the operator's private hosts."""
    egress: Egress = context.need("egress", tool)
    hosts: tuple[str, ...] = context.resources.get("private_hosts") or ()
    return egress.trusting(*hosts) if hosts else egress


def host_of(url: str, *, at: str = "/url") -> str:
    """Give the `host` of an http URL, or `host:port` where the port is not the usual; else `Invalid`.

    The URL is read by the parser of the guarded client, so that the host which
    is checked is the host which is dialled.
    """
    try:
        parsed = yarl.URL(url)
        host, port, usual = parsed.raw_host, parsed.port, parsed.is_default_port()
    except ValueError:
        host = port = None
        usual, parsed = False, yarl.URL()
    if parsed.scheme not in ("http", "https") or not host:
        raise Invalid("This is no http URL.", errors=[FieldError(at, "must begin with https:// or http://")])
    name = f"[{host}]" if ":" in host else host.lower()
    return name if usual else f"{name}:{port}"


def allows(patterns: Iterable[str], host: str) -> bool:
    """Tell whether a pattern names the host: `*`, `host`, `host:port` or `*.domain`."""
    return any(
        pattern in ("*", host) or (pattern.startswith("*.") and host.endswith(pattern[1:]))
        for pattern in (p.lower() for p in patterns)
    )


async def credentials(secrets: Iterable[BoundSecret], url: str, context: ToolContext, tool: str) -> Credentials:
    """Give the credentials that are bound to this URL's host, for a request that is about to leave.

    A secret never travels in the clear: over http it is `ToolDenied`, unless
    the operator opened that very host. One whose owner bound it to other hosts
    is `SecretHostMismatch`, an unknown one `NotFound`.
    """
    host = host_of(url)
    target = yarl.URL(url)
    private: tuple[str, ...] = context.resources.get("private_hosts") or ()
    safe = target.scheme == "https" or f"{target.host}:{target.port}" in private
    headers: dict[str, str] = {}
    params: dict[str, str] = {}
    values: list[str] = []
    for bound in secrets:
        if bound.host.lower() != host:
            continue
        if not safe:
            raise ToolDenied(f"The secret for {host} is sent over https only.")
        value: str = await context.need("secrets", tool)(bound.secret, host)
        written = bound.written(value)
        if bound.query is not None:
            params[bound.query] = written
        else:
            headers[bound.header] = written
        values += [written, value]
    return Credentials(headers, params, tuple(values))


def merged_headers(fixed: Mapping[str, str], asked: Mapping[str, str], secret: Mapping[str, str]) -> dict[str, str]:
    """Join the author's, the model's and the secret headers; the model may not set one of the others.

    A header that is malformed, or that frames the message, is `Invalid`.
    """
    taken = {h.lower() for h in (*fixed, *secret)} | _FRAMING
    faults = [
        FieldError(f"/headers/{name[:100]}", "may not be set" if name.lower() in taken else "is no header")
        for name, value in asked.items()
        if name.lower() in taken or not _HEADER.fullmatch(name) or re.search(r"[\r\n\0]", value)
    ]
    if faults:
        raise Invalid("These headers cannot be sent.", errors=faults)
    return {**fixed, **asked, **secret}


def readable(answer: Answer, values: Iterable[str]) -> dict[str, object]:
    """Give an answer as a model reads it: status, some headers, the body as JSON or text.

    `values` are secrets, which are masked where the other server echoes them.
    """
    out: dict[str, object] = {"status": answer.status}
    for name in _TOLD:
        if name in answer.headers:
            out[name.replace("-", "_")] = without(answer.headers[name], values)
    if not answer.body:
        return out
    kind = answer.headers.get("content-type", "")
    if b"\0" in answer.body[:10_000]:
        out["body"] = f"({len(answer.body)} bytes that are no text)"
        return out
    text = without(answer.text, values)
    out["body"] = msgspec.Raw(text.encode()) if "json" in kind and _is_json(text) else text
    return out


def _is_json(text: str) -> bool:
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return True
