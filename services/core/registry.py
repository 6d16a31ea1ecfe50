"""Records of datasets, models and deployments."""

import re
from collections.abc import Mapping, Sequence

from sqlalchemy import func, insert, literal, select, update
from sqlalchemy.orm import Session

from medcoss.specs.records import DatasetInfo, DeploymentInfo, FileEntry, ModelInfo
from services.core import aliases, deployments, labels, uploads
from services.core.errors import Conflict, NotFound, Unavailable
from services.core.scope import Scope
from services.core.specs import references
from services.core.tables import Dataset, DatasetFile, Deployment, Job, JobInput, Lineage, Model, ModelFile

# uploads that a refusal names
NAMED = 5
_VERSION = re.compile(r"[1-9][0-9]{0,8}")


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
    """Record a served version that has passed its checks, and have it answer for its name. Conflict when that is
    another project's.
    """
    session.add(
        Deployment(
            id=deployment_id, name=info.name, version=info.version, state=deployments.LOADING, info={},
            model_id=model_id, job_id=job_id, project_id=project_id,
        )
    )  # fmt: skip
    deployments.publish(session, deployment_id, info, activate=True)


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
    """All versions that answer for a name, by name; of one name that which answers comes last."""
    ready = scope.select(Deployment).where(
        Deployment.state == deployments.READY, Deployment.activated_at.is_not(None)
    )  # fmt: skip
    return session.scalars(ready.order_by(Deployment.name, Deployment.activated_at, Deployment.version)).all()


def ready_deployment(session: Session, scope: Scope, name: str) -> Deployment:
    """The version that answers to `name`: to `chest` the one that was activated last, to `chest@2` version 2, and to
    an alias of models such as `@production` the newest version of the model that it stands for - as long as none of it
    is ready, of the one that it stood for before. NotFound names the served models, Unavailable the version of the
    name that is being loaded.
    """
    base, mark, version = name.partition(aliases.MARK)
    if mark and not base:
        return _of_alias(session, scope, name)
    if mark:
        numbered = scope.select(Deployment).where(Deployment.name == base, Deployment.state == deployments.READY)
        wanted = numbered.where(Deployment.version == int(version)) if _VERSION.fullmatch(version) else None
        found = session.scalars(wanted).first() if wanted is not None else None
        if found is None:
            there = session.scalars(numbered.order_by(Deployment.version).with_only_columns(Deployment.version))
            known = ", ".join(str(number) for number in there) or "none"
            raise NotFound(f"there is no version '{version}' of '{base}'; ready are: {known}")
        return found
    found = deployments.active(session, scope, name)
    if found is None:
        raise _not_served(session, scope, name)
    return found


def _not_served(session: Session, scope: Scope, name: str) -> NotFound | Unavailable:
    """Why nothing answers for a name: its newest version is being loaded, has failed or was not activated, or there is
    none.
    """
    mine = scope.select(Deployment).where(Deployment.name == name)
    newest = session.scalars(mine.order_by(Deployment.created_at.desc(), Deployment.id.desc()).limit(1)).first()
    if newest is None:
        names = sorted({row.name for row in ready_deployments(session, scope)})
        return NotFound(f"there is no served model '{name}'; served are: {', '.join(names) or 'none yet'}")
    if newest.state == deployments.LOADING:
        return Unavailable(f"'{name}' is being loaded ({newest.id}); try again in a few seconds")
    if newest.state == deployments.FAILED:
        why = f"GET /v1/deployments/{newest.id} of the control plane says why"
        return NotFound(f"no version of '{name}' is served: {newest.id} has failed, and {why}")
    return NotFound(f"no version of '{name}' answers yet; activate {newest.id}, or ask {name}@{newest.version}")


def _of_alias(session: Session, scope: Scope, name: str) -> Deployment:
    models = aliases.standing(session, scope, name)
    ready = scope.select(Deployment).where(Deployment.state == deployments.READY, Deployment.model_id.in_(models))
    rows = session.scalars(ready.order_by(Deployment.ready_at, Deployment.version)).all()
    newest = {row.model_id: row for row in rows}
    for model_id in models:
        if model_id in newest:
            return newest[model_id]
    raise NotFound(f"{name} stands for {models[0]}, which is not served; deploy it first")
