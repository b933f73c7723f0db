"""The ASGI entrance: `granian --interface asgi --http 1 --no-ws --factory agent_factory.server:app`."""

import gc
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from agent_factory.assembly import make_app
from agent_factory.kit.redaction import Redactor, secret_values
from agent_factory.monitoring.logging import configure
from agent_factory.settings import Settings

_GENERATION_0 = 50_000
"""Allocations between collections; what a request makes is gone long before."""


def app(settings: Settings | None = None) -> FastAPI:
    """Make the application of this process; settings default to the environment's."""
    chosen = settings or Settings()
    redactor = Redactor(secret_values(chosen))
    configure(chosen.logging, redactor)
    made = make_app(chosen, redactor)
    started = made.router.lifespan_context

    @asynccontextmanager
    async def settled(app: FastAPI) -> AsyncGenerator[None, None]:
        async with started(app):
            # What is there now stays until the end, so no collection needs to look at it again.
            gc.collect()
            gc.freeze()
            gc.set_threshold(_GENERATION_0, 20, 100)
            yield

    made.router.lifespan_context = settled
    return made
