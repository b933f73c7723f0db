"""Every abuse case has its test or the reason why it cannot have one."""

from pathlib import Path

import pytest

from tests.abuse.cases import NUMBERS, OPEN, PARTLY_OPEN, cited, citing

PAGE = Path(__file__).parents[2] / "docs/reference/security.md"
CITING = list(citing())
BY_NUMBER = {number: [name for name, numbers in CITING if number in numbers] for number in NUMBERS}


@pytest.mark.parametrize("number", NUMBERS)
def test_a_case_is_tested_or_open_and_never_both(number: int) -> None:
    assert bool(BY_NUMBER[number]) != (number in OPEN), BY_NUMBER[number]


def test_what_is_partly_open_is_tested_in_part() -> None:
    assert not PARTLY_OPEN.keys() & OPEN.keys()


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("Abuse 7.", {7}),
        ("A wall (S43; abuse 2 to 4, 9 and 12)", {2, 3, 4, 9, 12}),
        ("Abuse 69, the strictest wins.", {69}),
        ("Nothing of the kind.", set()),
        (None, set()),
    ],
)
def test_citations_are_read(text: str | None, numbers: set[int]) -> None:
    assert cited(text) == numbers


def test_the_page_for_operators_says_what_is_open() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for number, reason in {**OPEN, **PARTLY_OPEN}.items():
        assert f"| {number} | {reason} |" in page
