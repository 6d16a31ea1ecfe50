"""Records of datasets, models and deployments."""

from collections.abc import Mapping, Sequence

from sqlalchemy import func, insert, literal, select, update
from sqlalchemy.orm import Session

from medcoss.specs.records import DatasetInfo, DeploymentInfo, FileEntry, ModelInfo
from services.core import aliases, labels, served_names, uploads
from services.core.errors import Conflict, NotFound
from services.core.scope import Scope
from services.core.specs import references
from services.core.tables import Dataset, DatasetFile, Deployment, Job, JobInput, Lineage, Model, ModelFile

# uploads that a refusal names
NAMED = 5


def register_dataset(session: Session, dataset_id: str, *, name: str, info: DatasetInfo, prefix: str,
                     files: Sequence[FileEntry], parents: list[str], job_id: str, project_id: str) -> None:  # fmt: skip
    """Record a prepared dataset or a buffer, complete with its files."""
    row = Dataset(
        id=dataset_id, name=name, description="", role=info.role, state="ready", modality=info.modality,
        prefix=prefix, info=info.model_dump(mode="json"), file_count=len(files), project_id=project_id,
        total_bytes=sum(f.size for f in files), parents=parents, job_id=job_id,
        files=[DatasetFile(path=f.path, size=f.size, sha256=f.sha256) for f in files],
    )  # fmt: skip
    add_dataset(session, row)
    _remember_origin(session, dataset_id, job_id)


def add_dataset(session: Session, row: Dataset, tags: Sequence[str] = ()) -> None:
    """Record a dataset and let it be found."""
    session.add(row)
    session.flush()
    labels.made(session, [row], {row.id: tags})


def register_model(session: Session, model_id: str, *, name: str, info: ModelInfo, prefix: str,
                   files: Sequence[FileEntry], parents: list[str], dataset_id: str | None,
                   job_id: str, project_id: str) -> None:  # fmt: skip
    """Record a trained model with its files."""
    row = Model(
        id=model_id, name=name, prefix=prefix, info=info.model_dump(mode="json"), parents=parents,
        dataset_id=dataset_id, job_id=job_id, project_id=project_id, task=info.task, modality=info.modality,
        files=[ModelFile(path=f.path, size=f.size, sha256=f.sha256) for f in files],
    )  # fmt: skip
    session.add(row)
    session.flush()
    labels.made(session, [row])
    labels.measured(session, row, info.metrics)
    _remember_origin(session, model_id, job_id)


def register_deployment(session: Session, deployment_id: str, *, info: DeploymentInfo, model_id: str,
                        job_id: str, project_id: str) -> None:  # fmt: skip
    """Record a served version that has passed its checks. Conflict when its name is another project's."""
    served_names.take(session, info.name, project_id)
    session.add(
        Deployment(
            id=deployment_id, name=info.name, version=info.version, state="ready", info=info.model_dump(mode="json"),
            model_id=model_id, job_id=job_id, project_id=project_id,
        )
    )  # fmt: skip


def get_dataset(session: Session, scope: Scope, dataset_id: str) -> Dataset:
    """The dataset, or NotFound."""
    return scope.get(session, Dataset, dataset_id)


def get_deployment(session: Session, scope: Scope, deployment_id: str) -> Deployment:
    """A served version, or NotFound."""
    return scope.get(session, Deployment, deployment_id)


def get_model(session: Session, scope: Scope, model_id: str) -> Model:
    """The model of an id or of an alias such as `@production`, or NotFound."""
    return scope.get(session, Model, aliases.model_id(session, scope, model_id))


def model_sizes(session: Session, ids: Sequence[str]) -> dict[str, int]:
    """Bytes of the files of each model."""
    sums = select(ModelFile.model_id, func.sum(ModelFile.size)).where(ModelFile.model_id.in_(ids))
    return {model_id: int(size) for model_id, size in session.execute(sums.group_by(ModelFile.model_id))}


