"""The gateway's own numbers for Prometheus; those of database and object store come with them."""

from prometheus_client import Counter, Histogram

BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)

_requests = Counter("medcoss_gateway_requests", "Answered requests", ["route", "status"])
_seconds = Histogram("medcoss_gateway_request_seconds", "Time to answer", ["route"], buckets=BUCKETS)
_stages = Histogram(
    "medcoss_inference_stage_seconds", "Time of decoding and of the model server", ["model", "stage"], buckets=BUCKETS
)


def answered(route: str, status: int, seconds: float) -> None:
    """Count one answer."""
    _requests.labels(route, str(status)).inc()
    _seconds.labels(route).observe(seconds)


def stage(model: str, name: str, seconds: float) -> None:
    """Note how long one stage of an inference took."""
    _stages.labels(model, name).observe(seconds)
