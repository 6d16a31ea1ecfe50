"""What each list of the platform is filtered and sorted by.

A new filter or order is a line here and an index in `services.core.tables`; tests compare the two.
"""

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field
from sqlalchemy import and_, select
from sqlalchemy.orm import aliased

from medcoss.modalities import BUILTIN, ModalityName, get_modality
from medcoss.specs import EVERY_KIND
from services.core.labels import tag_of
from services.core.lifecycle import TERMINAL, State
from services.core.listing import Filter, Listing, Sort, Via, Way
from services.core.pipelines import states
from services.core.tables import (
    Alias,
    ApiKey,
    AuditEntry,
    Dataset,
    DatasetTag,
    Deployment,
    Evaluation,
    Job,
    JobDependency,
    JobInput,
    JobTag,
    Lineage,
    Model,
    ModelMetric,
    ModelTag,
    Pipeline,
    Project,
    SearchIndex,
    Webhook,
)

_METRIC = re.compile(r"([^<>=\s]{1,100})(>=|<=|>|<)([-+0-9.eE]{1,32})")
_NUMBER = re.compile(r"[-+0-9.eE_\s]+")
Name = Annotated[str, Field(min_length=1, max_length=128)]
Id = Annotated[str, Field(min_length=1, max_length=64)]
Tag = Annotated[str, Field(min_length=1, max_length=64), AfterValidator(tag_of)]


def _is_written_out(value: Any) -> Any:
    if isinstance(value, int | float) or (isinstance(value, str) and _NUMBER.fullmatch(value)):
        raise ValueError("expected a moment with its time zone, e.g. 2026-03-02T08:30:00Z")
    return value


# pydantic would also take seconds since 1970, which OpenAPI does not tell of
Moment = Annotated[AwareDatetime, BeforeValidator(_is_written_out)]


def _is_modality(name: str) -> str:
    """A built-in modality, or the name of one that datasets may declare; a built-in one that is misspelt is refused."""
    for known in BUILTIN:
        if len(name) == len(known) > 3 and sum(a != b for a, b in zip(name, known, strict=True)) == 1:
            get_modality(name)
    return name


Modality = Annotated[ModalityName, AfterValidator(_is_modality)]


def _is_metric(text: str) -> str:
    if comparison(text) is None:
        raise ValueError("expected a name, one of >= <= > <, and a number, e.g. auc>=0.8")
    return text


Metric = Annotated[str, Field(max_length=160), AfterValidator(_is_metric)]


def comparison(text: str) -> tuple[str, str, float] | None:
    """Name, sign and number of a condition on a metric."""
    found = _METRIC.fullmatch(text)
    try:
        return (found[1], found[2], float(found[3])) if found else None
    except ValueError:
        return None


def created(column: Any) -> tuple[Filter, Filter]:
    """The filters by when something was made."""
    return (
        Filter("created_after", "made at this moment or later", column, "from", Moment),
        Filter("created_before", "made before this moment", column, "before", Moment),
    )


def _name(column: Any) -> Filter:
    return Filter("name", "whose name begins so, in upper or lower case; sorted by name", column, "prefix", Name)


def _tag(tags: Any) -> Filter:
    return Filter(
        "tag", "with this tag; of several, with all", None, "member", Tag,
        ids=lambda value: select(tags.item_id).where(tags.tag == value),
    )  # fmt: skip


def _by_tag(tags: Any) -> Any:
    return lambda value: Via(tags.item_id, tags.project_id, tags.created_at, tags.tag == value)