def unfinished(session: Session, project_id: str, name: str, modality: str | None,
               files: Mapping[str, tuple[int, str]]) -> Dataset | None:  # fmt: skip
    """The newest upload of this name, modality and these files - size and SHA-256 by path - that is not complete."""
    same = select(Dataset).where(
        Dataset.project_id == project_id, Dataset.state == "uploading", Dataset.name == name,
        Dataset.modality.is_not_distinct_from(modality), Dataset.file_count == len(files),
        Dataset.total_bytes == sum(size for size, _ in files.values()),
    )  # fmt: skip
    for row in session.scalars(same.order_by(Dataset.created_at.desc()).with_for_update()):
        announced = select(DatasetFile.path, DatasetFile.size, DatasetFile.sha256)
        known = session.execute(announced.where(DatasetFile.dataset_id == row.id))
        if {path: (size, sha256) for path, size, sha256 in known} == files:
            return row
    return None


def complete_dataset(session: Session, scope: Scope, dataset_id: str) -> Dataset:
    """Make an uploaded dataset ready; NotFound when it has expired meanwhile, Conflict while a file is on its way."""
    # locked: no file joins it meanwhile
    scope.get(session, Dataset, dataset_id, with_for_update=True)
    coming = uploads.live_paths(session, dataset_id, NAMED)
    if coming:
        named = ", ".join(f"{path} ({upload_id})" for path, upload_id in coming)
        raise Conflict(f"still on their way in parts: {named}; complete or abort these uploads first")
    waiting = update(Dataset).where(Dataset.id == dataset_id, Dataset.state == "uploading")
    session.execute(waiting.values(state="ready", expires_at=None))
    return scope.get(session, Dataset, dataset_id, populate_existing=True)


def _remember_origin(session: Session, child_id: str, job_id: str) -> None:
    """What a job names is where that comes from which it makes, also when the job is deleted.

    What the result is only going to be measured on is no origin of it.
    """
    job = session.get(Job, job_id)
    named = [*references(job.kind, job.spec)] if job else []
    made_of = {reference.id for reference in named if not reference.field.startswith("measured_on/")}
    inputs = select(literal(child_id), JobInput.input_id).where(
        JobInput.job_id == job_id, JobInput.input_id.in_(made_of)
    )
    session.execute(insert(Lineage).from_select(["child_id", "input_id"], inputs))


def inputs_of(session: Session, child_id: str) -> set[str]:
    """Ids of what a dataset or model was made from."""
    return set(session.scalars(select(Lineage.input_id).where(Lineage.child_id == child_id)))


def origins(session: Session, child_id: str) -> set[str]:
    """Ids of all that a dataset or model was made from, through all generations."""
    made = select(Lineage.input_id).where(Lineage.child_id == child_id).cte("made", recursive=True)
    older = select(Lineage.input_id).join(made, Lineage.child_id == made.c.input_id)
    return set(session.scalars(select(made.union(older).c.input_id)))


def entries(files: Sequence[DatasetFile] | Sequence[ModelFile]) -> list[FileEntry]:
    """Rows of files as records."""
    return [FileEntry(path=f.path, size=f.size, sha256=f.sha256) for f in files]


def ready_deployments(session: Session, scope: Scope) -> Sequence[Deployment]:
    """All ready versions, by name and version."""
    ready = scope.select(Deployment).where(Deployment.state == "ready")
    return session.scalars(ready.order_by(Deployment.name, Deployment.version)).all()


def ready_deployment(session: Session, scope: Scope, name: str) -> Deployment:
    """The newest ready version of `name`; NotFound names the served models."""
    ready = scope.select(Deployment).where(Deployment.state == "ready")
    newest = ready.where(Deployment.name == name).order_by(Deployment.version.desc()).limit(1)
    found = session.scalars(newest).first()
    if found is None:
        names = sorted(set(session.scalars(ready.with_only_columns(Deployment.name))))
        raise NotFound(f"there is no served model '{name}'; served are: {', '.join(names) or 'none yet'}")
    return found
