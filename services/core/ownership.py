"""Whose an object is: what the rows say of a key.

A row names its objects (datasets, models, evaluations, indexes, artifacts) or owns all below its folder (deployments,
checkpoints). What an attempt is still making, and what waits for its removal, is reserved.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Select, null, select
from sqlalchemy.orm import Session

from services.core.lifecycle import TERMINAL, State
from services.core.served_names import triton_name
from services.core.tables import (
    Dataset,
    DatasetFile,
    Deployment,
    Evaluation,
    EvaluationFile,
    IndexFile,
    Job,
    JobArtifact,
    Leftover,
    Model,
    ModelFile,
    SearchIndex,
    UploadSession,
)
from services.core.tables.uploads import LIVE

# below these everything is the platform's own
FOLDERS = frozenset({"datasets", "models", "evaluations", "indexes", "jobs", "triton"})
# prefixes of leftovers have at most so many parts: datasets/<id>/raw
_DEPTH = 3


class Use(StrEnum):
    """Why an object is there."""

    NAMED = "named"  # a row says that it is there, and with which size
    FOLDER = "folder"  # it lies in a folder that a row owns
    UNFINISHED = "unfinished"  # an upload or a job that goes on may have made it a moment ago
    KEPT = "kept"  # a checkpoint of a job that failed or was cancelled
    RESERVED = "reserved"  # an attempt stores it now, or the sweeper removes it soon
    FOREIGN = "foreign"  # not below the platform's folders


@dataclass(frozen=True)
class Owner:
    """The row that an object belongs to; `noun` is dataset, model, evaluation, index, deployment or job.

    `size` in bytes is what the row says of a named one; `ended_at` is when the job of a kept one ended.
    """

    use: Use
    noun: str = ""
    id: str = ""
    size: int | None = None
    ended_at: datetime | None = None


def place_of(key: str) -> str:
    """The folder that is looked at as a whole: `datasets/<id>/`, `jobs/<id>/checkpoints/<step>.<fence>/`,
    `triton/<name>/`; of what is not the platform's, the first part.
    """
    parts = key.split("/")
    depth = {"jobs": 4 if parts[2:3] == ["checkpoints"] else 3}.get(parts[0], 2) if parts[0] in FOLDERS else 1
    folder = parts[: min(depth, len(parts) - 1)]
    return "/".join(folder) + "/" if folder else ""


def owners(session: Session, keys: Sequence[str]) -> dict[str, Owner]:
    """The owner of each key that has one. Nobody's are left out.

    The session has to be a snapshot: what is reserved becomes a row's own in one transaction, and is either here.
    """
    found: dict[str, Owner] = {}
    below: dict[str, dict[str, list[str]]] = {folder: defaultdict(list) for folder in FOLDERS}
    for key in keys:
        parts = key.split("/")
        if parts[0] in FOLDERS and len(parts) > 2:
            below[parts[0]][parts[1]].append(key)
        else:
            found[key] = Owner(Use.FOREIGN)
    _reserved(session, keys, found)
    # what a row owns comes before a reservation: it is written last
    _uploads(session, below["datasets"], found)
    _datasets(session, below["datasets"], found)
    _models(session, below["models"], found)
    _evaluations(session, below["evaluations"], found)
    _indexes(session, below["indexes"], found)
    _deployments(session, below["triton"], found)
    _jobs(session, below["jobs"], found)
    return found


def _reserved(session: Session, keys: Iterable[str], found: dict[str, Owner]) -> None:
    above: dict[str, list[str]] = defaultdict(list)
    for key in keys:
        parts = key.split("/")
        for depth in range(2, min(_DEPTH, len(parts) - 1) + 1):
            above["/".join(parts[:depth]) + "/"].append(key)
    for prefix in session.scalars(select(Leftover.prefix).where(Leftover.prefix.in_(above))):
        found.update(dict.fromkeys(above[prefix], Owner(Use.RESERVED)))


def _uploads(session: Session, below: dict[str, list[str]], found: dict[str, Owner]) -> None:
    """Files that arrive in parts, whether they were announced or not."""
    keys = [key for keys in below.values() for key in keys]
    coming = select(UploadSession.key, UploadSession.dataset_id)
    coming = coming.where(UploadSession.key.in_(keys), UploadSession.state.in_(LIVE))
    for key, dataset_id in session.execute(coming):
        found[key] = Owner(Use.UNFINISHED, "dataset", dataset_id)


def _datasets(session: Session, below: dict[str, list[str]], found: dict[str, Owner]) -> None:
    rows = session.execute(select(Dataset.id, Dataset.prefix, Dataset.state).where(Dataset.id.in_(below)))
    prefixes = {row_id: (prefix, state) for row_id, prefix, state in rows}
    starts = {row_id: f"{prefix}/" for row_id, (prefix, _) in prefixes.items()}
    wanted = {key.removeprefix(starts[row_id]) for row_id in starts for key in below[row_id]}
    named = select(DatasetFile.dataset_id, DatasetFile.path, DatasetFile.size)
    for row_id, path, size in session.execute(
        named.where(DatasetFile.dataset_id.in_(starts), DatasetFile.path.in_(wanted))
    ):
        if prefixes[row_id][1] == "uploading":
            found[starts[row_id] + path] = Owner(Use.UNFINISHED, "dataset", row_id)
        else:
            found[starts[row_id] + path] = Owner(Use.NAMED, "dataset", row_id, size)


def _models(session: Session, below: dict[str, list[str]], found: dict[str, Owner]) -> None:
    starts = {
        row_id: f"{prefix}/"
        for row_id, prefix in session.execute(select(Model.id, Model.prefix).where(Model.id.in_(below)))
    }
    wanted = {key.removeprefix(starts[row_id]) for row_id in starts for key in below[row_id]}
    named = select(ModelFile.model_id, ModelFile.path, ModelFile.size)
    for row_id, path, size in session.execute(named.where(ModelFile.model_id.in_(starts), ModelFile.path.in_(wanted))):
        found[starts[row_id] + path] = Owner(Use.NAMED, "model", row_id, size)


def _evaluations(session: Session, below: dict[str, list[str]], found: dict[str, Owner]) -> None:
    keys = {key for keys in below.values() for key in keys}
    named = NAMED["evaluation"].rows.where(Evaluation.id.in_(below), _EVALUATED.in_(keys))
    for row in session.execute(named):
        found[row.key] = Owner(Use.NAMED, "evaluation", row.owner, row.size)


def _indexes(session: Session, below: dict[str, list[str]], found: dict[str, Owner]) -> None:
    keys = {key for keys in below.values() for key in keys}
    for row in session.execute(NAMED["index"].rows.where(SearchIndex.id.in_(below), _INDEXED.in_(keys))):
        found[row.key] = Owner(Use.NAMED, "index", row.owner, row.size)


def _deployments(session: Session, below: dict[str, list[str]], found: dict[str, Owner]) -> None:
    names = {folder.rpartition(".")[0] for folder in below}
    named = select(Deployment.id, Deployment.name, Deployment.version).where(
        Deployment.name.in_(names), Deployment.version.is_not(None)
    )
    for row_id, name, version in session.execute(named):
        owner = Owner(Use.FOLDER, "deployment", row_id)
        found.update(dict.fromkeys(below.get(triton_name(name, version), ()), owner))


def _jobs(session: Session, below: dict[str, list[str]], found: dict[str, Owner]) -> None:
    jobs = {
        row_id: (State(state), ended_at)
        for row_id, state, ended_at in session.execute(
            select(Job.id, Job.state, Job.finished_at).where(Job.id.in_(below))
        )
    }
    for job_id, (state, ended_at) in jobs.items():
        if state not in TERMINAL:
            found.update(dict.fromkeys(below[job_id], Owner(Use.UNFINISHED, "job", job_id)))
        elif state is not State.SUCCEEDED:
            kept = [key for key in below[job_id] if key.startswith(f"jobs/{job_id}/checkpoints/")]
            found.update(dict.fromkeys(kept, Owner(Use.KEPT, "job", job_id, ended_at=ended_at)))
    keys = {key for job_id in jobs for key in below[job_id]}
    artifacts = select(JobArtifact.job_id, JobArtifact.key, JobArtifact.size)
    for job_id, key, size in session.execute(artifacts.where(JobArtifact.job_id.in_(jobs), JobArtifact.key.in_(keys))):
        found[key] = Owner(Use.NAMED, "job", job_id, size)


@dataclass(frozen=True)
class Named:
    """The objects that rows of one table name: `rows` has the columns owner, key, size, sha256 and place, the last one
    of which is `order`.
    """

    rows: Select[Any]
    owner: Any
    owner_name: Any
    order: Any


def _named(table: Any, file: Any, owner_id: Any, key: Any, sha256: Any, order: Any) -> Named:
    rows = select(
        table.id.label("owner"), key.label("key"), file.size.label("size"), sha256.label("sha256"), order.label("place")
    ).join(table, table.id == owner_id)  # fmt: skip
    return Named(rows, table.id, table.name, order)


_EVALUATED = "evaluations/" + Evaluation.id + "/" + EvaluationFile.path
_INDEXED = "indexes/" + SearchIndex.id + "/" + IndexFile.path
# every object that a row names, by the noun of its owner; uploads that are not complete may lack some
NAMED = {
    "dataset": _named(Dataset, DatasetFile, DatasetFile.dataset_id, Dataset.prefix + "/" + DatasetFile.path,
                      DatasetFile.sha256, DatasetFile.seq),
    "model": _named(Model, ModelFile, ModelFile.model_id, Model.prefix + "/" + ModelFile.path, ModelFile.sha256,
                    ModelFile.seq),
    "evaluation": _named(Evaluation, EvaluationFile, EvaluationFile.evaluation_id, _EVALUATED, EvaluationFile.sha256,
                         EvaluationFile.seq),
    "index": _named(SearchIndex, IndexFile, IndexFile.index_id, _INDEXED, IndexFile.sha256, IndexFile.seq),
    "job": _named(Job, JobArtifact, JobArtifact.job_id, JobArtifact.key, null(), JobArtifact.name),
}  # fmt: skip
NAMED["dataset"] = replace(NAMED["dataset"], rows=NAMED["dataset"].rows.where(Dataset.state != "uploading"))
