"""How a run at work learns that something came that a part of it waits for."""

from collections.abc import Callable
from typing import Protocol


class FireDoor(Protocol):
    """Tells of waits that end while the run is at work; their ends are in the journal by then."""

    listeners: set[Callable[[], None]]
    """Called whenever something came."""

    async def reload(self, path: str) -> None:
        """Have the journal know again what is recorded at a path and below it."""
        ...


class NoFires:
    """A door for runs that forget nothing, and where nothing comes before they end their activation."""

    def __init__(self) -> None:
        """Start without listeners."""
        self.listeners: set[Callable[[], None]] = set()

    async def reload(self, path: str) -> None:
        """Do nothing: the journal knows everything."""
