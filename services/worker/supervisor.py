"""Takes queued jobs and runs their attempts, one after another in each thread that asks for it."""

import os
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from medcoss.specs import EVERY_KIND, ExportSpec, fit_export
from medcoss.specs.records import ModelInfo
from services.core import attempts, checkpoints, deployments, evaluations, indexes, leftovers, registry, shares, tracing
from services.core.attempts import Claim
from services.core.db import Database
from services.core.ids import new_id
from services.core.scope import Scope
from services.core.settings import Settings
from services.core.specs import references
from services.core.storage import ObjectStore
from services.core.tables import Dataset, Job, JobArtifact, Model, Project
from services.worker import metrics
from services.worker.attempt import Attempt
from services.worker.machines.cluster import Cluster
from services.worker.machines.crew import Crew
from services.worker.offer import offer
from services.worker.protocol import ChildJob, InputRecord, ShareRecord
from services.worker.room import Room
from services.worker.team import Processes
from services.worker.workdir import WorkFolder

_log = structlog.get_logger()
_PLACES = {"dataset": ("ds", "datasets"), "model": ("mdl", "models"), "index": ("ixv", "indexes")}
# a dataset that is larger is not fetched for a few golden inputs, unless the spec names it
GOLDEN_BYTES = 4 * 2**30
# kinds whose attempts may score a model
_SCORING = frozenset({"evaluate", "finetune", "finetune_run", "forgetting"})


class Supervisor:
    """Runs attempts; `shutting_down` makes the present one checkpoint and go back to the queue."""

    def __init__(self, settings: Settings, shutting_down: threading.Event) -> None:
        self.settings, self.shutting_down = settings, shutting_down
        self.database = Database(settings.database_url)
        self.offer = offer(settings)
        self.room = Room(self.offer)
        self.running: set[str] = set()
        # what runs has changed since somebody cleared it
        self.news = threading.Event()
        # where it has jobs run on several machines
        self.cluster = Cluster(settings) if settings.machines is not None else None
        self.worker = f"{socket.gethostname()}:{os.getpid()}"

    def run_next(self) -> str | None:
        """Claim the job that is to run next and run one attempt; its id, or None when nothing is queued."""
        began = time.monotonic()
        with self.room.lock:
            with self.database.session() as session:
                claim = attempts.claim_next(
                    session, self.worker, self.settings.lease_s, self.room.free(), self.settings.quota_running
                )
            if claim is not None:
                self.room.take(claim)
        if claim is None:
            return None
        names: dict[str, Any] = {"job_id": claim.job_id, "attempt": claim.attempt}
        with (
            tracing.trace(f"attempt {claim.kind}", claim.trace, "consumer", **names) as span,
            structlog.contextvars.bound_contextvars(**names),
            metrics.attempt(claim.kind) as states,
        ):
            tracing.past("claim", time.monotonic() - began, worker=self.worker)
            _log.info("attempt_started", kind=claim.kind, gpus=claim.gpus)
            self.running.add(claim.job_id)
            self.news.set()
            try:
                attempt = Attempt(
                    self.settings, self.database, claim, self.shutting_down, child_job, self._gather(claim)
                )
                state = attempt.run()
            finally:
                self.room.give_back(claim)
                self.running.discard(claim.job_id)
                self.news.set()
            _log.info("attempt_ended", state=state)
            states.append(state)
            span.note(state=state or "lost")
        return claim.job_id

    def _gather(self, claim: Claim) -> Callable[[ChildJob, WorkFolder], Processes] | None:
        """What starts the processes of a claim on several machines; None for one that runs on this."""
        if (cluster := self.cluster) is None:
            return None
        return lambda job, _: Crew(job, self.settings, claim, cluster, ObjectStore(self.settings))


