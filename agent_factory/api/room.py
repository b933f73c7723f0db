"""What a room of services/ shows to the assembly."""

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any

import msgspec
from fastapi import APIRouter
from starlette.types import ASGIApp

from agent_factory.runtime.platform import Platform


class Room(msgspec.Struct, frozen=True, kw_only=True):
    """One domain: its doors, and what has to run while the process does.

    `mounts` are whole ASGI applications by path prefix (they find the platform
    at `scope["app"].state.platform` and have to authenticate by themselves);
    `lifespan` is entered after the platform is open and left before it closes.
    """

    name: str
    routers: tuple[APIRouter, ...] = ()
    mounts: Mapping[str, ASGIApp] = msgspec.field(default_factory=dict[str, Any])
    lifespan: Callable[[Platform], AbstractAsyncContextManager[None]] | None = None
