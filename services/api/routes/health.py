"""Health and metrics; these need no key and tell nothing of patients."""

from collections.abc import Callable

import redis
import structlog
from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse
from sqlalchemy import select

from services.api.dependencies import Parts, PartsOf
from services.api.metrics import KEPT_S, PlatformNumbers
from services.core.errors import FieldError, Unavailable
from services.core.figures import Figures
from services.core.figures import figures as look_up
from services.core.metrics import CONTENT_TYPE_LATEST, exposition
from services.core.problems import RESPONSES
from services.core.tables import Job
from services.core.tables.base import now

router = APIRouter(tags=["health"])
_METRICS_EXAMPLE = """# HELP medcoss_http_requests_total Answered requests
# TYPE medcoss_http_requests_total counter
medcoss_http_requests_total{method="GET",route="/v1/jobs",status="200"} 412.0
# HELP medcoss_http_requests_in_flight Requests under way
# TYPE medcoss_http_requests_in_flight gauge
medcoss_http_requests_in_flight 1.0
"""
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


def numbers_of(found: Callable[[], Parts], kept_s: float = KEPT_S) -> PlatformNumbers:
    """The state of the platform behind `found`, for Prometheus."""

    def figures() -> Figures:
        with found().database.reading() as session:
            return look_up(session, now())

    def check(part: str) -> bool:
        CHECKS[part](found())
        return True

    return PlatformNumbers(
        figures, {"object_store": lambda: check("s3"), "broker": lambda: check("redis")}, kept_s
    )  # fmt: skip


@router.get(
    "/metrics", response_class=PlainTextResponse,
    responses={200: {"description": "Numbers in the text format of Prometheus",
                     "content": {"text/plain": {"example": _METRICS_EXAMPLE}}}},
)  # fmt: skip
def prometheus(request: Request) -> Response:
    """Numbers for Prometheus; there are fewer while the database is away."""
    return Response(exposition(request.app.state.numbers), media_type=CONTENT_TYPE_LATEST)
