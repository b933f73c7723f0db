"""What a worker process counts, as Prometheus reads it (S94, S170)."""

import asyncio
import socket
from pathlib import Path

from agent_factory.runtime.queue.queue import Queue
from agent_factory.security.auth import Actor
from agent_factory.security.egress import Egress
from tests.doubles.fixtures import EffectsServer
from tests.runtime.queue.parts import begin, ended, flow, pure
from tests.runtime.queue.processes import workers_on


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def test_a_worker_process_tells_what_its_runs_and_their_tasks_came_to(
    queue: Queue, actor: Actor, effects_server: EffectsServer, fresh_database_url: str, tmp_path: Path
) -> None:
    port = free_port()
    async with workers_on(fresh_database_url, tmp_path, effects_server.host) as workers:
        await workers.start(AF_METRICS__PORT=str(port))
        for what in (flow(pure("a", 1, next=["b"]), pure("b", 2)), flow(pure("c", "{{ 1 / 0 }}"))):
            started = await begin(queue, actor.organization_id, what)
            await ended(queue, actor.organization_id, started.id)
        wanted = {
            "workflow_executions_total 2.0",
            "workflow_executions_success_total 1.0",
            'task_success_counter_total{type="transform"} 2.0',
            'task_error_counter_total{type="transform"} 1.0',
            'task_execution_duration_count{type="transform"} 3.0',
        }
        # a run is counted when its end is committed, which is a moment after others may see it
        while not wanted <= await told(port):  # noqa: ASYNC110 - as said
            await asyncio.sleep(0.02)


async def told(port: int) -> set[str]:
    egress = Egress().trusting(f"127.0.0.1:{port}")
    try:
        return set((await egress.request("GET", f"http://127.0.0.1:{port}/metrics")).text.splitlines())
    finally:
        await egress.close()
