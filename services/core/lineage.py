"""What made what: the graph behind a model, down to the hashes of the raw files, and what was made of a file.

Who was made from what is on record in `lineage`, whatever has become of the jobs and of what has been deleted since.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from services.core.scope import Scope
from services.core.tables import Dataset, DatasetFile, Deployment, ErasureMark, Job, Lineage, Model, ModelFile
from services.core.tables.base import Base

# nodes of a graph; a line of 64 stages with their data is far below
MOST = 2000


@dataclass(frozen=True)
class Node:
    """A dataset, model or deployment of a graph; of one that was deleted only its id is known.

    `sha256` is over the sorted paths and hashes of all its files: it names the content. `job` is what made it: kind,
    spec and how often it was tried; `depth` is how many steps it is away from where the graph begins. `erasures` are
    those that have marked it: it holds data that have to go.
    """

    id: str
    noun: str
    depth: int
    name: str | None = None
    what: str | None = None
    modality: str | None = None
    files: int | None = None
    total_bytes: int | None = None
    sha256: str | None = None
    deleted: bool = False
    job: dict[str, Any] | None = None
    erasures: tuple[str, ...] = ()


@dataclass(frozen=True)
class Graph:
    """Nodes, nearest first, and edges from what was made to what it was made from."""

    root: str
    nodes: list[Node] = field(default_factory=list)
    edges: list[tuple[str, str]] = field(default_factory=list)
    complete: bool = True


def ancestry(session: Session, scope: Scope, root: str) -> Graph:
    """Everything that a dataset or model was made from, through all generations."""
    return _graph(session, scope, root, Lineage.child_id, Lineage.input_id)


def progeny(session: Session, scope: Scope, root: str) -> Graph:
    """Everything that was made of a dataset or model, through all generations, and where it is served."""
    return _graph(session, scope, root, Lineage.input_id, Lineage.child_id, served=True)


def _graph(session: Session, scope: Scope, root: str, near: Any, far: Any, served: bool = False) -> Graph:
    depths, edges, front = {root: 0}, list[tuple[str, str]](), [root]
    complete = True
    while front:
        rows = session.execute(select(near, far).where(near.in_(front)).order_by(near, far)).all()
        front = []
        for here, there in rows:
            edges.append((here, there) if near is Lineage.child_id else (there, here))
            if there in depths:
                continue
            if len(depths) >= MOST:
                complete = False
                continue
            depths[there] = depths[here] + 1
            front.append(there)
    nodes = _nodes(session, scope, depths)
    if served:
        models = {node.id: node.depth for node in nodes if node.noun == "model"}
        for row in session.scalars(select(Deployment).where(Deployment.model_id.in_(models)).order_by(Deployment.id)):
            if scope.sees(row.project_id):
                about = f"{row.name}, version {row.version}, {row.state}"
                nodes.append(Node(row.id, "deployment", models[row.model_id] + 1, row.name, about))
                edges.append((row.id, row.model_id))
    marks = marks_of(session, [node.id for node in nodes])
    nodes = [replace(node, erasures=tuple(marks.get(node.id, ()))) for node in nodes]
    return Graph(root, sorted(nodes, key=lambda node: (node.depth, node.id)), edges, complete)


def marks_of(session: Session, ids: Iterable[str]) -> dict[str, list[str]]:
    """The erasures that have marked each of these, the first one first; nothing of what is not marked."""
    found: dict[str, list[str]] = {}
    marked = select(ErasureMark.object_id, ErasureMark.erasure_id).where(ErasureMark.object_id.in_(list(ids)))
    for object_id, erasure_id in session.execute(marked.order_by(ErasureMark.erasure_id)):
        found.setdefault(object_id, []).append(erasure_id)
    return found


def _nodes(session: Session, scope: Scope, depths: dict[str, int]) -> list[Node]:
    datasets = {row.id: row for row in _rows(session, Dataset, depths) if scope.sees(row.project_id)}
    models = {row.id: row for row in _rows(session, Model, depths) if scope.sees(row.project_id)}
    jobs = _jobs(session, [row.job_id for row in (*datasets.values(), *models.values()) if row.job_id])
    hashes = content_hashes(session, DatasetFile, DatasetFile.dataset_id, datasets)
    hashes |= content_hashes(session, ModelFile, ModelFile.model_id, models)
    nodes = []
    for row_id, depth in depths.items():
        if row_id in datasets:
            dataset = datasets[row_id]
            nodes.append(
                Node(row_id, "dataset", depth, dataset.name, dataset.role, dataset.modality, dataset.file_count,
                     dataset.total_bytes, hashes.get(row_id), job=jobs.get(dataset.job_id or ""))
            )  # fmt: skip
        elif row_id in models:
            model = models[row_id]
            nodes.append(
                Node(row_id, "model", depth, model.name, f"{model.task}, stage {model.info.get('stage')}",
                     model.modality, sha256=hashes.get(row_id), job=jobs.get(model.job_id or ""))
            )  # fmt: skip
        else:
            nodes.append(Node(row_id, "model" if row_id.startswith("mdl_") else "dataset", depth, deleted=True))
    return nodes


def _rows(session: Session, table: type[Any], ids: Iterable[str]) -> Sequence[Any]:
    return session.scalars(select(table).where(table.id.in_(list(ids)))).all()


def _jobs(session: Session, ids: Iterable[str]) -> dict[str, dict[str, Any]]:
    rows = session.scalars(select(Job).where(Job.id.in_(list(ids))))
    return {
        row.id: {"id": row.id, "kind": row.kind, "spec": row.spec, "created_by": row.created_by,
                 "finished_at": row.finished_at.isoformat() if row.finished_at else None, "attempts": row.attempt}
        for row in rows
    }  # fmt: skip


def content_hashes(session: Session, table: type[Base], owner: Any, ids: Iterable[str]) -> dict[str, str]:
    """A SHA-256 over the sorted paths and hashes of the files of each dataset or model that has any."""
    columns: Any = table
    asked = select(owner, columns.path, columns.sha256).where(owner.in_(list(ids))).order_by(owner, columns.path)
    digests: dict[str, Any] = {}
    for row_id, path, sha256 in session.execute(asked):
        digests.setdefault(row_id, hashlib.sha256()).update(f"{path}\0{sha256}\n".encode())
    return {row_id: digest.hexdigest() for row_id, digest in digests.items()}


def raw_files(session: Session, dataset_ids: Sequence[str], most: int) -> dict[str, list[dict[str, Any]]]:
    """The first `most` files of each raw dataset, with their hashes."""
    found = {}
    for dataset_id in dataset_ids:
        mine = select(DatasetFile).where(DatasetFile.dataset_id == dataset_id).order_by(DatasetFile.seq).limit(most)
        found[dataset_id] = [{"path": f.path, "size": f.size, "sha256": f.sha256} for f in session.scalars(mine)]
    return found


def holding(session: Session, scope: Scope, sha256: str) -> list[Dataset]:
    """Raw datasets with a file of this content."""
    mine = scope.select(Dataset).join(DatasetFile, DatasetFile.dataset_id == Dataset.id)
    mine = mine.where(DatasetFile.sha256 == sha256, Dataset.role == "raw")
    return [*session.scalars(mine.distinct().order_by(Dataset.id))]
