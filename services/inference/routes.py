"""The calls of the gateway."""

import json
from typing import Annotated, Any, Literal

import structlog
from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import PlainTextResponse
from sqlalchemy.exc import SQLAlchemyError

from services.core import audit, parameters
from services.core.errors import Unauthorized, Unavailable
from services.core.keys import Identity
from services.core.metrics import CONTENT_TYPE_LATEST, exposition
from services.inference import metrics
from services.inference.gateway import Gateway
from services.inference.inputs import MAX_TEXT, Input, read_input
from services.inference.predict import Predictor, Timing
from services.inference.schemas import (
    Classification,
    Embedding,
    Health,
    SegmentedVolumes,
    ServedModel,
    ServedModels,
    TimingMs,
)


def _gateway(request: Request) -> Gateway:
    gateway: Gateway = request.app.state.gateway
    return gateway


GatewayDep = Annotated[Gateway, Depends(_gateway)]


def caller(request: Request, gateway: GatewayDep) -> Identity:
    """Let in any known key: to infer, the lowest role is enough. The models are those of its projects."""
    address = request.client.host if request.client else None
    try:
        identity = gateway.access.admit(request.headers.get("authorization"), address)
    except Unauthorized as error:
        request_id = str(structlog.contextvars.get_contextvars().get("request_id", ""))
        route = getattr(request.scope.get("route"), "path", "")
        done = audit.deed(request.method, route, request.url.path, request_id, 401, address, None, error.detail)
        audit.record(gateway.database, done)
        raise
    request.state.identity = identity
    return identity


Caller = Annotated[Identity, Depends(caller)]


async def no_others(request: Request, _: Caller) -> None:
    """ValidationFailed for query parameters that the route does not have."""
    parameters.check(request.scope["route"], request.query_params)


InputDep = Annotated[Input, Depends(read_input)]

_RAW = {"schema": {"type": "string", "format": "binary"}}


def _object(field: str, schema: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"schema": {"type": "object", "required": [field], "properties": {field: schema}} | more}


BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": _object("file", {"type": "string", "format": "binary"}, additionalProperties=False),
            "application/octet-stream": _RAW,
            "application/json": _object("text", {"type": "string", "maxLength": MAX_TEXT, "pattern": "\\S"}),
        },
    }
}
MASKS: dict[int | str, dict[str, Any]] = {200: {"content": {"application/gzip": _RAW, "image/png": _RAW}}}

_METRICS_EXAMPLE = """# HELP python_info Python platform information
# TYPE python_info gauge
python_info{implementation="CPython",major="3",minor="11"} 1.0
"""

router = APIRouter(prefix="/v1/models", dependencies=[Depends(caller), Depends(no_others)])
status_router = APIRouter()


@router.get("")
def models(gateway: GatewayDep, caller: Caller) -> ServedModels:
    """The served models, the newest version of each."""
    return ServedModels(
        items=[
            ServedModel(
                **served.info.model_dump(
                    include={"name", "version", "task", "modality", "kind", "classes", "sample_shape"}
                ),
                calls=served.calls,
                model_id=served.model_id,
            )
            for served in gateway.deployments.all(caller.scope)
        ]
    )


@router.post("/{name}/embed", openapi_extra=BODY)
def embed(name: str, given: InputDep, gateway: GatewayDep, caller: Caller) -> Embedding:
    """The embedding of an image, a volume (mean over its windows) or a report."""
    timing = Timing()
    predictor = gateway.predictor(caller.scope, name, "embed")
    values = predictor.embed(given, timing)
    info = predictor.served.info
    return Embedding(
        model=info.name, version=info.version, embedding=values.tolist(), timing_ms=_done(predictor, timing)
    )


@router.post("/{name}/classify", openapi_extra=BODY)
def classify(name: str, given: InputDep, gateway: GatewayDep, caller: Caller) -> Classification:
    """The probability of every class."""
    timing = Timing()
    predictor = gateway.predictor(caller.scope, name, "classify")
    probabilities = predictor.classify(given, timing)
    info = predictor.served.info
    return Classification(
        model=info.name,
        version=info.version,
        prediction=max(probabilities, key=lambda class_name: probabilities[class_name]),
        probabilities=probabilities,
        timing_ms=_done(predictor, timing),
    )


@router.post("/{name}/segment", openapi_extra=BODY, response_model=SegmentedVolumes, responses=MASKS)
def segment(
    name: str, given: InputDep, gateway: GatewayDep, caller: Caller, format: Literal["file", "json"] = "file"
) -> Response | SegmentedVolumes:
    """The label map on the input's own grid: NIfTI for a volume, PNG for an image; format=json counts only."""
    timing = Timing()
    predictor = gateway.predictor(caller.scope, name, "segment")
    mask = predictor.segment(given, timing)
    info, spent = predictor.served.info, _done(predictor, timing)
    is_volume = mask.media_type == "application/gzip"
    if format == "json":
        return SegmentedVolumes(
            model=info.name,
            version=info.version,
            volume_ml=mask.amounts if is_volume else None,
            pixels=None if is_volume else {class_name: int(n) for class_name, n in mask.amounts.items()},
            timing_ms=spent,
        )
    # header values are ASCII: json escapes everything else
    headers = {
        "X-Model-Version": str(info.version),
        "X-Class-Names": json.dumps(predictor.classes),
        "X-Volume-Ml" if is_volume else "X-Pixels": json.dumps(mask.amounts),
        "Server-Timing": ", ".join(f"{stage};dur={value}" for stage, value in spent.model_dump().items()),
    }
    return Response(mask.content, media_type=mask.media_type, headers=headers)


def _done(predictor: Predictor, timing: Timing) -> TimingMs:
    name = predictor.served.info.name
    metrics.stage(name, "decode", timing.decode / 1000)
    metrics.stage(name, "infer", timing.infer / 1000)
    return TimingMs(decode=round(timing.decode, 2), infer=round(timing.infer, 2), total=round(timing.total, 2))


@status_router.get("/healthz")
def healthz() -> Health:
    """The gateway runs."""
    return Health(status="ok")


@status_router.get("/readyz")
def readyz(gateway: GatewayDep) -> Health:
    """The gateway and what it needs run. 503 names what does not."""
    try:
        database = gateway.deployments.healthy()
    except SQLAlchemyError:
        database = False
    checks = {"database": database, "triton": gateway.triton.ready()}
    if not all(checks.values()):
        raise Unavailable("not ready: " + ", ".join(name for name, fine in checks.items() if not fine))
    return Health(status="ok", checks=checks)


@status_router.get(
    "/metrics", response_class=PlainTextResponse,
    responses={200: {"description": "Numbers in the text format of Prometheus",
                     "content": {"text/plain": {"example": _METRICS_EXAMPLE}}}},
)  # fmt: skip
def prometheus() -> Response:
    """Numbers for Prometheus."""
    return Response(exposition(), media_type=CONTENT_TYPE_LATEST)
