"""Outputs that are not there yet: specs name them by stand-ins until the job that makes them has succeeded.

A stand-in looks like an identifier, so that a spec which names some is a valid one, and tells the job that makes what
it stands for: `mdl_from0199c2b44550a1b2c3d4e`. No real identifier looks so, all of them are hexadecimal.
"""

import re
from collections.abc import Mapping
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from services.core.specs import Reference, references, with_ids
from services.core.tables import Job

PREFIXES = {"dataset": "ds", "model": "mdl"}
_STAND_IN = re.compile(rf"(?:{'|'.join(PREFIXES.values())})_from([0-9a-z]+)")


def stand_in(resource: str, job_id: str) -> str:
    """What names the dataset or model that a job is going to make."""
    return f"{PREFIXES[resource]}_from{job_id.removeprefix('job_')}"


def maker_of(name: str) -> str | None:
    """The job that is going to make what is named; None for what is there already."""
    found = _STAND_IN.fullmatch(name)
    return f"job_{found[1]}" if found else None


def pending(kind: str, spec: dict[str, Any]) -> dict[str, Reference]:
    """The stand-ins of a spec."""
    return {one.id: one for one in references(kind, spec) if maker_of(one.id) is not None}


def made(session: Session, wanted: Mapping[str, Reference]) -> dict[str, str]:
    """For each stand-in, the identifier of what its job has made; those of which there is one."""
    makers = {name: maker_of(name) for name in wanted}
    rows = session.execute(select(Job.id, Job.result).where(Job.id.in_(set(makers.values()))))
    outputs = {job_id: (result or {}).get("outputs", {}) for job_id, result in rows}
    found = {name: outputs.get(job_id, {}).get(wanted[name].resource) for name, job_id in makers.items()}
    return {name: made_id for name, made_id in found.items() if made_id}


def shown(kind: str, spec: dict[str, Any]) -> dict[str, Any]:
    """A spec for people: `{"from": "job_....model"}` in place of each stand-in."""
    waited = pending(kind, spec)
    return with_ids(kind, spec, {n: {"from": f"{maker_of(n)}.{one.resource}"} for n, one in waited.items()})
