"""How an attempt ended, and what that means for its job."""

import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from medcoss.specs.records import DatasetInfo, DeploymentInfo, ModelInfo
from services.core import jobs, registry
from services.core.jobs import Claim
from services.core.lifecycle import State
from services.worker.protocol import STOPPED, ChildJob, ErrorReport, Output, ResultReport

_STOPPED_STATES = {"cancel": State.CANCELLED, "pause": State.PAUSED, "shutdown": State.QUEUED}
_REASONS = {
    "cancel": "cancelled by its owner",
    "pause": "paused by its owner",
    "shutdown": "the worker was shut down; the job goes on from its checkpoint",
}
_TITLES = {
    "data": "Input that cannot be used",
    "code": "The job broke",
    "out_of_memory": "Out of memory",
    "storage": "Stored files are damaged",
}


@dataclass
class Outcome:
    """What is known of an attempt: the child's last reports, its exit code, who stopped it."""

    result: ResultReport | None = None
    error: ErrorReport | None = None
    stop: str | None = None
    exit_code: int | None = None
    lease_lost: bool = False


def settle(session: Session, claim: Claim, outcome: Outcome, publish: Callable[[Session], None]) -> State | None:
    """Write the end of an attempt; the job's state then, or None when its lease was lost."""
    result = outcome.result
    if result is not None:
        stored: dict[str, Any] = {
            "outputs": {output.resource: output.id for output in result.outputs},
            "metrics": result.metrics,
        }
        if result.evaluation is not None:
            stored["evaluation"] = result.evaluation
        return State.SUCCEEDED if jobs.succeed(session, claim.job_id, claim.fence, stored, publish) else None
    if outcome.stop is not None and (outcome.exit_code == STOPPED or outcome.error is None):
        # killed after its grace was over, a job still goes where it was ordered to
        state = _STOPPED_STATES[outcome.stop]
        released = jobs.release(session, claim.job_id, claim.fence, state, _REASONS[outcome.stop])
        return state if released else None
    problem = problem_of(outcome)
    return jobs.fail(session, claim.job_id, claim.fence, problem, retry=problem["reason"] != "data")


def problem_of(outcome: Outcome) -> dict[str, Any]:
    """Why an attempt failed, as a problem document with a typed `reason`."""
    error = outcome.error
    if error is not None:
        detail = f"{error.where}: {error.detail}" if error.where else error.detail
        problem = _problem(error.reason, _TITLES[error.reason], detail)
        return problem | ({"where": error.where} if error.where else {})
    code = outcome.exit_code or 0
    if code < 0:
        name = signal.Signals(-code).name
        return _problem(
            "killed", "The job's process was killed",
            f"the process was ended by {name}; when nobody did that, memory had run out: try a smaller batch_size",
        )  # fmt: skip
    return _problem("code", "The job broke", f"the process ended with exit code {code} and no result; see its log")


def _problem(reason: str, title: str, detail: str) -> dict[str, Any]:
    return {"type": f"urn:medcoss:job:{reason}", "title": title, "detail": detail, "reason": reason}


def publisher(job: ChildJob, outcome: Outcome) -> Callable[[Session], None]:
    """What registers an attempt's outputs, in the transaction that ends it."""

    def publish(session: Session) -> None:
        for output in outcome.result.outputs if outcome.result else []:
            _register(session, job, output)

    return publish


def _register(session: Session, job: ChildJob, output: Output) -> None:
    if output.resource == "dataset":
        registry.register_dataset(
            session, output.id, name=output.name, info=DatasetInfo.model_validate(output.info), prefix=output.prefix,
            files=output.files, parents=output.parents, job_id=job.job_id,
        )  # fmt: skip
    elif output.resource == "model":
        registry.register_model(
            session, output.id, name=output.name, info=ModelInfo.model_validate(output.info), prefix=output.prefix,
            files=output.files, parents=output.parents, dataset_id=output.dataset_id, job_id=job.job_id,
        )  # fmt: skip
    else:
        assert output.model_id is not None
        registry.register_deployment(
            session, output.id, info=DeploymentInfo.model_validate(output.info), model_id=output.model_id,
            job_id=job.job_id,
        )  # fmt: skip
