"""What a room of services/ shows to the assembly."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import msgspec
from fastapi import APIRouter

from agent_factory.runtime.platform import Platform


class Room(msgspec.Struct, frozen=True, kw_only=True):
    """One domain: its doors, and what has to run while the process does.

    `lifespan` is entered after the platform is open and left before it closes.
    `subscribe` asks for the news and events that the room has to hear of; it is
    called in every process, whichever rooms that serves. Below the paths of
    `any_media`, a body need not be JSON.
    """

    name: str
    routers: tuple[APIRouter, ...] = ()
    lifespan: Callable[[Platform], AbstractAsyncContextManager[None]] | None = None
    subscribe: Callable[[Platform], None] | None = None
    any_media: tuple[str, ...] = ()
