"""What a request has to be before anybody looks at what it wants: its headers, its Host, where it comes from."""

import re
from collections.abc import Mapping

from starlette.types import Scope

from agent_factory.api.problems import Malformed
from agent_factory.api.settings import ServerSettings
from agent_factory.kit.errors import Kind, Problem

Headers = Mapping[bytes, bytes]
"""Headers by name; of those that came twice, the last."""

_SAFE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
_OF_OURSELVES = frozenset({b"same-origin", b"none"})
_HOST = re.compile(rb"([A-Za-z0-9._-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
"""A name or an address, and perhaps a port; whoever builds a link from it gets no more than that."""
_ONCE = (b"host", b"authorization", b"content-length", b"content-type", b"transfer-encoding", b"origin")


class HeadersTooLarge(Malformed):
    """More headers, or longer ones, than the server reads."""

    code = "headers_too_large"
    title = "The headers are too large"


class CrossOrigin(Problem):
    """A change that a page of another site asks for in its reader's name."""

    kind = Kind.FORBIDDEN
    code = "cross_origin_refused"
    title = "A page of another site may not do this"


class Edge:
    """The checks that every request passes, in the order of what they cost."""

    def __init__(self, settings: ServerSettings) -> None:
        """Keep what the operator chose."""
        self._most = settings.max_headers
        self._most_bytes = settings.max_header_bytes
        self._hosts = frozenset(h.encode() for h in settings.answers_to)

    def check(self, scope: Scope, headers: Headers) -> None:
        """Raise what is wrong with a request; a sound one passes."""
        self._check_size(scope)
        if len(headers) != len(scope["headers"]):
            _check_once(scope)
        if b"transfer-encoding" in headers:
            _check_chunks(headers)
        self._check_host(headers)
        if "\0" in scope["path"] or b"%00" in scope["query_string"]:
            raise Malformed("The address holds a NUL character.")
        if scope["method"] not in _SAFE:
            _check_origin(headers)

    def _check_size(self, scope: Scope) -> None:
        lines = scope["headers"]
        if len(lines) > self._most:
            raise HeadersTooLarge(f"A request has at most {self._most} headers.")
        if sum([len(name) + len(value) for name, value in lines]) > self._most_bytes:
            raise HeadersTooLarge(f"The headers of a request have at most {self._most_bytes} bytes.")

    def _check_host(self, headers: Headers) -> None:
        found = _HOST.fullmatch(headers.get(b"host", b""))
        if found is None or (self._hosts and found[1].lower() not in self._hosts):
            raise Malformed(
                "The server does not answer to this Host; its operator names the hosts in AF_SERVER__HOSTS."
            )


def _check_once(scope: Scope) -> None:
    """Refuse a second line of a header that means something only once: two machines could read different ones."""
    names = [name for name, _ in scope["headers"]]
    for name in _ONCE:
        if names.count(name) > 1:
            raise Malformed(f"A request has one {name.decode()} header.")


def _check_chunks(headers: Headers) -> None:
    """Refuse a body whose length two machines could read differently."""
    if b"content-length" in headers:
        raise Malformed("A request says how long it is in one way only: Content-Length or Transfer-Encoding.")
    if headers[b"transfer-encoding"].lower() != b"chunked":
        raise Malformed("A request has no Transfer-Encoding but chunked.")


def _check_origin(headers: Headers) -> None:
    """Refuse what a page of another site makes a browser send.

    A request with an `Authorization` header and no cookie is the page's own
    doing, for browsers add none by themselves; any other could be in the name
    of whoever looks at the page. Programs that are no browsers send neither of
    the two fields by which browsers tell.
    """
    if b"authorization" in headers and b"cookie" not in headers:
        return
    site = headers.get(b"sec-fetch-site")
    origin = headers.get(b"origin")
    if site is not None:
        foreign = site not in _OF_OURSELVES
    else:
        foreign = origin is not None and origin.lower().partition(b"://")[2] != headers[b"host"].lower()
    if foreign:
        raise CrossOrigin("Send the request from a page of this server, or with an Authorization header and no cookie.")
