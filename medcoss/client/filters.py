"""What lists are asked for: docs/api.md says what goes together."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, TypedDict

Some = str | Iterable[str] | None


class _List(TypedDict, total=False):
    """What every list takes: an order (`-` in front for downwards), one project, moments of creation."""

    sort: str | None
    project: str | None
    created_after: datetime | None
    created_before: datetime | None


class JobFilters(_List, total=False):
    """Of `state`, `kind` and `created_by` one value has to fit, of `tag` all; `name` is the beginning of one; `input`
    is a dataset or model that the spec names; `parent` is the job whose child jobs, or chunks, they are.
    """

    state: Some
    kind: Some
    created_by: Some
    name: str | None
    tag: Some
    depends_on: Some
    parent: Some
    input: Some
    finished_after: datetime | None
    finished_before: datetime | None


class DatasetFilters(_List, total=False):
    """Of `tag` all values have to fit, else one; `name` is the beginning of one."""

    role: Some
    state: Some
    modality: Some
    job_id: Some
    name: str | None
    tag: Some


class ModelFilters(_List, total=False):
    """Of `tag` and `metric` (`auc>=0.8`) all values have to fit, else one; `name` is the beginning of one."""

    task: Some
    modality: Some
    job_id: Some
    dataset_id: Some
    name: str | None
    tag: Some
    metric: Some


class LineFilters(_List, total=False):
    """Of `modality`, which the newest stage has learnt, one value has to fit; `name` is the beginning of its name."""

    modality: Some
    name: str | None


class ErasureFilters(_List, total=False):
    """`object`: what is marked, a dataset, model or deployment; one of several has to be."""

    object: Some


class PipelineFilters(_List, total=False):
    """Of each, one value has to fit; `name` is the beginning of one, `rerun_of` the pipeline that they repeat."""

    state: Some
    created_by: Some
    rerun_of: Some
    name: str | None


class EvaluationFilters(_List, total=False):
    """Of each, one value has to fit; `encoder` is what the model was fine-tuned from."""

    dataset: Some
    model: Some
    encoder: Some
    task: Some
    split: Some
    job: Some


class DeploymentFilters(_List, total=False):
    """Of each, one value has to fit; `name` is the whole name that is served."""

    name: Some
    state: Some
    model_id: Some
    job_id: Some


class IndexFilters(_List, total=False):
    """Of each, one value has to fit; `encoder` is what was asked for, `model_id` whose vectors answer."""

    name: Some
    encoder: Some
    model_id: Some


def params(filters: Mapping[str, Any], known: type) -> dict[str, Any]:
    """Filters as parameters of a request. TypeError for one that the list does not have: the server would not mind."""
    names = known.__annotations__.keys() | _List.__annotations__.keys()
    strange = next((name for name in filters if name not in names), None)
    if strange is not None:
        raise TypeError(f"there is no filter '{strange}'; expected some of {', '.join(sorted(names))}")
    return {name: _value(value) for name, value in filters.items()}


def _value(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone().isoformat()
    return value if value is None or isinstance(value, str) else [*value]
