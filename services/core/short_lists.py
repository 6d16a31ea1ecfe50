"""What the lists of one record, of workers and of the garbage collector's runs are filtered and sorted by.

The other lists are in `services.core.lists`; tests hold these against their indexes, too.
"""

from typing import Annotated, Any, Literal

from pydantic import Field
from sqlalchemy import Select, or_, select

from services.core.garbage.verdicts import Verdict
from services.core.listing import Filter, Listing, Sort, Way
from services.core.lists import LISTINGS, Id, Moment, Name, created
from services.core.tables import (
    DatasetFile,
    Delivery,
    Erasure,
    ErasureMark,
    EvaluationFile,
    GcFinding,
    GcRun,
    IndexFile,
    JobArtifact,
    ModelFile,
    Promotion,
    UploadSession,
    Worker,
)
from services.core.tables.base import now
from services.core.workers import SILENT, WorkerState

_BEGINS = "whose path begins so, e.g. with a folder; sorted by path"
Path = Annotated[str, Field(min_length=1, max_length=1024)]

ARTIFACTS: Listing[JobArtifact] = Listing(
    "jobs/artifacts", JobArtifact, JobArtifact.name, None,
    filters=(
        Filter("name", "whose name begins so, e.g. with a folder; sorted by name", JobArtifact.name, "start", Path),
        Filter("content_type", "of one of these media types; sorted by name", JobArtifact.content_type, type=Name),
    ),
    sorts=(Sort("name", JobArtifact.name), Sort("size", JobArtifact.size)),
    ways=(Way(("content_type",), ("name",)), Way((), ("name", "size"))),
    first="name", within=(JobArtifact.job_id,),
)  # fmt: skip


def _files(name: str, table: Any, owner: Any) -> Listing[Any]:
    return Listing(
        name, table, table.seq, None,
        filters=(Filter("path", _BEGINS, table.path, "start", Path),),
        sorts=(Sort("position", table.seq), Sort("path", table.path, unique=True), Sort("size", table.size)),
        ways=(Way((), ("position", "path", "size")),),
        first="position", within=(owner,),
    )  # fmt: skip


DATASET_FILES: Listing[DatasetFile] = _files("datasets/files", DatasetFile, DatasetFile.dataset_id)
MODEL_FILES: Listing[ModelFile] = _files("models/files", ModelFile, ModelFile.model_id)
EVALUATION_FILES: Listing[EvaluationFile] = _files("evaluations/files", EvaluationFile, EvaluationFile.evaluation_id)
INDEX_FILES: Listing[IndexFile] = _files("indexes/files", IndexFile, IndexFile.index_id)


def _in_state(state: str) -> Select[Any]:
    """Workers in a state now, also before the sweeper has noticed that one is gone."""
    silent = Worker.seen_at < now() - SILENT
    found = select(Worker.name)
    if state == WorkerState.GONE:
        return found.where(or_(Worker.state == state, silent))
    return found.where(Worker.state == state, ~silent)


WORKERS: Listing[Worker] = Listing(
    "workers", Worker, Worker.name, None,
    filters=(
        Filter("state", "in one of these states", None, "any", WorkerState, ids=_in_state),
        Filter("host", "on one of these machines", Worker.host, type=Annotated[str, Field(max_length=255)]),
    ),
    sorts=(Sort("name", Worker.name), Sort("started_at", Worker.started_at), Sort("seen_at", Worker.seen_at)),
    # those of the last days, so they are few
    ways=(Way(("host",), ("name",), ("state",)), Way((), ("name", "started_at", "seen_at"), ("state", "host"))),
    first="name",
)  # fmt: skip

_OF_DELIVERIES = ("state", "event", "created_after", "created_before")
DELIVERIES: Listing[Delivery] = Listing(
    "webhooks/deliveries", Delivery, Delivery.seq, None,
    filters=(
        Filter("state", "in one of these states", Delivery.state, type=Literal["pending", "delivered", "failed"]),
        Filter("event", "that tell of one of these", Delivery.topic, type=Id),
        *created(Delivery.created_at),
    ),
    sorts=(Sort("created_at", Delivery.created_at),),
    ways=(
        *(Way((name,), ("created_at",), _OF_DELIVERIES) for name in ("state", "event")),
        Way((), ("created_at",), _OF_DELIVERIES),
    ),
    within=(Delivery.webhook_id,),
)  # fmt: skip

