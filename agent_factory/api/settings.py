"""How the HTTP server listens and what it takes."""

from ipaddress import ip_address, ip_network
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")


def _network(text: str) -> str:
    return str(ip_network(text))


def _host(text: str) -> str:
    if not text or "/" in text or (":" in text and not text.startswith("[")):
        raise ValueError("a host is a name or an address, without scheme and port; IPv6 in brackets; or * for any")
    return text.lower()


class ServerSettings(BaseModel):
    """Where the server listens, and its limits for one request.

    `max_body` and `max_header_bytes` are in bytes. Times are in seconds: the
    headers of a request are there within `header_timeout`, if granian serves
    it by way of `up`; it is answered within `request_timeout`, though a stream
    may last longer as long as its reader takes each piece within
    `stream_timeout`; a body has to be whole within `body_timeout`. `hosts` are
    the names that the server answers to: without any, those of the loopback
    when it listens there, else all. `proxies` are the networks of the machines
    in front that are believed about a client's address, by the one header that
    they write, `proxy_header`. `hsts` is how long browsers keep to https, for
    a server behind one that speaks it. At most `max_in_flight`
    requests are worked on at a time, and new ones are sent away while the
    process is late by `max_lag` all the time.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = "127.0.0.1"
    port: int = Field(default=8080, ge=0, le=65_535)
    workers: int = Field(default=1, ge=1, le=256)
    hosts: tuple[Annotated[str, AfterValidator(_host)], ...] = ()
    proxies: tuple[Annotated[str, AfterValidator(_network)], ...] = ()
    proxy_header: Literal["x-forwarded-for", "forwarded"] = "x-forwarded-for"
    max_headers: int = Field(default=100, ge=10, le=10_000)
    max_header_bytes: int = Field(default=32_768, ge=1024)
    max_body: int = Field(default=1_048_576, ge=1024)
    header_timeout: float = Field(default=10.0, ge=0.1, le=3600)
    body_timeout: float = Field(default=30.0, gt=0)
    request_timeout: float = Field(default=600.0, gt=0)
    stream_timeout: float = Field(default=60.0, gt=0)
    max_in_flight: int = Field(default=2000, ge=1)
    max_lag: float = Field(default=1.0, gt=0)
    hsts: int = Field(default=0, ge=0)

    @property
    def answers_to(self) -> frozenset[str]:
        """The names that a request may be for; none if any."""
        if self.hosts:
            return frozenset() if "*" in self.hosts else frozenset(self.hosts)
        return frozenset(_LOOPBACK_NAMES) if _is_loopback(self.host) else frozenset()


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
