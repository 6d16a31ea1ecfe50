"""How an attempt ended, and what that means for its job."""

import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from services.core import attempts, deployments, evaluations, indexes, registry
from services.core.attempts import Claim
from services.core.jobs import problem
from services.core.lifecycle import State
from services.core.scheduling import LOST_WORKER
from services.worker.protocol import (
    PARTED,
    STOPPED,
    DatasetOutput,
    ErrorReport,
    EvaluationOutput,
    IndexOutput,
    ModelOutput,
    Output,
    ResultReport,
)

_STOPPED_STATES = {"cancel": State.CANCELLED, "pause": State.PAUSED, "shutdown": State.QUEUED}
_REASONS = {
    "cancel": "cancelled by its owner",
    "pause": "paused by its owner",
    "shutdown": "the worker was shut down; the job goes on from its checkpoint",
}
_TITLES = {
    "data": "Input that cannot be used",
    "code": "The job broke",
    "killed": "The job's process was killed",
    "out_of_memory": "Out of memory",
    "serving": "The model cannot be served",
    "storage": "Stored files are damaged or out of reach",
}


@dataclass
class Outcome:
    """What is known of an attempt: the child's last reports, its exit code, who stopped it, and whether the system
    ended a process of it because memory had run out. Of several processes, `who` is the one that failed first; of
    several machines, `lost` says which was lost and why.
    """

    result: ResultReport | None = None
    error: ErrorReport | None = None
    stop: str | None = None
    exit_code: int | None = None
    memory_ran_out: bool = False
    who: str = ""
    lost: str = ""


def settle(session: Session, claim: Claim, outcome: Outcome) -> State | None:
    """Write the end of an attempt; the job's state then, or None when its lease was lost."""
    result = outcome.result
    if result is not None:
        done = attempts.succeed(session, claim.job_id, claim.fence, _stored(result), _publisher(claim, result))
        return State.SUCCEEDED if done else None
    stop = outcome.stop
    if stop is None and outcome.exit_code == STOPPED:
        # somebody else has sent the SIGTERM, the system that shuts down perhaps
        stop = "shutdown"
    if stop is not None and outcome.error is None:
        # killed after its grace was over, or before it could listen, a job still goes where it was ordered to
        if stop == "time_limit":
            return attempts.set_aside(session, claim.job_id, claim.fence)
        return attempts.release(session, claim.job_id, claim.fence, _STOPPED_STATES[stop], _REASONS[stop])
    return attempts.fail(session, claim.job_id, claim.fence, problem_of(outcome))


def _stored(result: ResultReport) -> dict[str, Any]:
    stored: dict[str, Any] = {
        "outputs": {output.resource: output.id for output in result.outputs},
        "metrics": result.metrics,
    }
    if result.best_model is not None:
        # a child job has registered it
        stored["outputs"]["model"] = result.best_model
    told = {"evaluation": result.evaluation, "runs": result.runs}
    return stored | {name: value for name, value in told.items() if value is not None}


def problem_of(outcome: Outcome) -> dict[str, Any]:
    """Why an attempt failed, as a problem document with a typed `reason`."""
    error, who = outcome.error, outcome.who or "the job's process"
    if outcome.memory_ran_out and (error is None or error.reason == "code"):
        return problem(
            _TITLES["out_of_memory"],
            f"the system ended {who} because main memory had run out", "out_of_memory",
        )  # fmt: skip
    if outcome.lost and error is None:
        return problem("A machine was lost", outcome.lost, LOST_WORKER)
    if error is not None:
        detail = f"{error.where}: {error.detail}" if error.where else error.detail
        # wrong input is the same to all of them
        detail += f" ({outcome.who})" if outcome.who and error.reason != "data" else ""
        found = problem(_TITLES[error.reason], detail, error.reason)
        return found | ({"where": error.where} if error.where else {})
    code, who = outcome.exit_code or 0, outcome.who or "the process"
    if code == PARTED:
        return problem("The job broke", "its processes have lost each other, and none says why; see its log", "code")
    if code < 0:
        return problem(
            "The job's process was killed",
            f"{who} was ended by {_signal_name(-code)}",
            "killed",
        )  # fmt: skip
    return problem("The job broke", f"{who} ended with exit code {code} and no result; see its log", "code")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        # real-time signals have no name
        return f"signal {number}"


def _publisher(claim: Claim, result: ResultReport) -> Callable[[Session], None]:
    """What registers an attempt's outputs, in the transaction that ends it."""

    def publish(session: Session) -> None:
        for output in result.outputs:
            _register(session, claim, output)

    return publish


def _register(session: Session, claim: Claim, output: Output) -> None:
    """What a job makes belongs to its project."""
    job_id, project_id = claim.job_id, claim.project_id
    if isinstance(output, DatasetOutput):
        registry.register_dataset(
            session, output.id, name=output.name, info=output.info, prefix=output.prefix, files=output.files,
            parents=output.parents, job_id=job_id, project_id=project_id,
        )  # fmt: skip
    elif isinstance(output, ModelOutput):
        registry.register_model(
            session, output.id, name=output.name, info=output.info, prefix=output.prefix, files=output.files,
            parents=output.parents, dataset_id=output.dataset_id, job_id=job_id,
            project_id=project_id,
        )  # fmt: skip
    elif isinstance(output, EvaluationOutput):
        evaluations.register(
            session, output.id, name=output.name, info=output.info, model_id=output.model_id,
            dataset_id=output.dataset_id, split=output.split, files=output.files, job_id=job_id, project_id=project_id,
            seed=output.seed, fold=output.fold,
        )  # fmt: skip
    elif isinstance(output, IndexOutput):
        indexes.register(
            session, output.index_id, prefix=output.prefix, info=output.info, files=output.files,
            model_id=output.model_id, job_id=job_id,
        )  # fmt: skip
    else:
        deployments.publish(session, output.id, output.info, activate=output.activate)
