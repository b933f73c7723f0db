"""How mail leaves."""

from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from agent_factory.kit.mailbox import is_address

_PORTS = {"smtp": 587, "smtps": 465}
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


class MailSettings(BaseModel):
    """A mail server, or the terminal without one; times in seconds.

    `url` is `smtp://user:password@host:port`, where STARTTLS is demanded, or
    `smtps://…`, which begins with TLS; certificates are verified, against
    `ca_file` if that is set. With `plain`, for servers on this machine only,
    nothing is encrypted. `sender` is the address in From. With `deliver` false
    this process leaves letters to others. It looks for letters every `poll`,
    and gives one up after `give_up`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    url: SecretStr | None = None
    sender: str = "agent-factory@localhost"
    ca_file: Path | None = None
    plain: bool = False
    timeout: float = Field(default=20.0, gt=0, le=300)
    deliver: bool = True
    poll: float = Field(default=1.0, gt=0, le=60)
    give_up: float = Field(default=86_400.0, gt=0)

    @field_validator("sender")
    @classmethod
    def _an_address(cls, value: str) -> str:
        if not is_address(value):
            raise ValueError("has to be a plain address, such as agents@example.com")
        return value

    @field_validator("url")
    @classmethod
    def _a_server(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            _ = Server.of(value)
        return value

    @model_validator(mode="after")
    def _plain_at_home_only(self) -> "MailSettings":
        if self.plain and self.url is not None and Server.of(self.url).host not in _LOOPBACK:
            raise ValueError("plain: mail may go unencrypted to a server on this machine only")
        return self


class Server:
    """What a URL says about a mail server."""

    def __init__(self, split: SplitResult) -> None:
        self.host = split.hostname or ""
        self.port = split.port or _PORTS[split.scheme]
        self.tls_first = split.scheme == "smtps"
        self.username = unquote(split.username) if split.username else None
        self.password = unquote(split.password) if split.password else None

    @classmethod
    def of(cls, url: SecretStr) -> "Server":
        """Read a URL; raises ValueError, without the URL in it, for one that is none."""
        wrong = ValueError("has to be smtp://user:password@host:port or smtps://…")
        try:
            split = urlsplit(url.get_secret_value())
            _ = split.port
        except ValueError:
            raise wrong from None
        if split.scheme not in _PORTS or not split.hostname or split.path not in ("", "/") or split.query:
            raise wrong
        return cls(split)
