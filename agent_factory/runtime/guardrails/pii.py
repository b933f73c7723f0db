"""Personal data: addresses, numbers of phones, cards and accounts (S58)."""

import ipaddress
import re
from typing import Literal

from pydantic import Field, field_validator

from agent_factory.core.agent import GuardrailUse, Strict
from agent_factory.runtime.guardrails.finder import Finder
from agent_factory.runtime.guardrails.rule import Rule, actions

Kind = Literal["email", "phone", "card", "iban", "ssn", "ip"]

_DIGIT = re.compile("[0-9]")

_DIGITS = frozenset("0123456789")
_NO_DIGIT = re.compile("[^0-9]+")
_DOUBLED = str.maketrans("0123456789", "0246813579")

_IBAN_LENGTHS = {
    code: int(length)
    for code, length in re.findall(
        "([A-Z]{2})([0-9]{2})",
        "AD24AE23AL28AT20AZ28BA20BE16BG22BH22BI27BR29BY28CH21CR22CY28CZ24DE22DJ27DK18DO28EE20EG29ES24FI18FK18FO18FR27"
        "GB22GE22GI23GL18GR27GT28HN28HR21HU28IE22IL23IQ23IS26IT27JO30KW30KZ20LB28LC32LI21LT20LU20LV21LY25MC27MD24ME22"
        "MK19MN20MR27MT31MU30NI28NL18NO15OM23PK24PL28PS29PT25QA29RO24RS22RU33SA24SC31SD18SE24SI19SK24SM27SO23ST25SV28"
        "TL23TN24TR26UA29VA22VG24XK20YE30",
    )
}


class Config(Strict):
    """`kinds` to look for, and texts to `allow`: a whole value, or `@example.com` for a domain's addresses."""

    kinds: tuple[Kind, ...] = ("email", "phone", "card", "iban", "ssn", "ip")
    allow: tuple[str, ...] = Field(default=(), max_length=100)

    @field_validator("kinds")
    @classmethod
    def _some(cls, value: tuple[Kind, ...]) -> tuple[Kind, ...]:
        if not value:
            raise ValueError("name at least one kind, or leave the rule out")
        return value


def compile_pii(use: GuardrailUse, config: Config) -> Rule:
    """Compile; by default everything found is redacted, at every place."""
    seats = actions(use, {"input": "redact", "tool_call": "redact", "tool_result": "redact", "output": "redact"})
    made = tuple(_finder(kind, frozenset(a.lower() for a in config.allow)) for kind in dict.fromkeys(config.kinds))
    return Rule(name="pii", actions=seats, finders=dict.fromkeys(seats, made))


def _finder(kind: Kind, allow: frozenset[str]) -> Finder:
    finder = _FINDERS[kind]
    if not allow:
        return finder

    def check(candidate: str) -> int:
        length = finder.check(candidate) if finder.check else len(candidate)
        value = candidate[:length].lower()
        return 0 if value in allow or value[value.find("@") :] in allow else length

    return Finder(finder.label, finder.pattern, finder.longest, finder.hint, check=check)


def _email(candidate: str) -> int:
    value = candidate.rstrip(".-_")
    return len(value) if "." in value[value.find("@") :] else 0


def _card(candidate: str) -> int:
    """Find the longest beginning of 13 to 19 digits that is a word of its own and passes Luhn's test."""
    for end in range(len(candidate), 12, -1):
        if candidate[end - 1] in _DIGITS and (end == len(candidate) or candidate[end] not in _DIGITS):
            digits = _NO_DIGIT.sub("", candidate[:end])
            if len(digits) < 13:  # noqa: PLR2004 - the shortest card number
                return 0
            if len(digits) <= 19 and _luhn(digits):  # noqa: PLR2004 - the longest
                return end
    return 0


def _luhn(digits: str) -> bool:
    """Test the check digit: every second digit from the right counts as the digits of its double."""
    total = sum(map(int, digits[::-2])) + sum(map(int, digits[-2::-2].translate(_DOUBLED)))
    return total % 10 == 0 and len(set(digits)) > 1


