"""Prompt injection: words that try to take over, hidden text, and pictures that carry data away (S58)."""

import asyncio
import base64
import binascii
import re
import unicodedata
from urllib.parse import urlsplit

import msgspec
from pydantic import Field

from agent_factory.core.agent import GuardrailUse, Strict
from agent_factory.core.guardrail import Action, Verdict
from agent_factory.runtime.guardrails import documents
from agent_factory.runtime.guardrails.finder import Finder
from agent_factory.runtime.guardrails.rule import Check, Judge, Rule, Seat, actions


class Config(Strict):
    """`threshold` is the score from which the action is taken; pictures from `allow_hosts` may be shown."""

    threshold: float = Field(default=1.0, gt=0, le=10, allow_inf_nan=False)
    allow_hosts: tuple[str, ...] = Field(default=(), max_length=100)


class _Marker(msgspec.Struct, frozen=True):
    """Something that an injection says; `words` are what it cannot be said without, in lower case."""

    label: str
    weight: float
    words: tuple[str, ...]
    pattern: re.Pattern[str]

    def within(self, text: str, lowered: str) -> bool:
        """Tell whether a text has it; the words spare most texts the search."""
        return any(word in lowered for word in self.words) and self.pattern.search(text) is not None


def _marker(label: str, weight: float, words: str, *patterns: str) -> _Marker:
    return _Marker(label, weight, tuple(words.split()), re.compile("|".join(patterns), re.IGNORECASE))


_GAP = r"\W{1,3}"
_FEW = r"(?:\w{1,20}\W{1,3}){0,4}?"

_WORDS = (
    _marker(
        "override of instructions",
        1.0,
        "ignor disregard forget override bypass skip vergiss missachte oublie olvida esqueça",
        rf"\b(?:ignore|disregard|forget|override|bypass|skip){_GAP}{_FEW}"
        rf"(?:previous|prior|above|earlier|preceding|existing|original|system|your|all){_GAP}{_FEW}"
        r"(?:instructions?|prompts?|rules|directions|directives|guidelines|guardrails|programming)\b",
        rf"\b(?:ignore|disregard|forget){_GAP}(?:everything|all|anything){_GAP}{_FEW}(?:above|before|prior|previously)\b",
        rf"\b(?:ignoriere|vergiss|missachte){_GAP}{_FEW}(?:anweisungen|instruktionen|regeln|vorgaben)\b",
        rf"\b(?:ignore[zr]?|oublie[zr]?){_GAP}{_FEW}(?:instructions|consignes|règles){_GAP}{_FEW}(?:précédentes|antérieures)",
        rf"\b(?:ignora|olvida|ignore|esqueça){_GAP}{_FEW}(?:instrucciones|instruções|istruzioni|reglas)\b",
    ),
    _marker(
        "new instructions",
        0.6,
        "instruction task objective prompt important",
        rf"\b(?:your|the){_GAP}(?:new|real|actual|updated){_GAP}(?:instructions|task|objective|system{_GAP}prompt)"
        rf"{_GAP}(?:is|are|follow)",
        rf"\bnew{_GAP}(?:system{_GAP})?instructions\s{{0,3}}:",
        rf"\bimportant{_GAP}(?:message|instructions?|notice){_GAP}(?:to|for){_GAP}(?:the{_GAP})?(?:ai|assistant|agent|model|llm)\b",
    ),
    _marker(
        "role play against the rules",
        0.6,
        "you act behave respond pretend anything mode have",
        rf"\byou{_GAP}are{_GAP}(?:now|no longer){_GAP}{_FEW}"
        rf"(?:dan|unrestricted|unfiltered|jailbroken|evil|bound|limited|developer{_GAP}mode)\b",
        rf"\b(?:act|behave|respond|pretend){_GAP}{_FEW}"
        rf"(?:unrestricted|unfiltered|uncensored|jailbroken|without{_GAP}{_FEW}(?:restrictions|rules|limits|filters|guidelines))\b",
        rf"\b(?:do{_GAP}anything{_GAP}now|(?:developer|god|dan|jailbreak){_GAP}mode{_GAP}(?:enabled|on|activated))\b",
        rf"\bhave{_GAP}no{_GAP}{_FEW}(?:restrictions|rules|guidelines|ethics|filters)\b",
    ),
    _marker(
        "request for the hidden prompt",
        0.6,
        "prompt instruction message above",
        rf"\b(?:reveal|print|show|repeat|output|display|leak|tell{_GAP}me){_GAP}{_FEW}"
        rf"(?:system|hidden|initial|original|secret){_GAP}(?:prompt|instructions?|message)\b",
        rf"\brepeat{_GAP}{_FEW}(?:words|text|everything){_GAP}above\b",
    ),
    _marker(
        "forged turn",
        0.6,
        "<| inst sys assistant # human system:",
        r"<\|(?:im_start|im_end|system|user|assistant|endoftext|eot_id|start_header_id)\|>",
        r"\[/?INST\]|<</?SYS>>|</?(?:system|assistant)>|\[system\]\(#",
        r"(?:^|\n)[ \t]{0,3}#{2,3}[ \t]?(?:system|instruction)s?[ \t]?:",
        r"\n\n(?:human|assistant|system):[ ]",
    ),
    _marker(
        "call for secrecy",
        0.5,
        "not don never without",
        rf"\b(?:do{_GAP}not|don.t|never|without){_GAP}(?:tell|telling|inform|informing|mention|mentioning|alert|alerting|notify|notifying)"
        rf"{_GAP}{_FEW}(?:user|human|anyone|person|operator|this)\b",
    ),
    _marker(
        "call to send data away",
        0.6,
        "send forward post upload email exfiltrate transmit leak",
        rf"\b(?:send|forward|post|upload|email|exfiltrate|transmit|leak){_GAP}{_FEW}"
        rf"(?:api{_GAP}keys?|passwords?|secrets?|credentials?|tokens?|conversation|chat{_GAP}history|private{_GAP}keys?){_GAP}{_FEW}to\b",
    ),
)

