"""What was true a moment ago."""

import pytest

from agent_factory.runtime import recent
from agent_factory.runtime.recent import Recent


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(recent, "time", made)
    return made


def test_an_entry_is_known_until_its_time_is_up(clock: Clock) -> None:
    kept = Recent(seconds=1)
    kept.keep("a", 1)
    clock.now += 0.9
    assert kept.get("a") == 1
    assert kept.get("b") is None
    clock.now += 5
    assert kept.get("a") is None
    assert kept.get("a") is None


def test_of_many_who_ask_for_an_expired_entry_one_looks_again(clock: Clock) -> None:
    kept = Recent(seconds=1)
    kept.keep("a", 1)
    clock.now += 1.1
    assert [kept.get("a") for _ in range(4)] == [None, 1, 1, 1]
    kept.keep("a", 2)
    assert kept.get("a") == 2


def test_a_dropped_entry_is_gone_at_once(clock: Clock) -> None:
    kept = Recent(seconds=1)
    kept.keep("a", 1)
    kept.drop("a")
    kept.drop("a")
    assert kept.get("a") is None


def test_the_oldest_go_first(clock: Clock) -> None:
    kept = Recent(seconds=1, most=2)
    for name in ("a", "b", "c"):
        kept.keep(name, name)
    assert [kept.get(name) for name in ("a", "b", "c")] == [None, "b", "c"]
