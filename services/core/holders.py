"""Who holds the data of a patient or of a file: datasets, buffers, the models trained on them, what serves those.

Prepared datasets and buffers keep the keyed hashes of their patients in a small file beside the shards; raw files are
known by their hashes. Models are found by what they were trained on, through all stages.
"""

import gzip
import hashlib
import hmac
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from sqlalchemy import select
from sqlalchemy.orm import Session

from medcoss.specs.records import PATIENTS
from services.core.lineage import holding, progeny
from services.core.scope import Scope
from services.core.storage import ObjectStore
from services.core.tables import Dataset, DatasetFile, Deployment, Lineage, Model, Project


@dataclass(frozen=True)
class Holders:
    """Ids of what holds the data. `datasets` tell in which splits; of `unknown` datasets, made by earlier versions or
    without patients, nobody can say, nor of the models trained on them.
    """

    datasets: dict[str, list[str]] = field(default_factory=dict)
    models: list[str] = field(default_factory=list)
    deployments: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)


def key_of(session: Session, project_id: str, cohort: str, patient: str) -> str:
    """The hash that stands for a patient in a project's datasets, by the identifier and the cohort that it is of."""
    salt = session.get_one(Project, project_id).patient_salt
    return hmac.new(salt.encode(), f"{cohort} {patient}".encode(), hashlib.sha256).hexdigest()[:32]


def lists_of_patients(session: Session, scope: Scope) -> dict[str, str | None]:
    """Where each prepared dataset and buffer has its list of patients in the object store; None without one."""
    made = scope.select(Dataset).where(Dataset.role.in_(("prepared", "buffer")), Dataset.state == "ready")
    indexed = {*session.scalars(select(DatasetFile.dataset_id).where(DatasetFile.path == PATIENTS))}
    return {
        row.id: f"{row.prefix}/{PATIENTS}" if row.id in indexed else None
        for row in session.scalars(made.order_by(Dataset.id))
    }


def holding_patient(store: ObjectStore, lists: Mapping[str, str | None], key: str) -> Holders:
    """Datasets that hold the data of the patient with this keyed hash; reads each list, so outside of transactions."""
    held, unknown = dict[str, list[str]](), list[str]()
    for dataset_id, where in lists.items():
        try:
            splits = json.loads(gzip.decompress(store.get_bytes(where))) if where else {}
        except FileNotFoundError:
            # deleted meanwhile
            continue
        found = [split for split, patients in splits.items() if key in patients]
        if found:
            held[dataset_id] = found
        elif not any(splits.values()):
            unknown.append(dataset_id)
    return Holders(held, unknown=unknown)


def trained_on(session: Session, scope: Scope, found: Holders) -> Holders:
    """Add the models that were trained on the datasets, not those that were only measured on them."""
    learnt = [dataset_id for dataset_id, splits in found.datasets.items() if "train" in splits]
    return _with_models(session, scope, found, learnt)


def of_file(session: Session, scope: Scope, sha256: str) -> Holders:
    """Who holds what was made of raw files with this content, which may be less than all of the file."""
    held = {row.id: ["raw"] for row in holding(session, scope, sha256)}
    for raw in list(held):
        for node in progeny(session, scope, raw).nodes:
            if node.noun == "dataset" and not node.deleted:
                held.setdefault(node.id, ["made from it"])
    return _with_models(session, scope, Holders(held), held)


def _with_models(session: Session, scope: Scope, found: Holders, learnt: Iterable[str]) -> Holders:
    """Add the models that were trained on the datasets, all that go on from those, and where they are served."""
    seen, front = set[str](), list(learnt)
    while front:
        made = select(Model.id).join(Lineage, Lineage.child_id == Model.id).where(Lineage.input_id.in_(front))
        front = [one for one in session.scalars(made.where(scope.among(Model.project_id))) if one not in seen]
        seen.update(front)
    served = scope.select(Deployment).where(Deployment.model_id.in_(seen)).with_only_columns(Deployment.id)
    return Holders(found.datasets, sorted(seen), sorted(session.scalars(served)), found.unknown)
