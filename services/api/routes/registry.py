"""Models, deployments and job kinds."""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from sqlalchemy.orm import selectinload

from medcoss import __version__
from medcoss.specs import JOB_KINDS, JobKind
from services.api.dependencies import PartsOf, ReaderOf, Viewer
from services.api.pages import Cursor, FileLimit, InProject, Limit, file_page, page
from services.api.schemas import DeploymentOut, FileOut, JobKindOut, ModelOut, Page, Platform
from services.api.views import deployment_view, file_views, model_view
from services.core import projects, registry
from services.core.errors import NotFound
from services.core.tables import Deployment, Model, ModelFile

router = APIRouter(prefix="/v1", tags=["registry"])


@router.get("/models")
def list_models(
    session: ReaderOf, caller: Viewer, limit: Limit = 100, cursor: Cursor = None, project: InProject = None
) -> Page[ModelOut]:
    """Models, newest first."""
    scope = projects.narrowed(session, caller.scope, project)
    rows, following = page(session, scope, Model, limit, cursor, options=[selectinload(Model.files)])
    return Page(items=[model_view(row) for row in rows], next=following)


@router.get("/models/{model_id}")
def show_model(model_id: str, session: ReaderOf, caller: Viewer, project: InProject = None) -> ModelOut:
    """One model, by its id or by an alias such as `@production`."""
    return model_view(registry.get_model(session, projects.narrowed(session, caller.scope, project), model_id))


@router.get("/models/{model_id}/files")
def list_model_files(
    model_id: str, parts: PartsOf, session: ReaderOf, caller: Viewer, limit: FileLimit = 1000, cursor: Cursor = None,
    project: InProject = None,
) -> Page[FileOut]:  # fmt: skip
    """The files of a model, each with a URL to fetch it from."""
    row = registry.get_model(session, projects.narrowed(session, caller.scope, project), model_id)
    files, following = file_page(session, ModelFile, ModelFile.model_id == row.id, limit, cursor)
    return Page(items=file_views(parts.store, parts.settings, row.prefix, files), next=following)


@router.get("/deployments")
def list_deployments(
    session: ReaderOf,
    caller: Viewer,
    limit: Limit = 100,
    cursor: Cursor = None,
    name: Annotated[str | None, Query(max_length=64, description="only versions of this name")] = None,
    project: InProject = None,
) -> Page[DeploymentOut]:
    """Served versions, newest first."""
    filters = [Deployment.name == name] if name else []
    scope = projects.narrowed(session, caller.scope, project)
    rows, following = page(session, scope, Deployment, limit, cursor, *filters)
    return Page(items=[deployment_view(row) for row in rows], next=following)


def _kind(name: str) -> JobKind:
    if name not in JOB_KINDS:
        raise NotFound(f"there is no job kind '{name}'; expected one of {', '.join(JOB_KINDS)}")
    return JOB_KINDS[name]


@router.get("/job-kinds")
def list_job_kinds(_: Viewer) -> Page[JobKindOut]:
    """What jobs there are."""
    kinds = JOB_KINDS.values()
    return Page(items=[JobKindOut(name=k.name, description=k.description, produces=k.produces) for k in kinds])


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
