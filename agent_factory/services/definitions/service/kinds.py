"""How a kind of definitions is worked with, beside what it is called and where it is kept."""

from collections.abc import Awaitable, Callable
from typing import Any, Generic, Protocol, TypeVar
from uuid import UUID

import msgspec

from agent_factory.core.agent import AgentStatus
from agent_factory.database.session import ReadSession
from agent_factory.runtime.compile import Resources
from agent_factory.security.auth import Actor
from agent_factory.services.definitions.rules import Kind


class Definition(Protocol):
    """A definition that was read."""

    @property
    def name(self) -> str:
        """What it is called."""
        ...

    @property
    def description(self) -> str:
        """What it is for."""
        ...

    @property
    def digest(self) -> str:
        """What names its content."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """Write it as it is kept."""
        ...


D = TypeVar("D", bound=Definition)


class Definitions(msgspec.Struct, Generic[D], frozen=True, kw_only=True):
    """The definitions of one kind.

    `checked` reads one and raises `Invalid` unless it can be run here; the id
    is its own, where it is kept already. `check_names` raises `Denied` unless
    a caller may run all that one names and the one before it did not. `news`
    makes what the rooms above hear, in the same transaction, of one that was
    deployed or archived: its id, its status, and what is in service.
    """

    kind: Kind
    checked: Callable[[ReadSession, Actor, Resources, dict[str, Any], UUID | None], Awaitable[D]]
    check_names: Callable[[ReadSession, Actor, dict[str, Any], dict[str, Any] | None], Awaitable[None]]
    news: Callable[[UUID, AgentStatus, D | None], object] | None = None
