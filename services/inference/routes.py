"""What is served, and whether the gateway can answer."""

from fastapi import APIRouter, Depends, Response
from fastapi.responses import PlainTextResponse
from sqlalchemy.exc import SQLAlchemyError

from services.core.errors import Unavailable
from services.core.metrics import CONTENT_TYPE_LATEST, exposition
from services.inference.dependencies import Caller, GatewayDep, caller, no_others
from services.inference.pages import page_of
from services.inference.schemas import Health, ModelPage, ServedModel, ServedModels

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


@router.get("/{name}")
def model(name: str, gateway: GatewayDep, caller: Caller) -> ModelPage:
    """What a served model takes and gives, the newest version: inputs, outputs, labels, limits, and how to call it."""
    return page_of(gateway.deployments.find(caller.scope, name), gateway.settings)


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
