"""What rooms below have done, for those above, in the same transaction: so a room never calls upwards."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from agent_factory.database.session import Session
from agent_factory.security.auth import Actor

T = TypeVar("T")

Hear = Callable[[Session, Actor, T], Awaitable[None]]
"""Does what follows from news. What it raises ends the transaction, and what was told has not happened."""


class News:
    """Tells those who have asked for a kind of news, in the order in which they asked."""

    def __init__(self) -> None:
        """Begin with nobody to tell."""
        self._hearing: dict[type[Any], list[Hear[Any]]] = {}

    def on(self, kind: type[T], hear: Hear[T]) -> None:
        """Have a function called with each piece of news of a kind."""
        self._hearing.setdefault(kind, []).append(hear)

    async def tell(self, session: Session, actor: Actor, what: object) -> None:
        """Tell what has happened in a transaction that is still open."""
        for hear in self._hearing.get(type(what), []):
            await hear(session, actor, what)
