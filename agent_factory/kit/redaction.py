"""Masks what is secret wherever text may leave: values that are known, and keys by the look of them (S175).

It stands on the lowest floor because logs have to mask as well, and they know
nothing of what is above them.
"""

import base64
import html
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, cast
from urllib.parse import quote, quote_plus, unquote, urlsplit

import msgspec
import pydantic

from agent_factory.kit.errors import FieldError, Problem
from agent_factory.kit.kept import Kept

MASK = "[redacted]"
SHORTEST = 6
"""Characters of a value that is masked; a shorter one would blank out ordinary words."""

_SHORTEST_KEY = 8
"""Characters of the shortest text that could hold what the patterns below look for."""

_SECONDS = 3600.0
_MOST_VALUES = 500
_MOST_ORGANIZATIONS = 1000

KEY_FORMATS = (
    r"A(?:KIA|SIA|BIA|CCA)[A-Z2-7]{16}(?![A-Za-z0-9])",  # AWS
    r"gh[pousr]_[A-Za-z0-9]{36}",  # GitHub
    r"github_pat_[A-Za-z0-9_]{22}",
    r"sk-[A-Za-z0-9_-]{20}",  # OpenAI, Anthropic and those who copied them
    r"[srp]k_(?:live|test)_[A-Za-z0-9]{10}",  # Stripe
    r"whsec_[A-Za-z0-9+/]{24}",
    r"xox[abeoprs]-[A-Za-z0-9-]{10}",  # Slack
    r"xapp-[0-9]-[A-Za-z0-9-]{10}",
    r"AIza[A-Za-z0-9_-]{35}",  # Google
    r"GOCSPX-[A-Za-z0-9_-]{20}",
    r"glpat-[A-Za-z0-9_-]{20}",  # GitLab
    r"npm_[A-Za-z0-9]{36}",
    r"pypi-[A-Za-z0-9_-]{50}",
    r"hf_[A-Za-z0-9]{30}",  # Hugging Face
    r"gsk_[A-Za-z0-9]{40}",  # Groq
    r"r8_[A-Za-z0-9]{37}",  # Replicate
    r"SG\.[A-Za-z0-9_-]{16,32}\.[A-Za-z0-9_-]{16}",  # SendGrid
    r"key-[0-9a-f]{32}",  # Mailgun
    r"dop_v1_[0-9a-f]{64}",  # DigitalOcean
    r"dapi[0-9a-f]{32}",  # Databricks
    r"shp(?:at|ca|pa|ss)_[0-9a-fA-F]{32}",  # Shopify
    r"lin_api_[A-Za-z0-9]{32}",  # Linear
    r"dckr_pat_[A-Za-z0-9_-]{20}",  # Docker
    r"hv[sb]\.[A-Za-z0-9_-]{24}",  # Vault
    r"[0-9]{8,10}:AA[A-Za-z0-9_-]{33}",  # Telegram
    r"af_[A-Za-z0-9]{12}_[A-Za-z0-9_-]{40}",  # ours
)
"""How the beginnings of vendors' keys look."""

_KEY = re.compile(rf"(?<![A-Za-z0-9])(?:{'|'.join(KEY_FORMATS)})[A-Za-z0-9_=-]*")
_PRIVATE_KEY = re.compile(
    r"-----BEGIN [A-Z0-9 ]{0,30}PRIVATE KEY(?: BLOCK)?-----.{0,16384}?"
    r"(?:-----END [A-Z0-9 ]{0,30}KEY(?: BLOCK)?-----|\Z)",
    re.DOTALL,
)
_URL_PASSWORD = re.compile(r"(?<=://)[^/\s:@\"'<>]{0,200}:[^/\s@\"'<>]{1,300}(?=@)")
_CREDENTIALS = re.compile(
    r"\b(?:Bearer|Basic) +[A-Za-z0-9._~+/=-]{8,}|\bsk-[A-Za-z0-9_-]{16,}|\bhf_[A-Za-z0-9]{16,}", re.IGNORECASE
)


def masked_keys(text: str) -> str:
    """Mask what looks like a key, a private key, or the password of a URL."""
    if len(text) < _SHORTEST_KEY:
        return text
    if "-----BEGIN " in text:
        text = _PRIVATE_KEY.sub(MASK, text)
    if "://" in text:
        text = _URL_PASSWORD.sub(MASK, text)
    return _KEY.sub(MASK, text)


def masked_credentials(text: str) -> str:
    """Mask what `masked_keys` does, and what may be one: for logs, where a word too many does no harm."""
    return _CREDENTIALS.sub(MASK, masked_keys(text))