_OVER, _OPEN = tuple(sorted(TERMINAL)), tuple(state for state in State if state not in TERMINAL)
_ENDED = "of jobs that have ended; sorted by finished_at"
JOBS: Listing[Job] = Listing(
    "jobs", Job, Job.id, Job.project_id,
    filters=(
        Filter("state", "in one of these states", Job.state, type=State, values=tuple(State)),
        Filter("kind", "of one of these kinds", Job.kind, type=Annotated[str, Field(max_length=32)],
               values=tuple(EVERY_KIND)),
        Filter("created_by", "submitted by one of these owners", Job.created_by, type=Name),
        _name(Job.name_key),
        _tag(JobTag),
        Filter("depends_on", "that wait or waited for this job", None, "member", Id,
               ids=lambda value: select(JobDependency.job_id).where(JobDependency.needs_id == value)),
        Filter("parent", "child jobs of this job", None, "member", Id,
               ids=lambda value: select(Job.id).where(Job.parent_id == value)),
        Filter("input", "whose spec names this dataset or model", None, "member", Id,
               ids=lambda value: select(JobInput.job_id).where(JobInput.input_id == value)),
        *created(Job.created_at),
        Filter("finished_after", f"ended at this moment or later, {_ENDED}", Job.finished_at, "from", Moment),
        Filter("finished_before", f"ended before this moment, {_ENDED}", Job.finished_at, "before", Moment),
    ),
    sorts=(
        Sort("created_at", Job.created_at), Sort("name", Job.name_key),
        Sort("priority", Job.priority, among={"state": _OPEN}),
        Sort("finished_at", Job.finished_at, some=True, among={"state": _OVER}),
        Sort("ran_s", Job.ran_s, among={"state": _OVER}),
    ),
    ways=(
        Way((), ("created_at", "name")),
        Way(("state",), ("created_at", "name", "priority", "finished_at", "ran_s")),
        Way(("kind", "state"), ("created_at",)),
        Way(("created_by", "state"), ("created_at",), ("kind",)),
        # what has one tag, one parent or one input is few
        Way((), ("created_at",), ("state", "kind", "created_by", "depends_on", "parent", "input"), via="tag"),
        Way((), ("created_at",), ("state", "kind", "created_by", "depends_on", "parent", "input")),
    ),
    vias={"tag": _by_tag(JobTag)},
)  # fmt: skip

# hundreds and thousands of them, not hundreds of thousands: filters may be combined
_OF_DATASETS = ("role", "state", "modality", "job_id", "tag", "name", "created_after", "created_before")
DATASETS: Listing[Dataset] = Listing(
    "datasets", Dataset, Dataset.id, Dataset.project_id,
    filters=(
        Filter("role", "of one of these roles", Dataset.role, type=Literal["raw", "prepared", "buffer"]),
        Filter("state", "in one of these states", Dataset.state, type=Id),
        Filter("modality", "of one of these modalities", Dataset.modality, type=Modality),
        Filter("job_id", "made by one of these jobs", Dataset.job_id, type=Id),
        _name(Dataset.name_key),
        _tag(DatasetTag),
        *created(Dataset.created_at),
    ),
    sorts=(
        Sort("created_at", Dataset.created_at), Sort("name", Dataset.name_key),
        Sort("total_bytes", Dataset.total_bytes),
    ),
    ways=(
        *(Way((name,), ("created_at",), _OF_DATASETS) for name in ("job_id", "modality", "role", "state")),
        Way((), ("created_at",), _OF_DATASETS, via="tag"),
        Way((), ("created_at", "name", "total_bytes"), _OF_DATASETS),
    ),
    vias={"tag": _by_tag(DatasetTag)},
)  # fmt: skip


def _metric_sort(name: str) -> Via | None:
    metric = name.removeprefix("metric.")
    if metric == name or not metric:
        return None
    return Via(ModelMetric.model_id, ModelMetric.project_id, ModelMetric.value, ModelMetric.name == metric[:128])


def _by_metric(text: str) -> Any:
    found = comparison(text)
    assert found is not None, "checked when it was read"
    name, sign, number = found
    value = ModelMetric.value
    condition = {">=": value >= number, "<=": value <= number, ">": value > number, "<": value < number}[sign]
    return select(ModelMetric.model_id).where(ModelMetric.name == name, condition)


_OF_MODELS = ("task", "modality", "job_id", "dataset_id", "tag", "name", "metric", "created_after", "created_before")
MODELS: Listing[Model] = Listing(
    "models", Model, Model.id, Model.project_id,
    filters=(
        Filter("task", "of one of these tasks", Model.task, type=Literal["encoder", "classification", "segmentation"]),
        Filter("modality", "whose last stage or fine-tuning was on one of these", Model.modality,
               type=Modality),
        Filter("job_id", "made by one of these jobs", Model.job_id, type=Id),
        Filter("dataset_id", "trained on one of these datasets", Model.dataset_id, type=Id),
        _name(Model.name_key),
        _tag(ModelTag),
        Filter("metric", "whose final number is so, e.g. auc>=0.8; of several, all", None, "member", Metric,
               ids=_by_metric),
        *created(Model.created_at),
    ),
    sorts=(Sort("created_at", Model.created_at), Sort("name", Model.name_key)),
    ways=(
        *(Way((name,), ("created_at",), _OF_MODELS) for name in ("job_id", "dataset_id", "modality", "task")),
        Way((), ("created_at",), _OF_MODELS, via="tag"),
        Way((), ("extra",), _OF_MODELS, via="extra"),
        Way((), ("created_at", "name"), _OF_MODELS),
    ),
    vias={"tag": _by_tag(ModelTag)},
    extra_sort=_metric_sort,
)  # fmt: skip