_PICTURE_WITH_DATA = _marker(
    "picture that carries data",
    0.6,
    "![ <img",
    r"!\[[^\]\n]{0,200}\]\(\s{0,3}https?://[^\s)]{1,300}\?[^\s)]{0,300}",
    r"<img\b[^>]{0,200}?\bsrc\s{0,3}=\s{0,3}[\"']?https?://[^\s>\"']{1,300}\?",
)

_TAGS = r"\U000e0000-\U000e007f"
_HIDDEN = re.compile(rf"(?<![\U0001f3f4{_TAGS}])[{_TAGS}]|(?<=\U0001f3f4)[{_TAGS}]{{8}}")
"""Tag characters show nothing and read as ASCII to a model; a flag of a region has up to 7 of them."""

_INVISIBLE = re.compile("[\u200b\u200c\u200d\u2060-\u2064\ufeff\u00ad\u180e]")
_INVISIBLE_RUN = re.compile("[\u200b\u200c\u2060-\u2064\ufeff\u00ad\u180e]{4}")
_BIDI = re.compile("[\u202a-\u202e\u2066-\u2069]")
_TAG_RUN = re.compile(f"[{_TAGS}]{{1,2000}}")
_BASE64 = re.compile(r"(?<![A-Za-z0-9+/_-])[A-Za-z0-9+/_-]{24,4000}={0,2}")

_LONG = 100_000
"""Characters from which a search may take long enough to leave the event loop to others."""

_HIDDEN_WEIGHT = 1.0
_RUN_WEIGHT = 0.5
_BIDI_WEIGHT = 0.4
_MOST_DECODED = 50


def compile_injection(use: GuardrailUse, config: Config) -> Rule:
    """Compile; by default input that scores is blocked, a tool's result and the output lose what was found."""
    seats = actions(use, {"input": "block", "tool_result": "redact", "output": "redact"})
    checks: dict[Seat, Check] = {seat: _scorer(config, action) for seat, action in seats.items() if seat != "output"}
    finders: dict[Seat, tuple[Finder, ...]] = {}
    if "output" in seats:
        finders["output"] = (*_OUTPUT, *_pictures(config))
    return Rule(name="injection", actions=seats, finders=finders, checks=checks)


def _scorer(config: Config, action: Action) -> Check:
    async def check(_tool: str, text: str, _judge: Judge | None) -> Verdict:
        document = documents.read(text)
        words = text if document is None else documents.words(document)
        found = score(words) if len(words) <= _LONG else await asyncio.to_thread(score, words)
        if sum(found.values()) < config.threshold:
            return Verdict("allow", text)
        if action == "redact":
            text = _without(text) if document is None else documents.write(documents.rewrite(document, _without))
        return Verdict(action, text, f"injection ({', '.join(found)})")

    return check


