"""Pipelines: submit, wait, stop, try again."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Unpack

from medcoss.client.errors import JobCancelled, JobFailed
from medcoss.client.filters import PipelineFilters, params
from medcoss.client.jobs import BATCH_TIMEOUT_S, Jobs
from medcoss.client.paging import pages, parts
from medcoss.client.pipeline_records import Pipeline, PipelinePreflight
from medcoss.client.transport import Transport
from medcoss.client.waiting import until_ended
from medcoss.specs import Spec
from medcoss.specs.curriculum import Curriculum

Steps = Mapping[str, Mapping[str, Any]]


class Pipelines:
    """`client.pipelines`."""

    def __init__(self, transport: Transport, jobs: Jobs) -> None:
        self._transport, self._jobs = transport, jobs

    def submit(self, steps: Steps | None = None, *, curriculum: Curriculum | Mapping[str, Any] | None = None,
               name: str | None = None, notes: str = "", project: str | None = None, reuse: bool = False,
               idempotency_key: str | None = None) -> Pipeline:  # fmt: skip
        """Submit a pipeline: all of its steps, or none. Each is `kind`, `spec` (a dictionary or a Spec) and what else a
        job takes, by its name; `{"from": "STEP.model"}` or `{"from": "STEP.dataset"}` in a spec is what another step
        makes. Instead of steps, a `curriculum` may be given, which the server expands to some.

        With `reuse`, a step is not run that another one of the project has done already, with the same spec and the
        same content of inputs. Raises ApiError naming each wrong field as `/steps/NAME/spec/...`.
        """
        headers = {} if idempotency_key is None else {"Idempotency-Key": idempotency_key}
        body = _body(steps, curriculum, name, notes, project) | {"reuse": reuse}
        response = self._transport.call(
            "POST", "/v1/pipelines", json=body, headers=headers, once=True, timeout_s=BATCH_TIMEOUT_S
        )
        return self._transport.read(Pipeline, response)

    def validate(self, steps: Steps | None = None, *, curriculum: Curriculum | Mapping[str, Any] | None = None,
                 name: str | None = None, notes: str = "",
                 project: str | None = None) -> PipelinePreflight:  # fmt: skip
        """What would come of a pipeline, without submitting it."""
        body = _body(steps, curriculum, name, notes, project)
        response = self._transport.call(
            "POST", "/v1/pipelines:validate", json=body, idempotent=True, timeout_s=BATCH_TIMEOUT_S
        )
        return self._transport.read(PipelinePreflight, response)

    def expand(self, curriculum: Curriculum | Mapping[str, Any], *,
               project: str | None = None) -> dict[str, Any]:  # fmt: skip
        """The steps of a curriculum, as `submit` takes them."""
        body = _body(None, curriculum, None, "", project)
        response = self._transport.call("POST", "/v1/pipelines:expand", json=body, idempotent=True)
        return dict(self._transport.document(response)["steps"])

    def get(self, pipeline_id: str) -> Pipeline:
        """One pipeline with its steps."""
        return self._transport.parse(Pipeline, self._transport.get(f"/v1/pipelines/{pipeline_id}"))

    def list(self, **filters: Unpack[PipelineFilters]) -> Iterator[Pipeline]:
        """Pipelines, newest first unless `sort` says otherwise."""
        return pages(self._transport, "/v1/pipelines", Pipeline, params(filters, PipelineFilters))

    def select(self, *fields: str, **filters: Unpack[PipelineFilters]) -> Iterator[dict[str, Any]]:
        """Only these fields of pipelines."""
        return parts(self._transport, "/v1/pipelines", fields, params(filters, PipelineFilters))

    def wait(self, pipeline_id: str, timeout: float | None = None,
             on_update: Callable[[Pipeline], None] | None = None) -> Pipeline:  # fmt: skip
        """The pipeline once all its steps have succeeded; `on_update` gets it whenever it has changed. `timeout` in
        seconds.

        A server that is away for a while is waited for. Raises JobFailed or JobCancelled with the job of the step that
        has ended so, or TimeoutError; the pipeline goes on in that case.
        """
        what = f"pipeline {pipeline_id}"
        return self._succeeded(until_ended(lambda: self.get(pipeline_id), what, timeout, on_update))

    def _succeeded(self, found: Pipeline) -> Pipeline:
        # those behind the one that has failed fail because of it
        lost = [s for s in found.steps if s.state == found.state and (s.error or {}).get("reason") != "dependency"]
        if found.state == "failed":
            step = lost[0] if lost else next(s for s in found.steps if s.state == "failed")
            error = step.error or {}
            detail = f"{error.get('title', 'Error')}: {error.get('detail') or 'no reason is recorded'}"
            message = f"step '{step.name}' of pipeline {found.id} failed: {detail}"
            raise JobFailed(message, self._jobs.get(step.job_id))
        if found.state == "cancelled":
            step = lost[0]
            raise JobCancelled(f"step '{step.name}' of pipeline {found.id} was cancelled", self._jobs.get(step.job_id))
        return found

    def cancel(self, pipeline_id: str) -> Pipeline:
        """Cancel every step that has not ended."""
        return self._order(pipeline_id, "cancel")

    def pause(self, pipeline_id: str) -> Pipeline:
        """Set every step aside that has not ended; those that run write a checkpoint."""
        return self._order(pipeline_id, "pause")

    def resume(self, pipeline_id: str) -> Pipeline:
        """Let the paused steps go on."""
        return self._order(pipeline_id, "resume")

    def retry(self, pipeline_id: str) -> Pipeline:
        """Do the steps again that have failed or were cancelled, and those behind them."""
        return self._order(pipeline_id, "retry")

    def rerun(self, pipeline_id: str, changes: Steps | None = None, *, name: str | None = None,
              reuse: bool = True) -> Pipeline:  # fmt: skip
        """A pipeline again, as a new one, with other fields in some specs: `{"ct": {"epochs": 50}}`. With `reuse`, no
        step is run whose spec and inputs are those of one that has succeeded.
        """
        body = {"changes": {step: dict(fields) for step, fields in (changes or {}).items()}, "reuse": reuse}
        response = self._transport.call(
            "POST", f"/v1/pipelines/{pipeline_id}/rerun", json=body | ({"name": name} if name else {}), once=True,
            timeout_s=BATCH_TIMEOUT_S,
        )  # fmt: skip
        return self._transport.read(Pipeline, response)

    def _order(self, pipeline_id: str, what: str) -> Pipeline:
        response = self._transport.call("POST", f"/v1/pipelines/{pipeline_id}/{what}", once=True)
        return self._transport.read(Pipeline, response)

    def delete(self, pipeline_id: str) -> None:
        """Forget a pipeline that has ended; its jobs and what they have made stay."""
        self._transport.call("DELETE", f"/v1/pipelines/{pipeline_id}")


def _body(steps: Steps | None, curriculum: Curriculum | Mapping[str, Any] | None, name: str | None, notes: str,
          project: str | None) -> dict[str, Any]:  # fmt: skip
    """A request for a pipeline; what is not given is left to the server."""
    given: dict[str, Any] = {"name": name, "notes": notes or None, "project": project}
    if isinstance(curriculum, Spec):
        given["curriculum"] = curriculum.model_dump(mode="json", exclude_unset=True)
    elif curriculum is not None:
        given["curriculum"] = dict(curriculum)
    if steps is not None:
        given["steps"] = {step: {n: _plain(value) for n, value in asked.items()} for step, asked in steps.items()}
    return {name: value for name, value in given.items() if value is not None}


def _plain(value: Any) -> Any:
    return value.model_dump(mode="json", exclude_unset=True) if isinstance(value, Spec) else value