_OF_ERASURES = ("object", "created_after", "created_before")
ERASURES: Listing[Erasure] = Listing(
    "erasures", Erasure, Erasure.id, Erasure.project_id,
    filters=(
        Filter("object", "that have marked one of these datasets, models and deployments", None, "any", Id,
               ids=lambda value: select(ErasureMark.erasure_id).where(ErasureMark.object_id == value)),
        *created(Erasure.created_at),
    ),
    sorts=(Sort("created_at", Erasure.created_at),),
    ways=(Way((), ("created_at",), _OF_ERASURES),),
)  # fmt: skip

_SHOWN = ("open", "completing", "completed")
UPLOADS: Listing[UploadSession] = Listing(
    "datasets/uploads", UploadSession, UploadSession.id, None,
    filters=(
        # what was aborted is on no list
        Filter("state", "in one of these states", UploadSession.state, type=Literal["open", "completing", "completed"],
               values=_SHOWN),
        Filter("path", _BEGINS, UploadSession.path, "start", Path),
        *created(UploadSession.created_at),
    ),
    sorts=(Sort("created_at", UploadSession.created_at), Sort("path", UploadSession.path)),
    ways=(Way(("state",), ("created_at", "path")),),
    first="created_at", within=(UploadSession.dataset_id,),
)  # fmt: skip

_OF_RUNS = ("state", "dry_run", "created_after", "created_before")
GC_RUNS: Listing[GcRun] = Listing(
    "gc", GcRun, GcRun.id, None,
    filters=(
        Filter("state", "in one of these states", GcRun.state,
               type=Literal["queued", "running", "succeeded", "failed", "cancelled"]),
        Filter("dry_run", "that removed nothing, or did", GcRun.dry_run, type=bool),
        *created(GcRun.created_at),
    ),
    sorts=(Sort("created_at", GcRun.created_at),),
    ways=(
        *(Way((name,), ("created_at",), _OF_RUNS) for name in ("state", "dry_run")),
        Way((), ("created_at",), _OF_RUNS),
    ),
)  # fmt: skip

_OF_FINDINGS = ("kind", "owner")
FINDINGS: Listing[GcFinding] = Listing(
    "gc/findings", GcFinding, GcFinding.seq, None,
    filters=(
        Filter("kind", "of one of these kinds", GcFinding.kind, type=Verdict),
        Filter("owner", "of one of these datasets, models, deployments or jobs", GcFinding.owner, type=Id),
    ),
    sorts=(Sort("seq", GcFinding.seq), Sort("objects", GcFinding.objects), Sort("bytes", GcFinding.bytes)),
    ways=(
        *(Way((name,), ("seq",), _OF_FINDINGS) for name in _OF_FINDINGS),
        Way((), ("seq", "objects", "bytes"), _OF_FINDINGS),
    ),
    first="seq", within=(GcFinding.run_id,),
)  # fmt: skip

_OF_MOVES = ("action", "actor", "to_id", "since", "until")
HISTORY: Listing[Promotion] = Listing(
    "aliases/history", Promotion, Promotion.seq, None,
    filters=(
        Filter("action", "that were one of these", Promotion.action,
               type=Literal["promoted", "rolled_back", "removed"]),
        Filter("actor", "by one of these owners", Promotion.actor, type=Name),
        Filter("to_id", "to one of these models", Promotion.to_id, type=Id),
        Filter("since", "from this moment on", Promotion.at, "from", Moment),
        Filter("until", "before this moment", Promotion.at, "before", Moment),
    ),
    sorts=(Sort("at", Promotion.at),),
    ways=(
        *(Way((name,), ("at",), _OF_MOVES) for name in ("action", "actor", "to_id")), Way((), ("at",), _OF_MOVES),
    ),
    first="-at", within=(Promotion.project_id, Promotion.alias),
)  # fmt: skip
SHORT: tuple[Listing[Any], ...] = (
    ARTIFACTS, DATASET_FILES, MODEL_FILES, EVALUATION_FILES, INDEX_FILES, WORKERS, DELIVERIES, UPLOADS, GC_RUNS,
    FINDINGS, HISTORY, ERASURES,
)  # fmt: skip
EVERY: tuple[Listing[Any], ...] = (*LISTINGS, *SHORT)
