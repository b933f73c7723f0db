"""Streaming: nothing that must be blocked or redacted has left, however the text is cut (S58)."""

from collections.abc import Coroutine
from itertools import pairwise
from typing import Any, TypeVar

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from agent_factory.core.agent import GuardrailUse
from agent_factory.core.guardrail import GuardrailBlocked, Verdict
from agent_factory.runtime.guardrails import Guards, compile_guardrails
from agent_factory.runtime.guardrails.finder import Finder
from agent_factory.runtime.guardrails.scanner import Armed, Scanner

T = TypeVar("T")

VALUES = (
    "bob.smith@example.co.uk",
    "a@b.io",
    "+49 (0) 30 1234-5678",
    "(212) 555-0100",
    "030 1234567",
    "4111 1111 1111 1111",
    "4111111111111111",
    "4111 111 111 111 111 110",
    "+4 (12345) 9 (12345) 3 (12345) 0 (1234) 1 (23) 4 (5) 6",
    "DE89 3704 0044 0532 0130 00",
    "gb29nwbk60161331926819",
    "536-90-4399",
    "10.1.2.3",
    "2001:db8::8a2e:370:7334",
    "::ffff:192.168.1.1",
    "AKIAIOSFODNN7EXAMPLE",
    "ghp_aBcDeFgHiJkLmNoPqRsTuVwXyZ0123456789",
    "sk-proj-abcdefghij1234567890ABCDEFG",
    "af_0123456789ab_abcdefghijabcdefghijabcdefghijabcdefghij123",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV",
    "-----BEGIN RSA PRIVATE KEY-----\nMIIabc+/=\nsecond line\n-----END RSA PRIVATE KEY-----",
    "-----BEGIN OPENSSH PRIVATE KEY-----\nb3Blbn",
    'password = "hunter22x"',
    "api_key: 9f8e7d6c5b4a",
    "postgres://me:s3cr3tpw@db.local/x",
    "Authorization: Bearer abcDEF1234567890xyzQ",
    "![a chart of it](https://evil.example/p.png?q=secret)",
    "\n[ref]: https://evil.example/p",
    '<img width="1" src="//evil.example/p">',
    "\U000e0041\U000e0042\U000e0043",
)
NEAR = (
    "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
    "![a chart][ref]",
    "4111 1111 1111 1112",
    "bob@",
    "@example",
    "+49 ",
    "2024-01-05 12:30",
    "10:30:15",
    "1.2.3",
    "std::vector",
    "password",
    "secret: ",
    "eyJ",
    "-----BEGIN ",
    "![",
    "](",
    "https://",
    "DE89",
    "the quick brown fox ",
    "Über café naïve 日本語 テスト",
    "A B C ",
    "MTLC AST0",
    " (",
    ") ",
    "\u00a0",
    "\u202f",
    "\n",
    " ",
    ". ",
    "x",
    "7",
    "_",
    "-",
    ":",
    "=",
    "/",
)


def repeated(character: str, count: int) -> str:
    return character * count


fragments = st.one_of(
    st.sampled_from(VALUES),
    st.sampled_from(NEAR),
    st.text(max_size=8),
    st.text("aZ09 .-+@:/()=_", max_size=12),
    st.builds(repeated, st.sampled_from("aA0 _-.:/@"), st.integers(1, 600)),
)
texts = st.lists(fragments, max_size=12).map("".join)


