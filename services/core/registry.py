"""Records of datasets, models and deployments."""

from collections.abc import Sequence

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from medcoss.specs.records import DatasetInfo, DeploymentInfo, FileEntry, ModelInfo
from services.core import leftovers
from services.core.errors import NotFound
from services.core.tables import Dataset, DatasetFile, Deployment, Model, ModelFile


def register_dataset(session: Session, dataset_id: str, *, name: str, info: DatasetInfo, prefix: str,
                     files: Sequence[FileEntry], parents: list[str], job_id: str) -> None:  # fmt: skip
    """Record a prepared dataset or a buffer, complete with its files."""
    session.add(
        Dataset(
            id=dataset_id, name=name, description="", role=info.role, state="ready", modality=info.modality,
            prefix=prefix, info=info.model_dump(mode="json"), file_count=len(files),
            total_bytes=sum(f.size for f in files), parents=parents, job_id=job_id,
            files=[DatasetFile(path=f.path, size=f.size, sha256=f.sha256) for f in files],
        )
    )  # fmt: skip


def register_model(session: Session, model_id: str, *, name: str, info: ModelInfo, prefix: str,
                   files: Sequence[FileEntry], parents: list[str], dataset_id: str | None,
                   job_id: str) -> None:  # fmt: skip
    """Record a trained model with its files."""
    session.add(
        Model(
            id=model_id, name=name, prefix=prefix, info=info.model_dump(mode="json"), parents=parents,
            dataset_id=dataset_id, job_id=job_id,
            files=[ModelFile(path=f.path, size=f.size, sha256=f.sha256) for f in files],
        )
    )  # fmt: skip


def register_deployment(session: Session, deployment_id: str, *, info: DeploymentInfo, model_id: str,
                        job_id: str) -> None:  # fmt: skip
    """Record a served version that has passed its checks."""
    session.add(
        Deployment(
            id=deployment_id, name=info.name, version=info.version, state="ready", info=info.model_dump(mode="json"),
            model_id=model_id, job_id=job_id,
        )
    )  # fmt: skip


def get_dataset(session: Session, dataset_id: str) -> Dataset:
    """The dataset, or NotFound."""
    dataset = session.get(Dataset, dataset_id)
    if dataset is None:
        raise NotFound(f"there is no dataset {dataset_id}")
    return dataset


def get_model(session: Session, model_id: str) -> Model:
    """The model, or NotFound."""
    model = session.get(Model, model_id)
    if model is None:
        raise NotFound(f"there is no model {model_id}")
    return model


def entries(files: Sequence[DatasetFile] | Sequence[ModelFile]) -> list[FileEntry]:
    """Rows of files as records."""
    return [FileEntry(path=f.path, size=f.size, sha256=f.sha256) for f in files]


def served_name(name: str, version: int) -> str:
    """What Triton calls a version of a served model: each has a folder of its own, so that a version that
    fails its checks takes no other with it. Names of deployments hold no dot.
    """
    return f"{name}.{version}"


def next_version(session: Session, name: str) -> int:
    """The version number that the next deployment of `name` takes, from 1; attempts under way have reserved theirs."""
    newest = session.scalars(select(func.max(Deployment.version)).where(Deployment.name == name)).one() or 0
    start = f"triton/{name}."
    taken = [int(prefix.removeprefix(start).rstrip("/")) for prefix in leftovers.reserved(session, start)]
    return max(newest, *taken, 0) + 1


def ready_deployment(session: Session, name: str) -> Deployment:
    """The newest ready version of `name`; NotFound names the served models."""
    found = session.scalars(
        select(Deployment).where(Deployment.name == name, Deployment.state == "ready")
        .order_by(Deployment.version.desc()).limit(1)
    ).first()  # fmt: skip
    if found is None:
        names = sorted(set(session.scalars(select(Deployment.name).where(Deployment.state == "ready"))))
        raise NotFound(f"there is no served model '{name}'; served are: {', '.join(names) or 'none yet'}")
    return found