def child_job(session: Session, claim: Claim, folder: WorkFolder) -> ChildJob:
    """The attempt with the records that its spec refers to, and a place for what it makes.

    Raises NotFound when a record is not there any more, Conflict when a served name has gone to another project.
    """
    # an attempt gets nothing of another project, whatever its spec names
    scope, inputs = Scope.of(claim.project_id), dict[str, InputRecord]()
    for reference in references(claim.kind, claim.spec):
        found = (
            registry.get_dataset(session, scope, reference.id)
            if reference.resource == "dataset"
            else registry.get_model(session, scope, reference.id)
        )
        inputs[reference.id] = _input(found)
    golden = _golden(session, claim, inputs) if claim.kind == "export" else ""
    output_id, version = _reserve_place(session, claim)
    evaluation_id = _reserve_evaluation(session, claim) if claim.kind in _SCORING else ""
    return ChildJob(
        job_id=claim.job_id, kind=claim.kind, name=claim.name, spec=claim.spec, attempt=claim.attempt,
        fence=claim.fence, inputs=inputs, output_id=output_id, version=version, evaluation_id=evaluation_id,
        work=str(folder.path), before=checkpoints.before(session, claim.job_id),
        parent_id=claim.parent_id or "", patient_salt=session.get_one(Project, claim.project_id).patient_salt,
        shares=_shares(session, claim) if shares.only_adds_up(claim.kind) else [], golden=golden,
    )  # fmt: skip


def _golden(session: Session, claim: Claim, inputs: dict[str, InputRecord]) -> str:
    """The dataset that an export takes golden inputs from: the one that its spec names, or else the newest small one
    that the model was made from and that is of the modality; it joins the inputs. Empty when there is none.
    """
    spec = ExportSpec.model_validate(claim.spec)
    if spec.golden is not None:
        return spec.golden
    scope = Scope.of(claim.project_id)
    model = registry.get_model(session, scope, spec.model)
    modality = fit_export.served_modality(spec, ModelInfo.model_validate(model.info))
    made_of = registry.origins(session, model.id) | ({model.dataset_id} if model.dataset_id else set())
    fitting = scope.select(Dataset).where(
        Dataset.id.in_(made_of), Dataset.role == "prepared", Dataset.state == "ready", Dataset.modality == modality,
        Dataset.total_bytes <= GOLDEN_BYTES,
    )  # fmt: skip
    found = session.scalars(fitting.order_by(Dataset.created_at.desc())).first()
    if found is None:
        return ""
    inputs[found.id] = _input(found)
    return found.id


def _input(row: Dataset | Model) -> InputRecord:
    return InputRecord(name=row.name, modality=row.modality, prefix=row.prefix, files=registry.entries(row.files))


def _reserve_evaluation(session: Session, claim: Claim) -> str:
    """Identifier of the evaluation that an attempt may make, besides what its kind produces."""
    evaluation_id = new_id("evl")
    leftovers.reserve(session, f"{evaluations.folder_of(evaluation_id)}/", claim.job_id, claim.fence)
    return evaluation_id


def _shares(session: Session, claim: Claim) -> list[ShareRecord]:
    """What the child jobs of a job have reached; none of one that does all itself."""
    rows = session.execute(select(Job.id, Job.spec, Job.result).where(Job.parent_id == claim.job_id)).all()
    kept: dict[str, dict[str, str]] = {job_id: {} for job_id, _, _ in rows}
    of = select(JobArtifact.job_id, JobArtifact.name, JobArtifact.key).where(JobArtifact.job_id.in_(kept))
    for job_id, name, key in session.execute(of):
        kept[job_id][name] = key
    models = session.execute(select(Model.job_id, Model.info).where(Model.job_id.in_(kept)))
    sizes = {job_id: info["size"] for job_id, info in models}
    return [
        ShareRecord(job_id=i, size=sizes.get(i, ""), spec=spec, result=result or {}, artifacts=kept[i])
        for i, spec, result in rows
    ]


def _reserve_place(session: Session, claim: Claim) -> tuple[str, int]:
    """Identifier of what the attempt makes, and its version if it is a deployment; the place in the object
    store is reserved. Empty and 0 for kinds that make nothing of their own. Raises Conflict when a served name has
    gone to another project since the job was submitted.
    """
    resource = EVERY_KIND[claim.kind].produces
    if resource == "deployment":
        return deployments.attempted(session, claim.job_id, claim.fence)
    if resource not in _PLACES:
        return "", 0
    id_prefix, folder = _PLACES[resource]
    output_id = new_id(id_prefix)
    if resource == "index":
        # a version of an index that is there already
        folder = indexes.folder_of(claim.spec["index"])
    leftovers.reserve(session, f"{folder}/{output_id}/", claim.job_id, claim.fence)
    return output_id, 0