def score(text: str) -> dict[str, float]:
    """Weigh what a text has of each marker, by label; 1.0 in all is what is acted on by default."""
    found: dict[str, float] = {}
    readings = [(reading, reading.lower()) for reading in {text, _plain(text)}]
    for marker in (*_WORDS, _PICTURE_WITH_DATA):
        if any(marker.within(reading, lowered) for reading, lowered in readings):
            found[marker.label] = marker.weight
    if _HIDDEN.search(text):
        found["hidden text"] = _HIDDEN_WEIGHT
    elif _INVISIBLE_RUN.search(text):
        found["hidden text"] = _RUN_WEIGHT
    if _BIDI.search(text):
        found["reversed text"] = _BIDI_WEIGHT
    if any(_speaks(decoded) for decoded in _decoded(text)):
        found["encoded instructions"] = 1.0
    return found


def _plain(text: str) -> str:
    """Write a text as a model reads it: without invisible characters, full-width letters made plain."""
    return text if text.isascii() else unicodedata.normalize("NFKC", _INVISIBLE.sub("", text))


def _decoded(text: str) -> list[str]:
    """Read what hides in tag characters and in base64 that decodes to words."""
    out = ["".join(chr(ord(c) - 0xE0000) for c in run) for run in _TAG_RUN.findall(text)[:_MOST_DECODED]]
    for run in _BASE64.findall(text)[:_MOST_DECODED]:
        words = _base64_words(run)
        if words:
            out.append(words)
    return out


def _base64_words(run: str) -> str:
    body = run.rstrip("=").replace("-", "+").replace("_", "/")
    body = body[: len(body) - (len(body) % 4 == 1)]
    try:
        return base64.b64decode(body + "=" * (-len(body) % 4)).decode()
    except (binascii.Error, UnicodeDecodeError):
        return ""


def _without(text: str) -> str:
    """Take out every marker; where hiding characters broke words up, they go first."""
    plain = _plain(text)
    if plain is not text and score(plain).keys() - {"hidden text", "reversed text"}:
        text = plain
    text = _TAG_RUN.sub("", _BIDI.sub("", text))
    text = _BASE64.sub(lambda m: "[encoded text removed]" if _speaks(_base64_words(m[0])) else m[0], text)
    for marker in (*_WORDS, _PICTURE_WITH_DATA):
        text = marker.pattern.sub(f"[{marker.label} removed]", text)
    return text


def _speaks(words: str) -> bool:
    lowered = words.lower()
    return any(marker.within(words, lowered) for marker in _WORDS)


_ADDRESS = r"(?P<span>(?i:https?:)?//[!#-&*-;=?-~]{1,300}+)"

_PICTURES = (
    r"!\[[^\]\n]{0,200}+\][ ]?(?:\([ \t\n]{0,3}<?|\[[^\]\n]{0,100}+\]:[ \t]{0,3})",
    r"(?:^|\n)[ ]{0,3}\[[^\]\n]{1,100}+\]:[ \t]{0,3}<?",
    r"(?i:<(?:img|image|video|audio|iframe|embed|object|link)\b[^>]{0,200}?\b(?:src|poster|data|href)\s{0,3}=\s{0,3}[\"']?)",
)
"""What comes before an address that a browser loads unasked: pictures, their references, elements of HTML."""

_OUTPUT = (
    Finder(
        label="hidden text",
        pattern=_HIDDEN,
        longest=9,
        hint=re.compile(f"[{_TAGS}]"),
        until=re.compile(f"(?=[^{_TAGS}])"),
    ),
)


def _pictures(config: Config) -> tuple[Finder, ...]:
    """Find the addresses of pictures on other hosts, which a browser would load unasked."""
    allowed = frozenset(host.lower() for host in config.allow_hosts)

    def check(candidate: str) -> int:
        try:
            host = (urlsplit(candidate).hostname or "").lower()
        except ValueError:
            host = ""
        return 0 if host in allowed else len(candidate)

    return tuple(
        Finder(
            label="picture link",
            pattern=re.compile(where + _ADDRESS),
            before=320,
            longest=311,
            hint=re.compile("//"),
            check=check,
            until=re.compile(r"(?=[\s)>\"'])"),
        )
        for where in _PICTURES
    )
