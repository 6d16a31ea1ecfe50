"""Served versions of models: from the job that exports one to the answers that it gives under its name.

A version is `loading` until its answers have been compared with PyTorch's, then `ready`, or `failed` with the reason.
The one of a name that was activated last answers for it, as long as it is ready; taking that back lets the one before
answer again. All of it is rows: who asks next is answered by another version, and nobody is cut off.
"""

from datetime import datetime
from typing import Any

from pydantic import ValidationError
from sqlalchemy import Select, or_, select
from sqlalchemy.orm import Session

from medcoss.modalities import get_modality
from medcoss.specs import ExportSpec, fit_export
from medcoss.specs.records import DeploymentInfo, ModelInfo
from services.core import leftovers, served_names
from services.core.errors import Conflict
from services.core.ids import new_id
from services.core.lifecycle import State
from services.core.scope import Scope
from services.core.tables import Deployment, Job, Model
from services.core.tables.base import now

LOADING, READY, FAILED = "loading", "ready", "failed"


def announce(session: Session, job: Job) -> None:
    """Show what an export that was just submitted is going to serve; what cannot be told yet, its attempt tells."""
    if job.kind != "export" or of_job(session, job.id) is not None:
        return
    model = session.get(Model, str(job.spec.get("model", "")))
    if model is None:
        return
    try:
        spec, info = ExportSpec.model_validate(job.spec), ModelInfo.model_validate(model.info)
    except ValidationError:
        return
    if any(fit_export.exporting(spec, info)):
        return
    session.add(
        Deployment(
            id=new_id("dep"), name=spec.name, version=None, state=LOADING, info=_described(spec, info),
            model_id=model.id, job_id=job.id, project_id=job.project_id,
        )
    )  # fmt: skip
    session.flush()


def _described(spec: ExportSpec, model: ModelInfo) -> dict[str, Any]:
    """What is known before the export; the graph's inputs and outputs are not."""
    modality = fit_export.served_modality(spec, model)
    described = DeploymentInfo(
        name=spec.name, task=model.task, modality=modality, kind=get_modality(modality).kind, triton_model="",
        version=0, classes=model.classes, sample_shape=[], recipe={}, input_names=[], output_names=[],
        tolerance=spec.allowed_difference, precision=spec.precision, accelerator=spec.accelerator,
    )  # fmt: skip
    return described.model_dump(mode="json")


def of_job(session: Session, job_id: str) -> Deployment | None:
    """What an export makes; None when its model is not known yet, or it was deleted."""
    return session.scalars(select(Deployment).where(Deployment.job_id == job_id)).first()


def attempted(session: Session, job_id: str, fence: int) -> tuple[str, int]:
    """Identifier and version number of what an attempt of an export makes; the version's place is reserved. Each
    attempt has a number of its own, so that one that was given up overwrites nothing.

    Raises Conflict when the name has gone to another project since the job was submitted.
    """
    job = session.get_one(Job, job_id)
    row = of_job(session, job_id)
    if row is None:
        announce(session, job)
        row = of_job(session, job_id)
    version = served_names.reserve_version(session, job.spec["name"], job.project_id, job_id, fence)
    if row is None:
        # its model is not what was announced: the attempt says why
        return new_id("dep"), version
    row.version, row.state, row.error = version, LOADING, None
    session.flush()
    return row.id, version


def publish(session: Session, deployment_id: str, info: DeploymentInfo, *, activate: bool) -> bool:
    """Make a version that has passed its checks ready, and with `activate` have it answer for its name unless a later
    version does. False when it was deleted meanwhile: what is stored of it goes with the next sweeps.
    """
    known = session.get(Deployment, deployment_id)
    if known is not None:
        # before the version is locked, as by who moves the name
        served_names.take(session, info.name, known.project_id)
    row = session.get(Deployment, deployment_id, with_for_update=True, populate_existing=True)
    if row is None:
        leftovers.add(session, f"triton/{served_names.triton_name(info.name, info.version)}/")
        return False
    row.version, row.state, row.error, row.ready_at = info.version, READY, None, now()
    row.info = info.model_dump(mode="json")
    session.flush()
    present = active(session, Scope.of(row.project_id), info.name)
    if activate and (present is None or (present.version or 0) < info.version):
        row.activated_at = now()
    session.flush()
    return True


def settle(session: Session, moment: datetime) -> None:
    """Have versions fail whose export has ended without success."""
    over = or_(Job.id.is_(None), Job.state.in_([State.FAILED, State.CANCELLED]))
    hopeless = (
        select(Deployment, Job).outerjoin(Job, Job.id == Deployment.job_id)
        .where(Deployment.state == LOADING, Deployment.ready_at.is_(None), over)
        .with_for_update(of=Deployment, skip_locked=True)
    )  # fmt: skip
    for row, job in session.execute(hopeless).all():
        row.state, row.error = FAILED, _why(job)
    session.flush()


