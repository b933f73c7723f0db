"""Prometheus metrics under the names that the dashboards use (S169-S172)."""

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_1_0_0, generate_latest
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


class Metrics:
    """What one process counts. Label values come from route templates, never from what a caller sent."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self._requests = Counter(
            "http_requests", "HTTP requests answered.", ("method", "route", "status"), registry=self.registry
        )
        self._seconds = Histogram(
            "http_request_duration_seconds",
            "Time from the request to the end of its answer.",
            ("method", "route"),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._children: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        self._task_seconds = Histogram(
            "task_execution_duration",
            "Seconds from the start of a workflow's task to its end, with all its attempts.",
            ("type",),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._task_ends = (
            Counter("task_error_counter", "Tasks of workflows that failed.", ("type",), registry=self.registry),
            Counter("task_success_counter", "Tasks of workflows that ended well.", ("type",), registry=self.registry),
        )
        self._runs = Counter("workflow_executions", "Runs of workflows that ended here.", registry=self.registry)
        self._good_runs = Counter(
            "workflow_executions_success", "Runs of workflows that ended well here.", registry=self.registry
        )
        self._alerts = Counter(
            "security_alerts", "Alerts that the audit trail's rules have raised.", ("rule",), registry=self.registry
        )

    def exposition(self) -> tuple[bytes, str]:
        """Write every metric as Prometheus reads it, with the media type."""
        return generate_latest(self.registry), CONTENT_TYPE_PLAIN_1_0_0

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one answered request; `route` is the template, `seconds` its whole time."""
        key = (method, route, status)
        children = self._children.get(key)
        if children is None:
            children = self._children[key] = (
                self._requests.labels(method, route, str(status)),
                self._seconds.labels(method, route),
            )
        children[0].inc()
        children[1].observe(seconds)

    def task(self, task_type: str, seconds: float, *, success: bool) -> None:
        """Count one task of a workflow that has ended (S94)."""
        self._task_ends[success].labels(task_type).inc()
        self._task_seconds.labels(task_type).observe(seconds)

    def workflow(self, *, success: bool) -> None:
        """Count one run of a workflow that has ended (S170)."""
        self._runs.inc()
        if success:
            self._good_runs.inc()

    def alert(self, rule: str) -> None:
        """Count one alert (S203)."""
        self._alerts.labels(rule).inc()
