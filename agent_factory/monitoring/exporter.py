"""Gives a process's metrics to Prometheus where the process has no API of its own."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import structlog
from prometheus_client import start_http_server

from agent_factory.monitoring.metrics import Metrics
from agent_factory.monitoring.settings import MetricsSettings

log = structlog.stdlib.get_logger(__name__)


@asynccontextmanager
async def exported(metrics: Metrics, settings: MetricsSettings) -> AsyncGenerator[int | None, None]:
    """Answer `GET /metrics` for the block, in a thread; gives the port, None where none is set.

    Raises `OSError` where nobody can listen there.
    """
    if settings.port is None:
        yield None
        return
    server, thread = start_http_server(settings.port, settings.host, metrics.registry)
    try:
        log.info("metrics are at /metrics", host=settings.host, port=server.server_port)
        yield server.server_port
    finally:
        await asyncio.to_thread(server.shutdown)
        server.server_close()
        thread.join()