def _why(job: Job | None) -> dict[str, Any]:
    if job is not None and job.error is not None:
        return {name: job.error[name] for name in ("type", "title", "detail", "reason") if name in job.error}
    what = "was deleted" if job is None else "was cancelled"
    return problem("Not exported", f"the job that was to export it {what}; deploy the model again", "cancelled")


def problem(title: str, detail: str, reason: str) -> dict[str, Any]:
    """Why a version has failed, as a problem document with a typed `reason`."""
    return {"type": f"urn:medcoss:deployment:{reason}", "title": title, "detail": detail, "reason": reason}


def _stack(scope: Scope, name: str) -> Select[Deployment]:
    """The versions that answer for a name, or would if those before them did not."""
    mine = scope.select(Deployment).where(
        Deployment.name == name, Deployment.state == READY, Deployment.activated_at.is_not(None)
    )
    return mine.order_by(Deployment.activated_at.desc(), Deployment.version.desc())


def active(session: Session, scope: Scope, name: str) -> Deployment | None:
    """The version that answers for a name."""
    # every request asks, and a name may have hundreds of versions
    return session.scalars(_stack(scope, name).limit(1)).first()


def active_ids(session: Session, names: set[str]) -> set[str]:
    """Ids of the versions that answer for these names."""
    mine = select(Deployment.activated_at, Deployment.version, Deployment.name, Deployment.id).where(
        Deployment.name.in_(names), Deployment.state == READY, Deployment.activated_at.is_not(None)
    )
    # sorted here: the database would have no index for it
    rows = sorted(session.execute(mine).tuples())
    # of each name the last one stays
    return set({name: row_id for _, _, name, row_id in rows}.values())


def _locked(session: Session, scope: Scope, deployment_id: str) -> Deployment:
    row = scope.get(session, Deployment, deployment_id)
    # who moves a name waits for who is moving it
    served_names.take(session, row.name, row.project_id)
    return scope.get(session, Deployment, deployment_id, with_for_update=True, populate_existing=True)


def activate(session: Session, scope: Scope, deployment_id: str) -> Deployment:
    """Have a version answer for its name from now on. Conflict when it is not ready."""
    row = _locked(session, scope, deployment_id)
    if row.state != READY:
        raise Conflict(f"{deployment_id} is {row.state}; a version answers once it is ready")
    present = active(session, scope, row.name)
    if present is None or present.id != row.id:
        row.activated_at = now()
        session.flush()
    return row


def roll_back(session: Session, scope: Scope, deployment_id: str) -> Deployment:
    """Have the version answer again that answered before this one; it is returned. This one stays beside it.

    Conflict when this one does not answer, or none did before.
    """
    row = _locked(session, scope, deployment_id)
    stack = session.scalars(_stack(scope, row.name).limit(2)).all()
    if not stack or stack[0].id != row.id:
        present = f"{stack[0].id} (version {stack[0].version}) does" if stack else "none does"
        raise Conflict(f"{deployment_id} does not answer for '{row.name}', {present}; there is nothing to take back")
    if len(stack) == 1:
        raise Conflict(f"no other version has answered for '{row.name}' before {deployment_id}; activate one")
    row.activated_at = None
    session.flush()
    return stack[1]


def reload(session: Session, scope: Scope, deployment_id: str) -> Deployment:
    """Have a version that was ready and has failed since be loaded again, and checked. One that is ready or loading
    stays as it is. Conflict when it never was ready: nothing is stored of it.
    """
    row = scope.get(session, Deployment, deployment_id, with_for_update=True, populate_existing=True)
    if row.state == FAILED:
        if row.ready_at is None:
            raise Conflict(f"{deployment_id} has failed before it was ready; deploy the model again")
        row.state, row.error = LOADING, None
        session.flush()
    return row


def to_keep(session: Session) -> list[tuple[str, str, DeploymentInfo]]:
    """Id, state and description of every version that Triton should have loaded."""
    kept = select(Deployment.id, Deployment.state, Deployment.info).where(
        Deployment.ready_at.is_not(None), Deployment.state.in_([READY, LOADING])
    )
    rows = session.execute(kept.order_by(Deployment.created_at, Deployment.id))
    return [(row_id, state, DeploymentInfo.model_validate(info)) for row_id, state, info in rows]


def came(session: Session, deployment_id: str) -> bool:
    """Triton has the version; False when nobody wants it any more."""
    row = session.get(Deployment, deployment_id, with_for_update=True, populate_existing=True)
    if row is None or row.state == FAILED:
        return False
    row.state, row.error = READY, None
    return True


def broke(session: Session, deployment_id: str, title: str, detail: str, reason: str) -> None:
    """Triton cannot load the version, or it answers wrongly: the one before answers for its name."""
    row = session.get(Deployment, deployment_id, with_for_update=True, populate_existing=True)
    if row is not None:
        row.state, row.error = FAILED, problem(title, detail, reason)
