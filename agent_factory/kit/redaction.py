"""Masks what is secret wherever text may leave: values that are known, and keys by the look of them (S175).

It stands on the lowest floor because logs have to mask as well, and they know
nothing of what is above them.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, cast
from urllib.parse import unquote, urlsplit

import pydantic

from agent_factory.kit.errors import FieldError, Problem
from agent_factory.kit.kept import Kept
from agent_factory.kit.spellings import MASK, Masking, Spellings, forms

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


def without(text: str, values: Iterable[str]) -> str:
    """Mask values in a text, in each of their forms."""
    return Spellings(form for value in values for form in forms(value)).mask(text)


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


class _Known:
    """The values of one organisation, and what is looked for because of them."""

    def __init__(self, seconds: float, always: Iterable[str]) -> None:
        self._values = Kept[str, list[str]](seconds, _MOST_VALUES)
        self._always = tuple(always)
        self._learned = 0
        self._made: tuple[tuple[int, int], Spellings] | None = None

    def __len__(self) -> int:
        return len(self._values)

    def learn(self, value: str) -> None:
        known = self._values.get(value)
        self._learned += known is None
        self._values.keep(value, forms(value) if known is None else known)

    def own(self) -> list[str]:
        return [form for found in self._values.values() for form in found]

    def spellings(self) -> Spellings:
        """Give what to look for now, made anew only after a value came or went."""
        state = (self._learned, len(self._values))
        if self._made is None or self._made[0] != state:
            self._made = state, Spellings((*self._always, *self.own()))
        return self._made[1]


class Redactor:
    """What one process knows to be secret: the operator's values always, an organisation's after their use.

    An organisation's values are masked in its own texts alone, so that nobody
    changes what others read by calling an ordinary word a secret. Logs belong
    to the operator: there, everything that is known is masked.
    """

    def __init__(self, always: Iterable[str] = (), *, seconds: float = _SECONDS) -> None:
        """Mask the values of `always` everywhere; forget those of organisations after `seconds` without use."""
        self._seconds = seconds
        self._operators = tuple(form for value in always for form in forms(value))
        self._always = Spellings(self._operators)
        self._of = Kept[str, _Known](seconds, _MOST_ORGANIZATIONS)

    def learn(self, organization: str, *values: str) -> None:
        """Note values that an organisation's run is about to use."""
        known = self._of.get(organization) or _Known(self._seconds, self._operators)
        for value in values:
            known.learn(value)
        self._of.keep(organization, known)

    def knows(self, organization: str) -> bool:
        """Tell whether there are values to mask in an organisation's texts."""
        return bool(self._known(organization))

    def _known(self, organization: str) -> Spellings:
        known = self._of.get(organization)
        return self._always if known is None else known.spellings()

    def text(self, text: str, organization: str = "") -> str:
        """Mask the values that are known for an organisation."""
        return self._known(organization).mask(text)

    def stream(self, organization: str = "") -> Masking | None:
        """Begin a text that arrives in pieces; `None` where nothing is known that could be in it."""
        known = self._known(organization)
        return known.stream() if known else None

    def document(self, value: Any, organization: str = "") -> Any:  # noqa: ANN401 - any JSON value
        """Mask the values that are known for an organisation in every text of a JSON value."""
        known = self._known(organization)
        return _masked(value, known) if known else value

    def cleanse(self, problem: Problem, organization: str = "") -> None:
        """Mask in an error's words, which may be cut, what is known for an organisation, and what looks like a key."""
        known = self._known(organization)

        def clean(text: str) -> str:
            return masked_keys(known.mask_cut(text) if known else text)

        problem.detail = clean(problem.detail)
        problem.args = (problem.detail,)
        problem.errors = [FieldError(clean(e.pointer), clean(e.detail)) for e in problem.errors]

    def logged(self, text: str) -> str:
        """Mask everything that is known, and what looks like a key."""
        text = self._always.mask(text)
        for known in self._of.values():
            text = known.spellings().mask(text)
        return masked_credentials(text)


def _masked(value: Any, known: Spellings) -> Any:  # noqa: ANN401 - any JSON value
    if isinstance(value, str):
        return known.mask(value)
    if isinstance(value, Mapping):
        members = cast("Mapping[str, Any]", value)
        return {known.mask(name): _masked(member, known) for name, member in members.items()}
    if isinstance(value, list | tuple):
        return [_masked(item, known) for item in cast("list[Any]", value)]
    return value