def forms(value: str) -> list[str]:
    """Give the ways in which a value may turn up again: as it is, and as URLs, JSON, HTML and Base64 have it.

    The longest come first, so that no part of one is left when another is masked.
    """
    if len(value) < SHORTEST:
        return []
    raw = value.encode()
    found = {value, quote(value, safe=""), quote(value), quote_plus(value), html.escape(value)}
    found.add(msgspec.json.encode(value).decode()[1:-1])
    for written in (base64.b64encode(raw), base64.urlsafe_b64encode(raw)):
        found |= {written.decode(), written.decode().rstrip("=")}
    return sorted((form for form in found if len(form) >= SHORTEST), key=len, reverse=True)


def without(text: str, values: Iterable[str]) -> str:
    """Mask values in a text, in each of their forms."""
    for value in values:
        for form in forms(value):
            text = text.replace(form, MASK)
    return text


def secret_values(settings: object) -> Iterator[str]:
    """List what a group of settings keeps secret: every `SecretStr` in it, and the passwords of its URLs."""
    match settings:
        case pydantic.SecretStr():
            value = settings.get_secret_value()
            yield value
            yield from secret_values(value)
        case pydantic.BaseModel():
            for name in type(settings).model_fields:
                yield from secret_values(getattr(settings, name))
        case str():
            password = _password(settings)
            if password:
                yield password
        case Mapping():
            for each in cast("Mapping[object, object]", settings).values():
                yield from secret_values(each)
        case list() | tuple():
            for each in cast("list[object]", settings):
                yield from secret_values(each)
        case _:
            pass


def _password(text: str) -> str:
    if "://" not in text or "@" not in text:
        return ""
    try:
        return unquote(urlsplit(text).password or "")
    except ValueError:
        return ""


class Redactor:
    """What one process knows to be secret: the operator's values always, an organisation's after their use.

    An organisation's values are masked in its own texts alone, so that nobody
    changes what others read by calling an ordinary word a secret. Logs belong
    to the operator: there, everything that is known is masked.
    """

    def __init__(self, always: Iterable[str] = (), *, seconds: float = _SECONDS) -> None:
        """Mask the values of `always` everywhere; forget those of organisations after `seconds` without use."""
        self._seconds = seconds
        self._always = [form for value in always for form in forms(value)]
        self._of = Kept[str, Kept[str, list[str]]](seconds, _MOST_ORGANIZATIONS)

    def learn(self, organization: str, *values: str) -> None:
        """Note values that an organisation's run is about to use."""
        known = self._of.get(organization) or Kept[str, list[str]](self._seconds, _MOST_VALUES)
        for value in values:
            known.keep(value, forms(value))
        self._of.keep(organization, known)

    def knows(self, organization: str) -> bool:
        """Tell whether there are values to mask in an organisation's texts."""
        return bool(self._always) or bool(self._of.get(organization))

    def text(self, text: str, organization: str = "") -> str:
        """Mask the values that are known for an organisation."""
        for form in self._always:
            text = text.replace(form, MASK)
        for found in (self._of.get(organization) or Kept[str, list[str]](0, 0)).values():
            for form in found:
                text = text.replace(form, MASK)
        return text

    def document(self, value: Any, organization: str = "") -> Any:  # noqa: ANN401 - any JSON value
        """Mask the values that are known for an organisation in every text of a JSON value."""
        if not self.knows(organization):
            return value
        if isinstance(value, str):
            return self.text(value, organization)
        if isinstance(value, Mapping):
            members = cast("Mapping[str, Any]", value)
            return {self.text(k, organization): self.document(v, organization) for k, v in members.items()}
        if isinstance(value, list | tuple):
            return [self.document(item, organization) for item in cast("list[Any]", value)]
        return value

    def cleanse(self, problem: Problem, organization: str = "") -> None:
        """Mask in an error's words what is known for an organisation, and what looks like a key."""

        def clean(text: str) -> str:
            return masked_keys(self.text(text, organization))

        problem.detail = clean(problem.detail)
        problem.args = (problem.detail,)
        problem.errors = [FieldError(clean(e.pointer), clean(e.detail)) for e in problem.errors]

    def logged(self, text: str) -> str:
        """Mask everything that is known, and what looks like a key."""
        text = masked_credentials(self.text(text))
        for known in self._of.values():
            for found in known.values():
                for form in found:
                    text = text.replace(form, MASK)
        return text