_FOLLOWING = aliased(Model)
_OF_LINES = ("modality", "name", "created_after", "created_before")
# each by its newest stage: an encoder that no other one goes on from
LINES: Listing[Model] = Listing(
    "lines", Model, Model.id, Model.project_id,
    filters=(
        Filter("modality", "whose newest stage has learnt one of these", Model.modality, type=Modality),
        _name(Model.name_key),
        *created(Model.created_at),
    ),
    sorts=(Sort("created_at", Model.created_at), Sort("name", Model.name_key)),
    ways=(
        Way(("modality",), ("created_at",), _OF_LINES),
        Way((), ("created_at", "name"), _OF_LINES),
    ),
    only=and_(
        Model.task == "encoder",
        ~select(Lineage.child_id).join(_FOLLOWING, _FOLLOWING.id == Lineage.child_id)
        .where(Lineage.input_id == Model.id, _FOLLOWING.task == "encoder").exists(),
    ),
)  # fmt: skip

_OF_DEPLOYMENTS = ("name", "state", "model_id", "job_id", "created_after", "created_before")
DEPLOYMENTS: Listing[Deployment] = Listing(
    "deployments", Deployment, Deployment.id, Deployment.project_id,
    filters=(
        Filter("name", "versions of one of these served names", Deployment.name, type=Id),
        Filter("state", "in one of these states", Deployment.state, type=Literal["loading", "ready", "failed"]),
        Filter("model_id", "of one of these models", Deployment.model_id, type=Id),
        Filter("job_id", "made by one of these jobs", Deployment.job_id, type=Id),
        *created(Deployment.created_at),
    ),
    sorts=(Sort("created_at", Deployment.created_at), Sort("name", Deployment.name)),
    ways=(
        *(Way((name,), ("created_at",), _OF_DEPLOYMENTS) for name in ("model_id", "job_id", "state")),
        Way((), ("created_at", "name"), _OF_DEPLOYMENTS),
    ),
)  # fmt: skip

_OF_EVALUATIONS = ("dataset", "model", "encoder", "task", "split", "job", "created_after", "created_before")
EVALUATIONS: Listing[Evaluation] = Listing(
    "evaluations", Evaluation, Evaluation.id, Evaluation.project_id,
    filters=(
        Filter("dataset", "on one of these datasets", Evaluation.dataset_id, type=Id),
        Filter("model", "of one of these models", Evaluation.model_id, type=Id),
        Filter("encoder", "of models that were fine-tuned from one of these", Evaluation.encoder_id, type=Id),
        Filter("task", "of one of these tasks", Evaluation.task,
               type=Literal["classification", "segmentation", "forgetting"]),
        Filter("split", "on one of these splits", Evaluation.split, type=Literal["train", "val", "test", "held_out"]),
        Filter("job", "made by one of these jobs", Evaluation.job_id, type=Id),
        *created(Evaluation.created_at),
    ),
    sorts=(Sort("created_at", Evaluation.created_at), Sort("score", Evaluation.score)),
    ways=(
        *(Way((name,), ("created_at",), _OF_EVALUATIONS) for name in _OF_EVALUATIONS[:6]),
        Way((), ("created_at", "score"), _OF_EVALUATIONS),
    ),
)  # fmt: skip

_OF_PIPELINES = ("state", "created_by", "rerun_of", "name", "created_after", "created_before")
PIPELINES: Listing[Pipeline] = Listing(
    "pipelines", Pipeline, Pipeline.id, Pipeline.project_id,
    filters=(
        Filter("state", "in one of these states", None, "any", State, ids=states.in_state),
        Filter("created_by", "submitted by one of these owners", Pipeline.created_by, type=Name),
        Filter("rerun_of", "that repeat one of these", Pipeline.rerun_of, type=Id),
        _name(Pipeline.name_key),
        *created(Pipeline.created_at),
    ),
    sorts=(Sort("created_at", Pipeline.created_at), Sort("name", Pipeline.name_key)),
    ways=(
        *(Way((name,), ("created_at",), _OF_PIPELINES) for name in ("created_by", "rerun_of")),
        Way((), ("created_at", "name"), _OF_PIPELINES),
    ),
)  # fmt: skip

_OF_INDEXES = ("name", "encoder", "model_id", "created_after", "created_before")
INDEXES: Listing[SearchIndex] = Listing(
    "indexes", SearchIndex, SearchIndex.id, SearchIndex.project_id,
    filters=(
        Filter("name", "of one of these names", SearchIndex.name, type=Id),
        Filter("encoder", "of one of these models or aliases, as asked for", SearchIndex.encoder, type=Id),
        Filter("model_id", "whose vectors are of one of these models", SearchIndex.model_id, type=Id),
        *created(SearchIndex.created_at),
    ),
    sorts=(Sort("created_at", SearchIndex.created_at), Sort("name", SearchIndex.name)),
    ways=(
        *(Way((name,), ("created_at",), _OF_INDEXES) for name in ("encoder", "model_id")),
        Way((), ("created_at", "name"), _OF_INDEXES),
    ),
)  # fmt: skip

