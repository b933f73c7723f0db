"""Prometheus metrics under the names that dashboards use (S169-S172)."""

from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from agent_factory.monitoring.metrics import Metrics


def test_requests_are_counted_and_timed() -> None:
    metrics = Metrics()
    metrics.request("GET", "/x/{id}", 200, 0.02)
    metrics.request("GET", "/x/{id}", 200, 0.2)
    metrics.request("GET", "/x/{id}", 404, 3.0)
    value = metrics.registry.get_sample_value
    assert value("http_requests_total", {"method": "GET", "route": "/x/{id}", "status": "200"}) == 2
    assert value("http_requests_total", {"method": "GET", "route": "/x/{id}", "status": "404"}) == 1
    assert value("http_request_duration_seconds_count", {"method": "GET", "route": "/x/{id}"}) == 3
    assert value("http_request_duration_seconds_bucket", {"method": "GET", "route": "/x/{id}", "le": "0.025"}) == 1


def test_two_applications_in_one_process_count_apart() -> None:
    one, other = Metrics(), Metrics()
    one.request("GET", "/", 200, 0.1)
    assert (
        other.registry.get_sample_value("http_requests_total", {"method": "GET", "route": "/", "status": "200"}) is None
    )


def test_prometheus_reads_what_is_exposed() -> None:
    metrics = Metrics()
    metrics.request("GET", '/quo"ted\\{x}', 200, 0.1)
    families = {f.name for f in text_string_to_metric_families(generate_latest(metrics.registry).decode())}
    assert {"http_requests", "http_request_duration_seconds", "process_resident_memory_bytes"} <= families
