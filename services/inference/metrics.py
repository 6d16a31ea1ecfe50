"""Numbers for Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


class Metrics:
    """The gateway's own registry."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "medcoss_gateway_requests", "Answered requests", ["route", "status"], registry=self.registry
        )
        self._seconds = Histogram(
            "medcoss_gateway_request_seconds", "Time to answer", ["route"], registry=self.registry, buckets=BUCKETS
        )
        self._stages = Histogram(
            "medcoss_inference_stage_seconds",
            "Time of decoding and of the model server",
            ["model", "stage"],
            registry=self.registry,
            buckets=BUCKETS,
        )

    def answered(self, route: str, status: int, seconds: float) -> None:
        """Count one answer."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def stage(self, model: str, stage: str, seconds: float) -> None:
        """Note how long one stage of an inference took."""
        self._stages.labels(model, stage).observe(seconds)

    def text(self) -> bytes:
        """All numbers in Prometheus' text format."""
        return generate_latest(self.registry)
