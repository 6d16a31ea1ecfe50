"""A pipeline before it is recorded: its steps in order, what each takes of others, and all that is wrong with them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy.orm import Session

from services.core import inputs, jobs
from services.core.errors import Conflict, FieldError
from services.core.inputs import Expected, Inputs
from services.core.jobs import NewJob
from services.core.pending import stand_in
from services.core.pipelines.expected import coming
from services.core.pipelines.links import FROM, Link, outputs
from services.core.preflight import paths_of
from services.core.specs import references, with_ids
from services.core.tables import Job


@dataclass(frozen=True)
class Step:
    """A step: the job that is asked for, with stand-ins for what other steps make, those that it `needs`, and the
    request as it was `given`.
    """

    asked: NewJob
    links: tuple[Link, ...]
    needs: tuple[str, ...]
    given: dict[str, Any]

    @property
    def job_id(self) -> str:
        """The job that is going to do it."""
        assert self.asked.id is not None
        return self.asked.id


@dataclass(frozen=True)
class Done:
    """The job that has done a step already, and what it has made, by `dataset` and `model`."""

    job_id: str
    outputs: Mapping[str, str]
    key: str | None = None


@dataclass
class Plan:
    """The steps by their names; `order` has each behind those that it needs. Those that are `done` are not run, nor
    those that are `kept`, whose jobs are under way.
    """

    project_id: str
    steps: dict[str, Step] = field(default_factory=dict)
    order: list[str] = field(default_factory=list)
    errors: list[FieldError] = field(default_factory=list)
    done: dict[str, Done] = field(default_factory=dict)
    kept: set[str] = field(default_factory=set)
    expected: Expected = field(default_factory=Expected)
    # the modality that steps of pre-training are said to learn, and where that is said
    promised: dict[str, tuple[str, str]] = field(default_factory=dict)
    # stand-ins of datasets of which nobody can know how many samples they hold
    uncounted: set[str] = field(default_factory=set)

    @property
    def to_run(self) -> list[str]:
        """The steps that jobs are made of, in their order."""
        return [name for name in self.order if name not in self.done and name not in self.kept]

    def wrong(self, name: str, errors: list[FieldError]) -> None:
        """Errors of a step, with pointers into the step."""
        self.errors += [FieldError(f"/steps/{name}{e.pointer}", e.detail) for e in errors]

    def finish(self, name: str, done: Done) -> None:
        """A step need not run: those that take what it makes have its identifiers from now on."""
        self.done[name] = done
        ids = {stand_in(what, self.steps[name].job_id): made for what, made in done.outputs.items()
               if what in outputs(self.steps[name].asked.kind)}  # fmt: skip
        self._rename(ids)

    def keep(self, name: str, job_id: str) -> None:
        """A step is in the hands of a job already: those that need it wait for that one."""
        step = self.steps[name]
        self._rename({stand_in(what, step.job_id): stand_in(what, job_id) for what in outputs(step.asked.kind)})
        self.steps[name] = replace(self.steps[name], asked=replace(self.steps[name].asked, id=job_id))
        self.kept.add(name)

    def _rename(self, ids: Mapping[str, str]) -> None:
        for other, step in self.steps.items():
            spec = with_ids(step.asked.kind, step.asked.spec, ids)
            self.steps[other] = replace(step, asked=replace(step.asked, spec=spec))

    def fresh(self) -> "Plan":
        """The same plan, not looked at yet: what is found out about it does not change this one."""
        return replace(self, steps=dict(self.steps), errors=[], done=dict(self.done), kept=set(self.kept),
                       expected=Expected(), uncounted=set())  # fmt: skip

    def job(self, name: str, places: Mapping[str, int]) -> NewJob:
        """The job of a step, behind those that it needs: at these places among those that are recorded with it, or
        under way.
        """
        step = self.steps[name]
        under_way = [self.steps[other].job_id for other in step.needs if other in self.kept]
        after = tuple(places[other] for other in step.needs if other in places)
        return replace(step.asked, after=after, depends_on=(*step.asked.depends_on, *under_way))


def examine(session: Session, plan: Plan, owner: str, *, hold: bool) -> Iterator[tuple[str, Inputs]]:
    """Look at each step that is not done, in order, with what those before it are going to make; what is wrong goes
    into the plan. Yields the steps that fit, with their inputs.
    """
    for name in plan.order:
        if name in plan.done:
            continue
        asked = plan.steps[name].asked
        found = inputs.find(session, asked, hold=hold, expected=plan.expected)
        # where what it takes is wrong, the rest is looked at as far as that goes, and said once
        lost = {link.pointer.removesuffix(f"/{FROM}") for link in plan.steps[name].links
                if link.step not in plan.done and not _stand_ins(plan, link.step)}  # fmt: skip
        said = {error.detail for error in plan.errors} if lost else set()
        errors = [error for error in found.errors if error.pointer not in lost and error.detail not in said]
        try:
            jobs.check_submission(session, asked, owner, None)
        except Conflict as error:
            errors.append(FieldError("/depends_on", error.detail))
        plan.wrong(name, errors)
        if errors:
            continue
        broken = _broken(plan, name, found)
        if broken is not None:
            plan.errors.append(broken)
        if broken is not None or lost:
            continue
        yield name, found
        # the caller may have found that it need not run
        if name not in plan.done:
            _expect(session, plan, plan.steps[name].asked, found)


def _broken(plan: Plan, name: str, found: Inputs) -> FieldError | None:
    """That a stage is said to learn another modality than its dataset shows."""
    dataset = found.dataset(plan.steps[name].asked.spec.get("dataset"))
    where, modality = plan.promised.get(name, ("", ""))
    if not where or dataset is None or dataset.modality == modality:
        return None
    return FieldError(where, f"the dataset of this stage shows '{dataset.modality}', not '{modality}'")


def _stand_ins(plan: Plan, name: str) -> bool:
    """True when it is known what a step is going to make."""
    job_id = plan.steps[name].job_id if name in plan.steps else ""
    known = plan.expected.datasets.keys() | plan.expected.models.keys()
    return any(stand_in(what, job_id) in known for what in ("dataset", "model"))


def _expect(session: Session, plan: Plan, asked: NewJob, found: Inputs) -> None:
    made = coming(inputs.typed(asked), found, paths_of(session, asked))
    if made is None:
        return
    assert asked.id is not None
    row = made.row(asked.id, plan.project_id)
    rows: dict[str, Any] = plan.expected.models if row.id.startswith("mdl_") else plan.expected.datasets
    rows[row.id] = row
    named = {reference.id for reference in references(asked.kind, asked.spec)}
    if made.vague or (asked.kind != "pretrain" and named & plan.expected.vague):
        plan.expected.vague.add(row.id)
    if made.uncounted or (asked.kind == "build_buffer" and named & plan.uncounted):
        plan.uncounted.add(row.id)


def submit(session: Session, plan: Plan, owner: str, quota: int | None) -> dict[str, Job]:
    """Record the jobs of the steps that run; the rows by the steps' names."""
    names = plan.to_run
    if not names:
        return {}
    places = {name: place for place, name in enumerate(names)}
    asked = [plan.job(name, places) for name in names]
    return dict(zip(names, jobs.submit_all(session, asked, created_by=owner, quota=quota), strict=True))
