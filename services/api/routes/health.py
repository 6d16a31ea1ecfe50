"""Health and metrics; these need no key and tell nothing of patients."""

from collections.abc import Callable

import redis
import structlog
from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Gauge, generate_latest
from sqlalchemy import func, select

from services.api.dependencies import Parts, PartsOf, ReaderOf
from services.api.problems import RESPONSES
from services.core.errors import FieldError, Unavailable
from services.core.lifecycle import State
from services.core.tables import Job

router = APIRouter(tags=["health"])
_log = structlog.get_logger()


@router.get("/healthz")
def alive() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


def _database(parts: Parts) -> None:
    with parts.database.reading() as session:
        session.execute(select(Job.id).limit(1))


def _broker(parts: Parts) -> None:
    with redis.Redis.from_url(parts.settings.redis_url, socket_timeout=3) as client:
        client.ping()


def _object_store(parts: Parts) -> None:
    if not parts.store.healthy():
        raise RuntimeError("the bucket is missing")


CHECKS: dict[str, Callable[[Parts], None]] = {"database": _database, "redis": _broker, "s3": _object_store}


@router.get("/readyz", responses={503: RESPONSES[503]})
def ready(parts: PartsOf) -> dict[str, str]:
    """Everything that is needed to take requests answers; Unavailable names what does not."""
    broken = []
    for name, check in CHECKS.items():
        try:
            check(parts)
        except Exception as error:  # noqa: BLE001 - whatever a driver raises means the same here
            _log.warning("not_ready", part=name, error=type(error).__name__)
            broken.append(FieldError(f"part:{name}", "does not answer"))
    if broken:
        names = ", ".join(error.pointer.removeprefix("part:") for error in broken)
        raise Unavailable(f"not ready: no answer from {names}", broken)
    return dict.fromkeys(CHECKS, "ok")


@router.get("/metrics", include_in_schema=False)
def prometheus(session: ReaderOf) -> Response:
    """Number of jobs by state, for Prometheus."""
    collectors = CollectorRegistry()
    gauge = Gauge("medcoss_jobs", "Jobs by state", ["state"], registry=collectors)
    counts = {row[0]: row[1] for row in session.execute(select(Job.state, func.count()).group_by(Job.state))}
    for state in State:
        gauge.labels(state.value).set(counts.get(state.value, 0))
    return Response(generate_latest(collectors), media_type=CONTENT_TYPE_LATEST)
