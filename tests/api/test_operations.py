"""Health, readiness and the pages; the process starts and heals while PostgreSQL is away."""

import re
import tempfile
from html.parser import HTMLParser
from pathlib import Path

from agent_factory.database.embedded import Server
from agent_factory.database.migrations import migrate
from agent_factory.services.organizations.service import bootstrap
from tests.conftest import FAST
from tests.serving import Client, client_of, opened, served, settings_for

AWAY = "postgresql://nobody:nothing@127.0.0.1:1/nothing"


class Links(HTMLParser):
    """Collects what a page would load or lead to."""

    def __init__(self) -> None:
        super().__init__()
        self.targets: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002 - the base class's
        self.targets += [value or "" for name, value in attrs if name in ("href", "src")]


async def test_health_and_readiness_with_a_database(anyone: Client) -> None:
    assert (await anyone.get("/health")).json() == {"status": "ok"}
    assert (await anyone.get("/ready")).json() == {"status": "ready"}


async def test_a_process_starts_while_postgresql_is_away_and_says_so() -> None:
    async with opened(settings_for(AWAY)) as app, client_of(app, "af_000000000000_" + "x" * 43) as client:
        assert (await client.get("/health")).status_code == 200
        ready = await client.get("/ready")
        assert ready.status_code == 503
        assert ready.json()["code"] == "unavailable"
        assert ready.headers["retry-after"] == "1"
        assert (await client.get("/")).status_code == 200
        asked = await client.get("/api/v1/agents")
        assert asked.status_code == 503
        assert "127.0.0.1" not in asked.text


async def test_a_process_heals_when_postgresql_comes_back() -> None:
    with tempfile.TemporaryDirectory(prefix="af-test-") as folder:
        postgres = Server(Path(folder) / "postgres", FAST)
        url = await postgres.start()
        await migrate(url)
        async with opened(settings_for(url)) as app:
            founded = await bootstrap(app.state.platform.database)
            assert founded is not None
            async with client_of(app, founded.secret) as client:
                assert (await client.get("/api/v1/agents")).status_code == 200
                await postgres.stop()
                assert (await client.get("/ready")).status_code == 503
                assert (await client.get("/api/v1/agents")).status_code == 503
                assert await postgres.start() == url
                assert (await client.get("/ready")).status_code == 200
                assert (await client.get("/api/v1/agents")).status_code == 200
        await postgres.stop()


async def test_the_first_page_says_what_runs_and_that_the_demo_is_no_language_model(anyone: Client) -> None:
    page = await anyone.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert re.search(r"Version \d+\.\d+\.\d+", page.text)
    assert "no language model" in page.text
    assert "OPENAI_API_KEY" in page.text


async def test_the_first_page_drops_the_notice_where_a_vendor_is_set_up(database_url: str) -> None:
    models = {"openai_api_key": "sk-test"}
    async with opened(settings_for(database_url, models=models)) as app, client_of(app) as client:
        text = (await client.get("/")).text
    assert "no language model" not in text
    assert "sk-test" not in text


async def test_the_pages_load_nothing_from_elsewhere_and_their_links_lead_somewhere(anyone: Client) -> None:
    for path in ("/", "/docs"):
        page = await anyone.get(path)
        links = Links()
        links.feed(page.text)
        assert links.targets
        assert "<script" not in page.text
        for target in links.targets:
            assert target.startswith("/")
            assert (await anyone.get(target)).status_code == 200


async def test_the_reference_lists_every_operation(anyone: Client) -> None:
    document = (await anyone.get("/openapi.json")).json()
    page = (await anyone.get("/docs")).text
    for item in document["paths"].values():
        for operation in item.values():
            assert f"id={operation['operationId']}>" in page


async def test_the_metrics_are_in_the_format_of_prometheus(anyone: Client) -> None:
    answer = await anyone.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    assert "# TYPE http_requests_total counter" in answer.text
    assert "process_resident_memory_bytes" in answer.text


async def test_the_product_serves_in_a_process_of_its_own(database_url: str, tmp_path: Path) -> None:
    environment = {"AF_DATABASE__URL": database_url, "HOME": str(tmp_path), "AF_TOOLS__WORKSPACE": str(tmp_path)}
    async with served(environment) as root, Client(base_url=root) as client:
        assert (await client.get("/ready")).json() == {"status": "ready"}
        big = await client.post(
            "/api/v1/agents",
            content=b'{"a": "' + b"x" * 10_000_000 + b'"}',
            headers={"content-type": "application/json"},
        )
        assert big.status_code == 413
        assert big.json()["code"] == "body_too_large"
        assert (await client.get("/health")).status_code == 200