def _iban(candidate: str) -> int:
    """Take as many characters as the country's numbers have, and test the two check digits."""
    wanted = _IBAN_LENGTHS.get(candidate[:2].upper(), 0)
    places = [i for i, c in enumerate(candidate) if c.isalnum()]
    if not wanted or len(places) < wanted:
        return 0
    end = places[wanted - 1] + 1
    if end < len(candidate) and candidate[end].isalnum():
        return 0
    value = "".join(candidate[i] for i in places[:wanted]).upper()
    number = "".join(str(int(c, 36)) for c in value[4:] + value[:4])
    return end if int(number) % 97 == 1 else 0


def _phone(candidate: str) -> int:
    """Find the longest beginning that is a word of its own and has as many digits as a phone number."""
    # E.164 allows 15 digits; without a country code fewer than 9 are a date or an amount.
    least, most = (8, 15) if candidate[0] == "+" else (9, 12)
    for end in range(len(candidate), least - 1, -1):
        if candidate[end - 1].isdigit() and (end == len(candidate) or not candidate[end].isdigit()):
            digits = sum(c.isdigit() for c in candidate[:end])
            if least <= digits <= most:
                return end
    return 0


def _ip(candidate: str) -> int:
    if ":" in candidate:
        candidate = candidate.rstrip(":")
        if len(candidate) < 6 or not any(c.isdigit() for c in candidate):  # noqa: PLR2004 - `a::b` is code
            return 0
    else:
        candidate = candidate.rstrip(".")
    try:
        address = ipaddress.ip_address(candidate)
    except ValueError:
        return 0
    return 0 if address.is_loopback or address.is_unspecified else len(candidate)


_FINDERS: dict[Kind, Finder] = {
    "email": Finder(
        label="email address",
        pattern=re.compile(r"(?<![A-Za-z0-9._%+-])[A-Za-z0-9._%+-]{1,64}+@[A-Za-z0-9][A-Za-z0-9._-]{1,180}+"),
        longest=250,
        hint=re.compile("@"),
        check=_email,
    ),
    "phone": Finder(
        label="phone number",
        pattern=re.compile(
            r"(?<![A-Za-z0-9_+./-])"
            r"(?:\+[1-9](?:[ \u00a0\u202f.\-/]?(?:\([0-9]{1,5}\)[ ]?)?[0-9]){6,16}"
            r"|\(?[2-9][0-9]{2}\)?[ .-]?[0-9]{3}[ .-][0-9]{4}"
            r"|(?<![0-9][ ])\(?0(?!00)[0-9]{1,4}\)?[ /-][0-9]{2,10}(?:[ -][0-9]{2,10}){0,4}"
            r")(?![0-9])"
        ),
        longest=170,
        hint=_DIGIT,
        check=_phone,
    ),
    "card": Finder(
        label="card number",
        pattern=re.compile(r"(?<![0-9.])[2-6][0-9]{3,18}+(?:[ \u00a0\u202f-][0-9]{3,7}){0,5}(?![0-9])"),
        longest=62,
        hint=_DIGIT,
        check=_card,
    ),
    "iban": Finder(
        label="bank account",
        pattern=re.compile(
            r"(?<![A-Za-z0-9])(?:[A-Z]{2}[0-9]{2}(?:[ \u00a0\u202f-]?[A-Z0-9]){11,30}"
            r"|[a-z]{2}[0-9]{2}[a-z0-9]{11,30})"
        ),
        longest=70,
        hint=_DIGIT,
        check=_iban,
    ),
    "ssn": Finder(
        label="social security number",
        pattern=re.compile(r"(?<![A-Za-z0-9_-])(?!000|666|9)[0-9]{3}([ -])(?!00)[0-9]{2}\1(?!0000)[0-9]{4}(?![0-9-])"),
        longest=13,
        hint=_DIGIT,
    ),
    "ip": Finder(
        label="IP address",
        pattern=re.compile(
            r"(?<![A-Za-z0-9_.:])(?:[0-9]{1,3}(?:\.[0-9]{1,3}){3}(?![0-9]|\.[0-9])"
            r"|(?=[0-9A-Fa-f]{0,4}:)(?:[0-9A-Fa-f:]{2,30}:[0-9]{1,3}(?:\.[0-9]{1,3}){3}|[0-9A-Fa-f:]{3,39})"
            r"(?![A-Za-z0-9_]))"
        ),
        longest=60,
        hint=_DIGIT,
        check=_ip,
    ),
}
