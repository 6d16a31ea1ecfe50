"""Models and job kinds."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response

from medcoss import __version__
from medcoss.specs import JOB_KINDS, JobKind
from services.api import etags
from services.api.dependencies import PartsOf, ReaderOf, Viewer
from services.api.lists import (
    Fields,
    Heavy,
    Question,
    Shown,
    answer,
    page_of,
    question,
    response_model,
    wanted_fields,
)  # fmt: skip
from services.api.pages import InProject
from services.api.routes.labels import OF_MODEL
from services.api.schemas import FileOut, JobKindOut, Platform
from services.api.schemas_models import ModelOut
from services.api.views import MODEL_INFO, file_views, model_view, model_views
from services.core import projects, registry
from services.core.errors import NotFound
from services.core.lists import MODELS
from services.core.short_lists import MODEL_FILES
from services.core.tables import Model

router = APIRouter(prefix="/v1", tags=["registry"])
_MODELS = Shown(MODELS, ModelOut, model_views, (Heavy(Model.info, MODEL_INFO),))


@router.get("/models", response_model=response_model(ModelOut))
def list_models(session: ReaderOf, caller: Viewer, asked: Annotated[Question, Depends(question(MODELS))]) -> Response:
    """Models, newest first unless `sort` says otherwise; `sort=-metric.auc` is by a final number."""
    return answer(session, caller.scope, _MODELS, asked)


@router.get("/models/{model_id}")
def show_model(
    model_id: str, request: Request, session: ReaderOf, caller: Viewer, project: InProject = None
) -> ModelOut:
    """One model, by its id or by an alias such as `@production`."""
    scope = projects.narrowed(session, caller.scope, project)
    shown = model_view(session, registry.get_model(session, scope, model_id))
    etags.seen(request, shown, OF_MODEL)
    return shown


@router.get("/models/{model_id}/files", response_model=response_model(FileOut))
def list_model_files(
    model_id: str, parts: PartsOf, session: ReaderOf, caller: Viewer,
    asked: Annotated[Question, Depends(question(MODEL_FILES, 1000, 5000))], project: InProject = None,
) -> Response:  # fmt: skip
    """The files of a model, each with a URL to fetch it from, as they were stored unless `sort` says otherwise."""
    row = registry.get_model(session, projects.narrowed(session, caller.scope, project), model_id)
    prefix = row.prefix
    shown = Shown(MODEL_FILES, FileOut, lambda _, rows, wanted: file_views(parts.store, parts.settings, prefix, rows,
                                                                           wanted))  # fmt: skip
    return answer(session, caller.scope, shown, asked, row.id)


def _kind(name: str) -> JobKind:
    if name not in JOB_KINDS:
        raise NotFound(f"there is no job kind '{name}'; expected one of {', '.join(JOB_KINDS)}")
    return JOB_KINDS[name]


@router.get("/job-kinds", response_model=response_model(JobKindOut))
def list_job_kinds(_: Viewer, fields: Fields = None) -> Response:
    """What jobs there are."""
    kinds = [JobKindOut(name=k.name, description=k.description, produces=k.produces) for k in JOB_KINDS.values()]
    return page_of(kinds, wanted_fields(fields, JobKindOut), next=None)


@router.get("/job-kinds/{kind}/schema")
def show_schema(kind: str, _: Viewer) -> dict[str, Any]:
    """JSON schema of a kind's spec, with descriptions, units and bounds."""
    return _kind(kind).spec.model_json_schema()


@router.get("/job-kinds/{kind}/defaults")
def show_defaults(kind: str, _: Viewer) -> dict[str, Any]:
    """Values of the fields that may be left out."""
    properties = _kind(kind).spec.model_json_schema()["properties"]
    return {name: schema["default"] for name, schema in properties.items() if "default" in schema}


@router.get("/platform")
def show_platform(parts: PartsOf, _: Viewer) -> Platform:
    """Version, the gateway's address, limits."""
    settings = parts.settings
    limits = {
        "max_file_bytes": settings.max_file_bytes,
        "max_dataset_bytes": settings.max_dataset_bytes,
        "max_inference_bytes": settings.max_inference_bytes,
    }
    return Platform(version=__version__, gateway_url=settings.gateway_url, limits=limits)
