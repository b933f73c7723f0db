"""What looks like an attack: small rules over counts of events (S203); nothing here reads or writes."""

from collections import OrderedDict
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from uuid import UUID

import msgspec

from agent_factory.database.audit import Event
from agent_factory.security.addresses import subscriber
from agent_factory.security.audit.settings import WatchSettings

ALERT = "security.alert"
_MOST_SUBJECTS = 10_000
"""Of one rule, that are counted at a time; the one that was seen longest ago is forgotten first."""


class Rule(msgspec.Struct, frozen=True):
    """Tells when `threshold` different `values` came with one `subject` within the window."""

    name: str
    action: str
    subject: Callable[[Event], str | None]
    value: Callable[[Event], str | None]
    threshold: int


class Alert(msgspec.Struct, frozen=True):
    """An attack, as far as a rule can tell; the organisation is absent where it is against all."""

    rule: str
    subject: str
    count: int
    organization_id: UUID | None


def rules(settings: WatchSettings) -> tuple[Rule, ...]:
    """Give the rules: stolen passwords being tried, tokens used twice, agents that reach for odd places."""
    return (
        Rule("many_accounts_from_one_address", "auth.login_failed", _address, _account, settings.accounts_by_address),
        Rule("one_account_from_many_addresses", "auth.login_failed", _account, _address, settings.addresses_by_account),
        Rule("token_reuse", "auth.refresh_reused", _account, _id, 1),
        Rule("blocked_egress", "egress.blocked", _organization, _id, settings.blocked_egress),
        Rule("many_new_hosts", "egress.new_host", _organization, _host, settings.new_hosts),
    )


class Watch:
    """Counts events as they are sealed; alerts are events too, so that every process knows which were raised."""

    def __init__(self, settings: WatchSettings) -> None:
        self._rules = rules(settings)
        self.window = timedelta(seconds=settings.window)
        self._cool_down = timedelta(seconds=settings.cool_down)
        self._seen: dict[str, OrderedDict[str, dict[str, datetime]]] = {
            rule.name: OrderedDict() for rule in self._rules
        }
        self._raised: OrderedDict[tuple[str, str], datetime] = OrderedDict()
        self.actions = (ALERT, *sorted({rule.action for rule in self._rules}))
        self.memory = max(self.window, self._cool_down)

    def see(self, events: Iterable[Event]) -> list[Alert]:
        """Count events, and give the alerts that they raise and that nobody has raised in them."""
        raised: dict[tuple[str, str], Alert] = {}
        for event in events:
            if event.action == ALERT:
                known = (str(event.details.get("rule")), str(event.details.get("subject")))
                self._cool(*known, event.occurred_at)
                raised.pop(known, None)
            for rule in self._rules:
                alert = self._count(rule, event) if rule.action == event.action else None
                if alert is not None:
                    raised[alert.rule, alert.subject] = alert
        return list(raised.values())

    def _count(self, rule: Rule, event: Event) -> Alert | None:
        subject, value = rule.subject(event), rule.value(event)
        if subject is None or value is None:
            return None
        seen = self._seen[rule.name]
        values = {known: at for known, at in seen.pop(subject, {}).items() if at > event.occurred_at - self.window}
        values.pop(value, None)
        values[value] = event.occurred_at
        if len(values) > rule.threshold:  # as of an attack that goes on while its alert is still fresh
            del values[next(iter(values))]
        seen[subject] = values
        if len(seen) > _MOST_SUBJECTS:
            seen.popitem(last=False)
        if len(values) < rule.threshold or self._is_cooling(rule.name, subject, event.occurred_at):
            return None
        self._cool(rule.name, subject, event.occurred_at)
        count = len(values)
        values.clear()
        return Alert(rule.name, subject, count, event.organization_id)

    def _is_cooling(self, rule: str, subject: str, at: datetime) -> bool:
        raised = self._raised.get((rule, subject))
        return raised is not None and raised > at - self._cool_down

    def _cool(self, rule: str, subject: str, at: datetime) -> None:
        self._raised[rule, subject] = at
        self._raised.move_to_end((rule, subject))
        if len(self._raised) > _MOST_SUBJECTS:
            self._raised.popitem(last=False)


def _address(event: Event) -> str | None:
    """Name whoever holds the address: one subscriber has more of IPv6 than anybody could count."""
    return None if event.address is None else subscriber(event.address)


def _account(event: Event) -> str | None:
    """Name the account: by what the event says, else by the user."""
    named = event.details.get("account") or event.user_id
    return None if named is None else str(named)


def _organization(event: Event) -> str | None:
    return None if event.organization_id is None else str(event.organization_id)


def _id(event: Event) -> str:
    return str(event.id)


def _host(event: Event) -> str | None:
    return event.resource
