"""The gateway's own numbers for Prometheus; those of database and object store come with them."""

from prometheus_client import Counter, Gauge, Histogram

BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)

_requests = Counter("medcoss_gateway_requests", "Answered requests", ["route", "status"])
_seconds = Histogram("medcoss_gateway_request_seconds", "Time to answer", ["route"], buckets=BUCKETS)
_stages = Histogram(
    "medcoss_inference_stage_seconds",
    "Time of waiting, decoding, preparing, of the model server, and of putting the answer together",
    ["model", "stage"],
    buckets=BUCKETS,
)
_answers = Counter("medcoss_inference_answers", "Inferences of a model by how they ended", ["model", "call", "result"])
_windows = Counter("medcoss_inference_windows", "Samples that the model server was asked about", ["model"])
# of several processes that share a port, what all of them have
_inside = Gauge(
    "medcoss_inference_admitted", "Inferences that are worked on or wait for a turn", multiprocess_mode="livesum"
)
_working = Gauge("medcoss_inference_working", "Inferences that are worked on", multiprocess_mode="livesum")
_turned_away = Counter("medcoss_inference_turned_away", "Inferences refused because enough waited")
_given_up = Counter("medcoss_inference_given_up", "Inferences given up because nobody waited for them any more")


def answered(route: str, status: int, seconds: float) -> None:
    """Count one answer."""
    _requests.labels(route, str(status)).inc()
    _seconds.labels(route).observe(seconds)


def stage(model: str, name: str, seconds: float) -> None:
    """Note how long one stage of an inference took."""
    _stages.labels(model, name).observe(seconds)


def ended(model: str, call: str, result: str) -> None:
    """Count one inference of a model that exists: `answered`, `refused` (bad input), `given_up` or `failed`."""
    _answers.labels(model, call, result).inc()


def windows(model: str, count: int) -> None:
    """Count samples of a model."""
    _windows.labels(model).inc(count)


def inside(count: int) -> None:
    """Note how many inferences are worked on or wait."""
    _inside.set(count)


def working(by: int) -> None:
    """Note that an inference begins (1) or ends (-1)."""
    _working.inc(by)


def turned_away() -> None:
    """Count one refusal."""
    _turned_away.inc()


def given_up() -> None:
    """Count one inference that was given up."""
    _given_up.inc()
