"""What a room of services/ shows to the assembly."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import msgspec
from fastapi import APIRouter

from agent_factory.runtime.platform import Platform


class Room(msgspec.Struct, frozen=True, kw_only=True):
    """One domain: its doors, and what has to run while the process does.

    `lifespan` is entered after the platform is open and left before it closes.
    """

    name: str
    routers: tuple[APIRouter, ...] = ()
    lifespan: Callable[[Platform], AbstractAsyncContextManager[None]] | None = None
