"""Secrets as tools and tasks ask for them: by name, for one host, at the moment of sending (abuse 62)."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol
from uuid import UUID

import msgspec

from agent_factory.kit.errors import Kind, NotFound, Problem
from agent_factory.kit.redaction import Redactor
from agent_factory.runtime.settings import OperatorSecret
from agent_factory.security.outgoing import allows

Reveal = Callable[[str, str], Awaitable[str]]
"""Gives a secret's value by its name, for a host; the door `secrets` of a tool."""


class SecretHostMismatch(Problem):
    """A secret that was about to be sent to a host that it is not bound to."""

    kind = Kind.FORBIDDEN
    code = "secret_host_mismatch"
    title = "The secret may not be sent there"


class Stored(msgspec.Struct, frozen=True):
    """A secret that an organisation keeps; `value` opens it, and notes that it was used."""

    hosts: tuple[str, ...]
    value: Callable[[], Awaitable[str]]


class SecretStore(Protocol):
    """Where organisations keep their own secrets."""

    async def find(self, organization_id: UUID, name: str) -> Stored | None:
        """Find what an organisation keeps under a name."""
        ...

    async def refused(self, organization_id: UUID, name: str, host: str) -> None:
        """Note in the audit trail that a secret was not sent to a host."""
        ...


class NoStore:
    """A place without secrets, as in a script."""

    async def find(self, organization_id: UUID, name: str) -> Stored | None:  # noqa: ARG002 - nothing is kept
        """Find nothing."""
        return None

    async def refused(self, organization_id: UUID, name: str, host: str) -> None:
        """Note nothing."""


class Secrets:
    """The secrets that one organisation's tools may use: its own first, then the operator's that are open to it."""

    def __init__(
        self, organization_id: str, operators: Mapping[str, OperatorSecret], store: SecretStore, redactor: Redactor
    ) -> None:
        """Choose among `operators`, which are those open to the organisation; it is "" for a script."""
        self._organization_id = organization_id
        self._operators = operators
        self._store = store
        self._redactor = redactor

    async def reveal(self, name: str, host: str) -> str:
        """Give a value that is about to be sent to a host; raises `NotFound` or `SecretHostMismatch`."""
        found = await self._find(name)
        if not allows(found.hosts, host):
            if self._organization_id:
                await self._store.refused(UUID(self._organization_id), name, host)
            raise SecretHostMismatch(f"The secret {name!r} is not bound to {host}; it is not sent there.")
        value = await found.value()
        self._redactor.learn(self._organization_id, value)
        return value

    async def _find(self, name: str) -> Stored:
        own = await self._store.find(UUID(self._organization_id), name) if self._organization_id else None
        if own is not None:
            return own
        given = self._operators.get(name)
        if given is None:
            raise NotFound(
                f"There is no secret {name!r} here; an owner keeps one by `agent-factory secret set {name}`."
            )

        async def value() -> str:
            return given.value.get_secret_value()

        return Stored(hosts=given.hosts, value=value)
