"""Jobs as they are asked for, with their specs resolved."""

from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import ValidationError

from medcoss.specs import CHILD_KINDS, EVERY_KIND, JOB_KINDS
from services.api.problems import MOST_ERRORS, field_errors, invalid
from services.api.schemas import JobRequest
from services.core.errors import FieldError, ValidationFailed
from services.core.jobs import NewJob
from services.core.settings import Settings


def resolved_spec(name: str, given: dict[str, Any]) -> dict[str, Any]:
    """The spec with its defaults; ValidationFailed names every wrong field."""
    kind = JOB_KINDS.get(name)
    if kind is None:
        expected = f"expected one of {', '.join(JOB_KINDS)}"
        what = f"there is no job kind '{name}'"
        if name in CHILD_KINDS:
            what = f"'{name}' jobs are made by the platform alone, as child jobs"
        raise ValidationFailed(f"{what}; {expected}", [FieldError("/kind", expected)])
    try:
        spec = kind.spec.model_validate(given)
    except ValidationError as error:
        shown = error.errors(include_url=False)[:MOST_ERRORS]
        entries = [dict(entry) | {"loc": list(_place(entry["loc"]))} for entry in shown]
        raise invalid(field_errors(entries, "spec"), error.error_count()) from None
    return spec.model_dump(mode="json")


def _place(location: tuple[int | str, ...]) -> Iterator[int | str]:
    """Where a field is in the request: pydantic puts the tag of a chosen recipe in between."""
    for number, part in enumerate(location):
        if number == 0 or location[number - 1] != "recipe":
            yield part


def new_job(request: JobRequest, project_id: str, settings: Settings, depends_on: Sequence[str]) -> NewJob:
    """What is asked for, with its defaults; ValidationFailed names every wrong field of the spec."""
    return NewJob(
        kind=request.kind, project_id=project_id, spec=resolved_spec(request.kind, request.spec),
        name=request.name or request.kind,
        priority=request.priority,
        max_attempts=request.max_attempts or settings.max_attempts,
        depends_on=tuple(depends_on), gpus=request.resources.gpus, nodes=_machines(request),
        memory_bytes=request.resources.memory_bytes, backoff_s=request.retry.backoff_s,
        retry_on=None if request.retry.on is None else tuple(request.retry.on), time_limit_s=request.time_limit_s,
        notes=request.notes, tags=tuple(dict.fromkeys(request.tags)),
    )  # fmt: skip


def _machines(request: JobRequest) -> int | None:
    """The machines that it runs on together, None for one; ValidationFailed for kinds that run on one alone."""
    nodes = request.resources.nodes
    if nodes is None or nodes == 1:
        return None
    kind = "finetune_run" if request.kind == "compare" else request.kind
    if not EVERY_KIND[kind].ranks:
        able = ", ".join(sorted(name for name, known in JOB_KINDS.items() if known.ranks))
        detail = f"{request.kind} runs on one machine; of all kinds {able} and compare can run on several: leave it out"
        raise ValidationFailed(detail, [FieldError("/resources/nodes", detail)])
    return nodes