def now(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run what never waits, without a loop."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("it waited")


def guards(*uses: GuardrailUse) -> Guards:
    return compile_guardrails(uses, None)


def on_output(action: str | None = None) -> Guards:
    return guards(
        *(GuardrailUse.model_validate({"use": use, "action": action}) for use in ("pii", "secrets", "injection"))
    )


REDACTING = on_output("redact")
BLOCKING = on_output("block")


def cut(text: str, places: list[int]) -> list[str]:
    ends = sorted({p % (len(text) + 1) for p in places} | {0, len(text)})
    return [text[a:b] for a, b in pairwise(ends)]


def stream(rules: Guards, pieces: list[str]) -> list[str]:
    gate = rules.gate()
    return [*(now(gate.feed(piece)) for piece in pieces), now(gate.finish())]


@settings(max_examples=600, deadline=None)
@given(texts, st.lists(st.integers(0, 10_000), max_size=30))
@example("the password = " + VALUES[4] + "\u00a0x", [3, 4, 5, 20])
def test_any_chunking_gives_the_result_of_the_whole_text(text: str, places: list[int]) -> None:
    whole = now(REDACTING.output(text)).text
    assert "".join(stream(REDACTING, cut(text, places))) == whole


FINDERS = [a.finder for a in REDACTING._armed["output"]]


@pytest.mark.parametrize("finder", FINDERS, ids=lambda f: f"{f.label}-{f.longest}")
@settings(max_examples=150, deadline=None)
@given(texts, st.lists(st.integers(0, 10_000), max_size=30))
def test_each_finder_keeps_back_as_much_as_it_says(finder: Finder, text: str, places: list[int]) -> None:
    armed = (Armed("rule", "redact", finder),)
    whole = Scanner(armed).feed(text, last=True)
    for pieces in (cut(text, places), list(text)):
        scanner = Scanner(armed)
        assert "".join([*(scanner.feed(piece) for piece in pieces), scanner.feed("", last=True)]) == whole


@pytest.mark.parametrize("finder", FINDERS, ids=lambda f: f"{f.label}-{f.longest}")
def test_each_finder_finds_its_values_character_by_character(finder: Finder) -> None:
    armed = (Armed("rule", "redact", finder),)
    for value in VALUES:
        scanner = Scanner(armed)
        pieces = [scanner.feed(c) for c in f"{value} and more"]
        assert "".join([*pieces, scanner.feed("", last=True)]) == Scanner(armed).feed(f"{value} and more", last=True)


@settings(max_examples=300, deadline=None)
@given(texts)
def test_one_character_at_a_time_gives_the_result_of_the_whole_text(text: str) -> None:
    assert "".join(stream(REDACTING, list(text))) == now(REDACTING.output(text)).text


@settings(max_examples=400, deadline=None)
@given(texts, st.lists(st.integers(0, 10_000), max_size=30))
def test_what_was_released_before_a_block_holds_no_part_of_a_match(text: str, places: list[int]) -> None:
    released = ""
    gate = BLOCKING.gate()
    blocked = False
    try:
        for piece in cut(text, places):
            released += now(gate.feed(piece))
        released += now(gate.finish())
    except GuardrailBlocked:
        blocked = True
    assert blocked == (now(BLOCKING.output(text)).action == "block")
    # Redacting the whole text shows where the first match begins.
    redacted = now(REDACTING.output(text)).text
    assert redacted.startswith(released)


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("before", ["", "See ", "x: ", '{"a": "'])
def test_no_character_of_a_value_leaves_before_it_is_known_whole(value: str, before: str) -> None:
    if before and value.startswith("\n["):
        before = "See "
    final = now(REDACTING.output(before + value)).text
    assert " removed]" in final
    gate = REDACTING.gate()
    released = ""
    for character in before + value:
        released += now(gate.feed(character))
        assert final.startswith(released)


def test_prose_streams_word_by_word() -> None:
    gate = REDACTING.gate()
    assert now(gate.feed("The quick brown ")) == "The quick brown "
    assert now(gate.feed("fox")) == ""
    assert now(gate.feed(" ")) == "fox "
    assert now(gate.feed("jumps, ")) == "jumps, "
    assert now(gate.finish()) == ""


def test_a_text_without_blanks_leaves_once_it_is_longer_than_what_is_held_back() -> None:
    assert REDACTING.holdback is not None
    gate = REDACTING.gate()
    out = now(gate.feed("x" * 5_000))
    assert len(out) == 5_000 - REDACTING.holdback


def test_without_output_rules_a_stream_passes_untouched_and_unscanned() -> None:
    rules = guards(GuardrailUse(use="pii", on=("input",)))
    assert not rules.has_output
    assert rules.holdback == 0
    text = "mail bob@example.com"
    gate = rules.gate()
    assert now(gate.feed(text)) is text
    assert now(gate.finish()) == ""


def test_a_rule_that_needs_the_whole_text_holds_everything_back() -> None:
    rules = guards(GuardrailUse(use="schema", config={"output": {"type": "object"}}), GuardrailUse(use="pii"))
    assert rules.holdback is None
    gate = rules.gate()
    assert now(gate.feed('{"a": "bob@')) == ""
    assert now(gate.feed('example.com"}')) == ""
    assert now(gate.finish()) == '{"a": "[email address removed]"}'


def test_a_rule_that_asks_holds_everything_back_and_never_lets_it_go_alone() -> None:
    rules = guards(GuardrailUse(use="secrets", action="ask"))
    assert rules.output_asks
    gate = rules.gate()
    assert now(gate.feed("it is AKIAIOSFODNN7EXAMPLE. ")) == ""
    with pytest.raises(GuardrailBlocked):
        now(gate.finish())


def test_a_private_key_that_never_ends_is_swallowed_up_to_its_limit() -> None:
    text = "-----BEGIN PRIVATE KEY-----" + "A" * 20_000
    pieces = cut(text, list(range(0, 20_000, 77)))
    out = "".join(stream(REDACTING, pieces))
    assert out == now(REDACTING.output(text)).text
    assert out == "[private key removed]" + "A" * (20_000 - 16_384)


def test_overlapping_keys_are_taken_out_as_one_however_long_they_get() -> None:
    assert now(REDACTING.output("sk-" * 5_000 + " end")).text == "[key removed] end"


def test_a_second_private_key_after_an_endless_one_is_found_on_its_own() -> None:
    whole = "-----BEGIN PRIVATE KEY-----abc-----END PRIVATE KEY-----"
    text = "-----BEGIN PRIVATE KEY-----" + "A" * 16_384 + "\nfree\n" + whole + "\nfree"
    assert now(REDACTING.output(text)).text == "[private key removed]\nfree\n[private key removed]\nfree"
    assert "".join(stream(REDACTING, list(text))) == now(REDACTING.output(text)).text


async def test_a_judge_sees_the_redacted_text_once_when_the_stream_is_over() -> None:
    seen: list[str] = []

    async def judge(prompt: str, _schema: dict[str, Any]) -> dict[str, Any]:
        seen.append(prompt)
        return {"topic": "mail", "acceptable": True}

    rules = compile_guardrails(
        [GuardrailUse(use="topics", config={"allowed": ["mail"]}), GuardrailUse(use="pii")], judge
    )
    gate = rules.gate()
    assert await gate.feed("write to bob@example.com ") == ""
    assert await gate.finish() == "write to [email address removed] "
    assert len(seen) == 1
    assert "bob@" not in seen[0]


async def test_words_beside_a_tool_call_need_not_match_the_schema_of_the_answer() -> None:
    rules = guards(GuardrailUse(use="schema", config={"output": {"type": "object"}}))
    gate = rules.gate()
    await gate.feed("Let me look that up.")
    assert await gate.finish(answer=False) == "Let me look that up."
    assert await rules.output("I think…", answer=False) == Verdict("allow", "I think…")
    assert (await rules.output("I think…")).action == "block"
