"""Requests for pipelines, read: steps with their specs resolved, what each takes of others, and all that is wrong."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from sqlalchemy.orm import Session

from medcoss.specs.curriculum import Earlier, expand, stage_names
from services.api.new_jobs import new_job
from services.api.schemas_pipelines import PipelineRequest, StepRequest
from services.core import aliases
from services.core.errors import FieldError, NotFound, TooLarge, ValidationFailed
from services.core.ids import new_id
from services.core.pending import stand_in
from services.core.pipelines.ancestry import earlier_stages
from services.core.pipelines.links import Link, filled, in_order, links, misplaced
from services.core.pipelines.plans import Plan, Step
from services.core.scope import Scope
from services.core.settings import Settings
from services.core.tables import Model

# what stands for what cannot be found, so that the rest of a spec is looked at
_NOWHERE = "job_00000000"


def check_size(steps: Mapping[str, StepRequest], settings: Settings) -> None:
    """TooLarge when a pipeline has more steps than it may."""
    if len(steps) > settings.batch_jobs:
        detail = f"{len(steps)} steps; a pipeline may have {settings.batch_jobs} (MEDCOSS_BATCH_JOBS)"
        raise TooLarge(detail, [FieldError("/steps", detail)])


def steps_of(session: Session, request: PipelineRequest, scope: Scope, project_id: str) -> dict[str, StepRequest]:
    """The steps of a request; those of a curriculum are expanded, with the buffers of the stages before it and, where
    forgetting is measured, with their data.
    """
    given = request.curriculum
    if given is None:
        return request.steps
    earlier: list[Earlier] = []
    rehearsed = given.rehearsal == "buffers" and given.init_buffers is None
    if given.init_model is not None and (rehearsed or given.forgetting is not None):
        where = "/curriculum/init_model"
        mine = Scope.of(project_id)
        try:
            model_id = aliases.model_id(session, mine, given.init_model)
        except NotFound as error:
            raise ValidationFailed(error.detail, [FieldError(where, error.detail)]) from None
        if mine.find(session, Model, model_id) is None or not scope.sees(project_id):
            detail = f"model {model_id} does not exist in the pipeline's project"
            raise ValidationFailed(detail, [FieldError(where, detail)])
        earlier = earlier_stages(session, mine, model_id, where, rehearsed=rehearsed)
    return {name: StepRequest.model_validate(step) for name, step in expand(given, earlier).items()}


def promised(request: PipelineRequest) -> dict[str, tuple[str, str]]:
    """The modality that each stage of a curriculum is said to learn, by its step, and where that is said."""
    given = request.curriculum
    if given is None or given.rehearsal == "joint":
        return {}
    stages = zip(stage_names(given), given.stages, strict=True)
    return {name: (f"/curriculum/stages/{i}/modality", stage.modality) for i, (name, stage) in enumerate(stages)}


def plan(steps: Mapping[str, StepRequest], project_id: str, settings: Settings,
         promised: Mapping[str, tuple[str, str]] | None = None) -> Plan:  # fmt: skip
    """The steps in order, with what is wrong as far as the request alone tells. `promised` are the modalities that
    stages are said to learn.
    """
    made = Plan(project_id, promised=dict(promised or {}))
    ids = {name: new_id("job") for name in steps}
    kinds = {name: step.kind for name, step in steps.items()}
    needs: dict[str, list[str]] = {}
    for name, step in steps.items():
        taken, errors = links(step.kind, step.spec)
        lost = [error for link in taken if (error := misplaced(link, kinds)) is not None]
        made.wrong(name, [*errors, *lost, *_nobody(step, steps)])
        needs[name] = list(dict.fromkeys([*(t.step for t in taken), *step.depends_on]))
        found = _read(made, name, step, taken, ids, project_id, settings, steps)
        # what is taken of nobody cannot be looked at further
        if found is not None and not errors and not lost:
            made.steps[name] = found
    made.order, circles = in_order({name: [o for o in needs[name] if o in steps] for name in steps})
    made.order = [name for name in made.order if name in made.steps]
    for circle in circles:
        # each needs the next one
        words = ", ".join(f"{one} needs {other}" for one, other in zip(circle, [*circle[1:], circle[0]], strict=True))
        for name in circle:
            made.wrong(name, [FieldError("", f"this step waits for itself: {words}")])
    return made


def _nobody(step: StepRequest, steps: Iterable[str]) -> list[FieldError]:
    """Dependencies that are neither steps nor jobs."""
    return [
        FieldError(f"/depends_on/{i}", f"there is no step '{d}' in this pipeline; its steps are {', '.join(steps)}")
        for i, d in enumerate(step.depends_on) if d not in steps and not d.startswith("job_")
    ]  # fmt: skip


def _read(made: Plan, name: str, step: StepRequest, taken: Sequence[Link], ids: Mapping[str, str], project_id: str,
          settings: Settings, steps: Iterable[str]) -> Step | None:  # fmt: skip
    """A step with stand-ins for what it takes; None, and errors in the plan, when its spec is wrong."""
    names = {link.place: stand_in(link.resource, ids.get(link.step, _NOWHERE)) for link in taken}
    request = step.model_copy(update={"spec": filled(step.spec, names), "name": step.name or name})
    try:
        asked = new_job(request, project_id, settings, [d for d in step.depends_on if d not in steps])
    except ValidationFailed as error:
        # what is said of a link is said once
        said = {e.pointer.removeprefix(f"/steps/{name}").removesuffix("/from") for e in made.errors}
        made.wrong(name, [e for e in error.errors if not any(e.pointer == s or e.pointer.startswith(f"{s}/")
                                                             for s in said if s)])  # fmt: skip
        return None
    given = step.model_dump(mode="json", exclude_unset=True)
    others = [link.step for link in taken] + [d for d in step.depends_on if d in steps]
    return Step(replace(asked, id=ids[name]), tuple(taken), tuple(dict.fromkeys(others)), given)


def refusal_order(errors: Iterable[FieldError], steps: Iterable[str]) -> list[FieldError]:
    """Errors in the order of the steps."""
    places = {name: number for number, name in enumerate(steps)}

    def place(error: FieldError) -> int:
        parts = error.pointer.split("/")
        return places.get(parts[2], -1) if len(parts) > 2 else -1

    return sorted(errors, key=place)
