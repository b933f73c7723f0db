"""What looks like an attack raises an alert, and what does not, does not (S203)."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest

from agent_factory.database.audit import Event
from agent_factory.kit.ids import uuid7
from agent_factory.security.audit.settings import WatchSettings
from agent_factory.security.audit.watching import ALERT, Alert, Watch

_START = datetime(2026, 11, 21, tzinfo=UTC)
_ORGANIZATION = UUID(int=1)
SETTINGS = WatchSettings(
    window=60, cool_down=600, accounts_by_address=3, addresses_by_account=3, blocked_egress=3, new_hosts=3
)


def event(action: str, second: float = 0, **fields: Any) -> Event:
    usual: dict[str, Any] = dict.fromkeys(
        ("user_id", "key_id", "session_id", "role", "resource", "request_id", "address", "user_agent")
    )
    usual |= {"organization_id": _ORGANIZATION, "details": {}, "outcome": "refused"}
    at = _START + timedelta(seconds=second)
    return Event(id=uuid7(), action=action, occurred_at=at, **{**usual, **fields})


def failed(account: str, address: str, second: float = 0) -> Event:
    return event("auth.login_failed", second, details={"account": account}, address=address, organization_id=None)


def told(watch: Watch, events: Sequence[Event]) -> list[tuple[str, str, int]]:
    return [(alert.rule, alert.subject, alert.count) for alert in watch.see(events)]


ATTACKS = {
    "many accounts from one address": (
        [failed(f"account-{n}", "203.0.113.5", n) for n in range(3)],
        ("many_accounts_from_one_address", "203.0.113.5", 3),
    ),
    "one account from many addresses": (
        [failed("account", f"203.0.113.{n}", n) for n in range(3)],
        ("one_account_from_many_addresses", "account", 3),
    ),
    "a token that is used twice": (
        [event("auth.refresh_reused", user_id=UUID(int=7))],
        ("token_reuse", str(UUID(int=7)), 1),
    ),
    "requests to where nobody may": (
        [event("egress.blocked", n, resource="169.254.169.254") for n in range(3)],
        ("blocked_egress", str(_ORGANIZATION), 3),
    ),
    "hosts that are new": (
        [event("egress.new_host", n, resource=f"{n}.example") for n in range(3)],
        ("many_new_hosts", str(_ORGANIZATION), 3),
    ),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_is_told_once_and_again_after_a_while(attack: str) -> None:
    events, expected = ATTACKS[attack]
    watch = Watch(SETTINGS)
    assert told(watch, events) == [expected]
    assert told(watch, events) == []
    later = [_moved(e, SETTINGS.cool_down + 1) for e in events]
    assert told(watch, later) == [expected]


PEACE = {
    "fewer than it takes": [failed("one", "203.0.113.5"), failed("two", "203.0.113.5")],
    "one account from one address": [failed("one", "203.0.113.5", n) for n in range(50)],
    "spread over a long time": [failed(f"account-{n}", "203.0.113.5", n * 61) for n in range(9)],
    "one address each": [failed(f"account-{n}", f"203.0.113.{n}", n) for n in range(9)],
    "of several organisations": [
        event("egress.blocked", n, organization_id=uuid7(), resource="10.0.0.1") for n in range(9)
    ],
    "something else": [event("agents_create", n, address="203.0.113.5") for n in range(9)],
    "from nowhere": [event("auth.login_failed", n, details={}, organization_id=None) for n in range(9)],
}


@pytest.mark.parametrize("kind", PEACE)
def test_what_is_no_attack_is_not_told(kind: str) -> None:
    assert told(Watch(SETTINGS), PEACE[kind]) == []


def test_an_alert_that_another_process_has_raised_is_not_raised_again() -> None:
    events, (rule, subject, count) = ATTACKS["many accounts from one address"]
    raised = event(ALERT, 3, details={"rule": rule, "subject": subject, "count": count})
    watch = Watch(SETTINGS)
    assert watch.see([*events, raised]) == []
    assert watch.see(_moved(e, 10) for e in events) == []


def test_an_alert_belongs_to_the_organisation_that_it_is_about() -> None:
    events, _ = ATTACKS["requests to where nobody may"]
    assert Watch(SETTINGS).see(events) == [Alert("blocked_egress", str(_ORGANIZATION), 3, _ORGANIZATION)]


def _moved(one: Event, seconds: float) -> Event:
    return msgspec.structs.replace(one, id=uuid7(), occurred_at=one.occurred_at + timedelta(seconds=seconds))


def test_a_subscriber_who_changes_his_ipv6_address_with_each_try_is_one_address() -> None:
    watch = Watch(SETTINGS)
    tries = [failed(f"account-{n}", f"2001:db8:7:7:{n:x}::1", n) for n in range(3)]
    assert told(watch, tries) == [("many_accounts_from_one_address", "2001:db8:7:7::/64", 3)]


def test_one_person_with_many_ipv6_addresses_is_not_many_addresses() -> None:
    assert told(Watch(SETTINGS), [failed("account", f"2001:db8:7:7:{n:x}::1", n) for n in range(9)]) == []
    mapped = [failed("account", address) for address in ("203.0.113.5", "::ffff:203.0.113.5", "::ffff:cb00:7105")]
    assert told(Watch(SETTINGS), mapped) == []


def test_an_attack_that_goes_on_after_its_alert_is_remembered_no_longer_than_it_has_to_be() -> None:
    """Each further event would take longer than the one before, in the process that seals them all."""
    watch = Watch(SETTINGS)
    assert len(told(watch, [failed(f"account-{n}", "203.0.113.5", n / 1000) for n in range(5000)])) == 1
    assert len(watch._seen["many_accounts_from_one_address"]["203.0.113.5"]) <= SETTINGS.accounts_by_address
    again = [failed(f"account-{n}", "203.0.113.5", 700 + n) for n in range(3)]
    assert len(told(watch, again)) == 1
