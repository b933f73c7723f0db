"""Credentials: keys by their known formats, private keys, tokens, and values that are called a secret (S58)."""

import math
import re
from collections import Counter

from agent_factory.core.agent import GuardrailUse, Strict
from agent_factory.kit.redaction import KEY_FORMATS
from agent_factory.runtime.guardrails.finder import Finder
from agent_factory.runtime.guardrails.rule import Rule, actions

_MOST_KEY = 16_384
"""Characters of a private key that never ends; RSA with 8,192 bits needs 6,400."""

_WORD_ENDS = re.compile(r"(?=[^A-Za-z0-9_=-])")
_TOKEN_ENDS = re.compile(r"(?=[^A-Za-z0-9_=.-])")
_VALUE_ENDS = re.compile(r"(?=[^A-Za-z0-9_.~!@#$%^&*+/=-])")

_NAMES = (
    r"api[_-]?key|apikey|access[_-]?key|secret[_-]?key|account[_-]?key|private[_-]?key|encryption[_-]?key|"
    r"client[_-]?secret|secret|auth[_-]?token|access[_-]?token|refresh[_-]?token|token|passwd|password|passphrase|pwd|"
    r"credentials?"
)


class Config(Strict):
    """Nothing to set."""


def compile_secrets(use: GuardrailUse, _config: Config) -> Rule:
    """Compile; by default secrets are redacted, and a tool call that carries one is blocked."""
    seats = actions(use, {"input": "redact", "tool_call": "block", "tool_result": "redact", "output": "redact"})
    return Rule(name="secrets", actions=seats, finders=dict.fromkeys(seats, _FINDERS))


def _random(value: str) -> int:
    """Tell a random value from a word, a placeholder or a path: letters and digits, and much surprise a character."""
    if not any(c.isdigit() for c in value) or not any(c.isalpha() for c in value):
        return 0
    counts = Counter(value)
    entropy = -sum(n / len(value) * math.log2(n / len(value)) for n in counts.values())
    return len(value) if entropy >= min(3.0, math.log2(len(value)) - 0.75) else 0


_FINDERS = (
    Finder(
        label="private key",
        pattern=re.compile(r"-----BEGIN [A-Z0-9 ]{0,30}PRIVATE KEY(?: BLOCK)?-----"),
        longest=70,
        hint=re.compile("-----BEGIN "),
        until=re.compile(r"-----END [A-Z0-9 ]{0,30}KEY(?: BLOCK)?-----"),
        most=_MOST_KEY,
    ),
    Finder(
        label="key",
        pattern=re.compile(rf"(?<![A-Za-z0-9])(?:{'|'.join(KEY_FORMATS)})"),
        longest=80,
        hint=re.compile("[_:.A-Z-]"),
        until=_WORD_ENDS,
    ),
    Finder(
        label="token",
        pattern=re.compile(r"(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{8,500}\.(?:eyJ|[A-Za-z0-9_-]{8})"),
        longest=520,
        hint=re.compile("eyJ"),
        until=_TOKEN_ENDS,
    ),
    Finder(
        label="token",
        pattern=re.compile(r"(?i:\b(?:bearer|basic)) {1,3}(?P<span>[A-Za-z0-9_.~+/=-]{16,200}+)"),
        before=12,
        longest=201,
        hint=re.compile("(?i:b(?:earer|asic) )"),
        check=_random,
        until=_TOKEN_ENDS,
    ),
    Finder(
        label="password",
        pattern=re.compile(
            r"(?<![A-Za-z0-9])[a-z][a-z0-9+.-]{1,20}://[^\s/:@\"'<>]{0,100}+:(?P<span>[^\s/@\"'<>\x80-\U0010ffff]{3,200}+)@"
        ),
        before=130,
        longest=202,
        hint=re.compile("://"),
    ),
    Finder(
        label="secret",
        pattern=re.compile(
            rf"(?i:(?:{_NAMES}))[\"'`]?[ \t]{{0,3}}(?:=>|:=|[=:])[ \t]{{0,3}}[\"'`]?"
            r"(?P<span>[A-Za-z0-9_.~!@#$%^&*+/=-]{8,200}+)"
        ),
        before=40,
        longest=201,
        hint=re.compile("[=:]"),
        check=_random,
        until=_VALUE_ENDS,
    ),
)