_OF_KEYS = ("owner", "role", "created_after", "created_before")
KEYS: Listing[ApiKey] = Listing(
    "keys", ApiKey, ApiKey.id, None,
    filters=(
        Filter("owner", "of one of these owners", ApiKey.owner, type=Name),
        Filter("role", "of one of these roles", ApiKey.role, type=Literal["viewer", "operator", "admin"]),
        *created(ApiKey.created_at),
    ),
    sorts=(
        Sort("created_at", ApiKey.created_at), Sort("name", ApiKey.name),
        Sort("last_used_at", ApiKey.last_used_at, some=True), Sort("expires_at", ApiKey.expires_at, some=True),
    ),
    ways=(
        *(Way((name,), ("created_at",), _OF_KEYS) for name in ("owner", "role")),
        Way((), ("created_at", "name", "last_used_at", "expires_at"), _OF_KEYS),
    ),
)  # fmt: skip
PROJECTS: Listing[Project] = Listing(
    "projects", Project, Project.id, Project.id,
    filters=(Filter("name", "of one of these names", Project.name, type=Id), *created(Project.created_at)),
    sorts=(Sort("created_at", Project.created_at), Sort("name", Project.name)),
    ways=(Way((), ("created_at", "name"), ("name", "created_after", "created_before")),),
)  # fmt: skip

_OF_ALIASES = ("name", "model_id", "created_after", "created_before")
ALIASES: Listing[Alias] = Listing(
    "aliases", Alias, Alias.id, Alias.project_id,
    filters=(
        Filter("name", "of one of these names", Alias.name, type=Id),
        Filter("model_id", "that stand for one of these models", Alias.model_id, type=Id),
        *created(Alias.created_at),
    ),
    sorts=(Sort("created_at", Alias.created_at), Sort("name", Alias.name), Sort("promoted_at", Alias.promoted_at)),
    ways=(
        Way(("model_id",), ("created_at",), _OF_ALIASES),
        Way((), ("created_at", "name", "promoted_at"), _OF_ALIASES),
    ),
)  # fmt: skip

_OF_WEBHOOKS = ("active", "created_after", "created_before")
WEBHOOKS: Listing[Webhook] = Listing(
    "webhooks", Webhook, Webhook.id, Webhook.project_id,
    filters=(
        Filter("active", "that are switched on, or off", Webhook.active, type=bool), *created(Webhook.created_at),
    ),
    sorts=(Sort("created_at", Webhook.created_at),),
    ways=(Way(("active",), ("created_at",), _OF_WEBHOOKS), Way((), ("created_at",), _OF_WEBHOOKS)),
)  # fmt: skip

_OF_AUDIT = ("actor", "key_id", "outcome", "route", "request_id", "since", "until")
Filtered = Annotated[str, Field(max_length=128)]
AUDIT: Listing[AuditEntry] = Listing(
    "audit", AuditEntry, AuditEntry.seq, None,
    filters=(
        Filter("actor", "by one of these owners", AuditEntry.actor, type=Filtered),
        Filter("key_id", "with one of these keys", AuditEntry.key_id, type=Filtered),
        Filter("outcome", "that ended so", AuditEntry.outcome, type=Literal["done", "denied", "rejected", "failed"]),
        Filter("route", "with placeholders: /v1/jobs/{job_id}", AuditEntry.route, type=Filtered),
        Filter("request_id", "of this request", AuditEntry.request_id, type=Filtered),
        Filter("since", "from this moment on", AuditEntry.at, "from", Moment),
        Filter("until", "before this moment", AuditEntry.at, "before", Moment),
    ),
    sorts=(Sort("at", AuditEntry.at),),
    ways=(
        # one of them is read off its index, the others are looked at
        *(Way((name,), ("at",), _OF_AUDIT) for name in ("key_id", "actor", "route", "outcome")),
        Way((), ("at",), _OF_AUDIT),
    ),
    first="-at",
)  # fmt: skip
LISTINGS: tuple[Listing[Any], ...] = (
    JOBS, PIPELINES, DATASETS, MODELS, LINES, EVALUATIONS, DEPLOYMENTS, INDEXES, ALIASES, WEBHOOKS, KEYS, PROJECTS,
    AUDIT,
)  # fmt: skip
