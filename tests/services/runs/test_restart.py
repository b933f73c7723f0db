"""The product killed in the middle of a turn, and started again (S59)."""

import json
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import psutil

from agent_factory.database.session import Database
from agent_factory.database.settings import DatabaseSettings
from agent_factory.services.organizations.service import bootstrap
from tests.doubles.fixtures import ModelServer
from tests.serving import served


def listens(process: psutil.Process, port: int | None) -> bool:
    """Tell whether a process has a port; one that ends meanwhile has none."""
    try:
        return any(c.laddr.port == port for c in process.net_connections() if c.status == psutil.CONN_LISTEN)
    except psutil.NoSuchProcess:
        return False


def kill_server(root: str) -> None:
    """Kill the server at an address and all its workers, without a warning."""
    port = urlsplit(root).port
    for child in psutil.Process().children():
        family = [child, *child.children(recursive=True)]
        if any(listens(process, port) for process in family):
            for process in family:
                process.kill()


async def test_a_turn_outlives_the_server_that_began_it(
    fresh_database_url: str, model_server: ModelServer, tmp_path: Path
) -> None:
    """The message was acknowledged, so after a restart it is answered and the conversation goes on."""
    endpoints = {"double": {"url": model_server.url}}
    environment = {
        "HOME": str(tmp_path),
        "AF_DATABASE__URL": fresh_database_url,
        "AF_MODELS__ENDPOINTS": json.dumps(endpoints),
        "AF_ENGINE__LEASE": "1",
        "AF_ENGINE__BEAT": "0.2",
    }
    database = Database(fresh_database_url, DatabaseSettings())
    home = await bootstrap(database)
    await database.close()
    assert home is not None
    headers = {"Authorization": f"Bearer {home.secret}"}
    async with served(environment) as root, httpx2.AsyncClient(base_url=root, headers=headers) as http:
        agent = (await http.post("/api/v1/agents", json={"name": "helper", "model": "double:echo"})).json()["id"]
        await http.post(f"/api/v1/agents/{agent}:deploy", json={})
        session = (await http.post("/api/v1/sessions", json={"agent": "helper"})).json()["id"]
        messages = f"/api/v1/sessions/{session}/messages"
        said = json.dumps({"delay": 1, "say": "answered"})
        begun = await http.post(messages, json={"content": said}, params={"wait": 0})
        assert begun.status_code == 202
        kill_server(root)
    async with served(environment) as root, httpx2.AsyncClient(base_url=root, headers=headers) as http:
        watched = await http.get(f"{begun.headers['location']}/events", timeout=30)
        assert "event: run.completed" in watched.text
        said_so_far = (await http.get(messages)).json()["data"]
        assert [m["text"] for m in said_so_far] == [said, "answered"]
        again = await http.post(messages, json={"content": "thanks"}, timeout=30)
        assert again.json()["message"]["text"] == "You said: thanks"
