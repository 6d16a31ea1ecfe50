"""What the API takes and gives about pipelines."""

from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from medcoss.specs.curriculum import Curriculum
from services.api.schemas import FRACTION, SECONDS, Body, JobRequest, Notes, Progress, ProjectRef, Text
from services.api.schemas_batch import Dependency
from services.api.schemas_preflight import FigureOut, PreflightOut
from services.core.problems import FieldProblem

_RAW, _BUFFER = "ds_0199c2b3f00a1b2c3d4e5", {"model": {"from": "xray.model"}, "dataset": {"from": "films.dataset"}}
_RECIPE = {"name": "image_folder", "modality": "xray"}
STEPS: dict[str, Any] = {
    "films": {"kind": "preprocess", "spec": {"dataset": _RAW, "recipe": _RECIPE}},
    "xray": {"kind": "pretrain", "spec": {"dataset": {"from": "films.dataset"}, "size": "small", "epochs": 100}},
    "xray-buffer": {"kind": "build_buffer", "spec": _BUFFER},
    "pathology": {
        "kind": "pretrain",
        "spec": {"dataset": "ds_0199c2b4a11b2c3d4e5f6", "init_model": {"from": "xray.model"},
                 "rehearsal": [{"from": "xray-buffer.dataset"}], "epochs": 100},
    },
}  # fmt: skip
_SHOWN_STEP: dict[str, Any] = {
    "name": "xray", "kind": "pretrain", "state": "running", "job_id": "job_0199c2b44550a1b2c3d4e", "reused": False,
    "depends_on": ["films"], "spec": STEPS["xray"]["spec"], "outputs": {},
    "progress": {"done": 120, "total": 8_100, "fraction": 120 / 8_100, "message": "epoch 2 of 100", "eta_s": 1_204.0},
    "reason": None, "error": None, "expected_s": 1_263.9, "earlier_jobs": [], "started_at": "2026-03-02T08:30:00Z",
    "finished_at": None,
}  # fmt: skip
PIPELINE: dict[str, Any] = {
    "id": "pip_0199c2b55661b2c3d4e5f", "project_id": "prj_default", "name": "two hospitals", "notes": "",
    "state": "running",
    "progress": {"done": 1, "total": 4, "fraction": 0.254, "message": "1 of 4 steps is done; xray: epoch 2 of 100",
                 "eta_s": 2_660.0},
    "steps": [_SHOWN_STEP], "rerun_of": None, "curriculum": None, "created_by": "ada",
    "created_at": "2026-03-02T08:29:00Z", "started_at": "2026-03-02T08:29:02Z", "finished_at": None,
}  # fmt: skip

# what is told of a pipeline as a whole, with its unit
SUMS = {"samples": "sample", "training_steps": "step", "duration": "s", "gpu_hours": "h", "storage": "byte"}
UNKNOWN = "it is not known while fields are wrong"

StepName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]


class StepRequest(JobRequest):
    """A step: a request as for a single job. In its spec, `{"from": "STEP.model"}` or `{"from": "STEP.dataset"}` stands
    for what another step makes.
    """

    depends_on: list[Dependency] = Field(
        default=[], max_length=100,
        description="steps, by name, or jobs, by id, that must have succeeded first, besides those of which it takes "
        "something",
    )  # fmt: skip

    @field_validator("project")
    @classmethod
    def _is_the_pipelines(cls, value: str | None) -> str | None:
        if value is not None:
            raise ValueError("say the project once, for the whole pipeline")
        return value


class PipelineRequest(Body):
    """Asks for a pipeline: jobs of one project whose inputs may be each other's outputs."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"name": "two hospitals", "steps": STEPS}}
    )  # fmt: skip

    name: Text | None = Field(None, min_length=1, max_length=128, description="for people; `pipeline` when left out")
    notes: Notes = ""
    project: ProjectRef = None
    steps: dict[StepName, StepRequest] = Field(
        default={}, description="the steps by their names; none with a `curriculum`"
    )
    curriculum: Curriculum | None = Field(
        None, description="stages of continual pre-training, which are expanded to steps: /v1/pipelines:expand shows "
        "them, and pointers of errors lead into them",
    )  # fmt: skip
    reuse: bool = Field(
        False, description="true: a step is not run whose kind, spec and inputs are those of a step of the project "
        "that has succeeded by the same version, if what it has made is still there",
    )  # fmt: skip

    @field_validator("steps")
    @classmethod
    def _are_no_ids(cls, value: dict[str, StepRequest]) -> dict[str, StepRequest]:
        found = next((name for name in value if name.startswith("job_")), None)
        if found is not None:
            raise ValueError(f"the step '{found}' has a name that looks like a job's id; choose another one")
        return value

    @model_validator(mode="after")
    def _has_one_of_both(self) -> Self:
        if bool(self.steps) == (self.curriculum is not None):
            raise ValueError("expected steps or a curriculum, one of them")
        return self


class ExpandedOut(BaseModel):
    """The steps of a pipeline as they are going to be submitted."""

    steps: dict[str, dict[str, Any]] = Field(description="the steps by their names, as a pipeline takes them")


class RerunRequest(Body):
    """Asks for a pipeline again, with other parameters."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"changes": {"pathology": {"epochs": 200, "mask_ratio": 0.6}}}}
    )

    name: Text | None = Field(None, min_length=1, max_length=128, description="for people; as it was when left out")
    notes: Notes = ""
    changes: dict[StepName, dict[str, Any]] = Field(
        default={}, description="for steps by their names, the fields of their specs that are other than they were"
    )
    reuse: bool = Field(
        True, description="false: every step is run again, also those whose kind, spec and inputs are what they were"
    )


class PipelineProgress(BaseModel):
    """How far a pipeline is."""

    done: int = Field(description="steps that have succeeded", json_schema_extra={"unit": "step"})
    total: int = Field(description="steps in all", json_schema_extra={"unit": "step"})
    fraction: float = Field(description="share that is done, every step alike", json_schema_extra=FRACTION)
    message: str = Field(description="in words, with what is running")
    eta_s: float | None = Field(
        description="time to go along the longest way through the steps: of what runs as it says, of what does not yet "
        "as it was estimated; null while it is not known of one of them", json_schema_extra=SECONDS,
    )  # fmt: skip


class StepOut(BaseModel):
    """A step of a pipeline, and the job that does it."""

    name: str = Field(description="name in the pipeline")
    kind: str = Field(description="kind of its job")
    state: str = Field(description="state of its job")
    job_id: str = Field(description="its job, job_...")
    reused: bool = Field(description="true: it was not run; the job is that of a step with the same inputs and spec")
    depends_on: list[str] = Field(description="steps and jobs that it waits for or waited for")
    spec: dict[str, Any] = Field(description="parameters as they were asked for")
    outputs: dict[str, str] = Field(description="what it has made, by `model`, `dataset` and so on")
    progress: Progress | None = Field(description="how far its job is; null before that says so")
    reason: str | None = Field(description="what it waits for, or why it is about to stop")
    error: dict[str, Any] | None = Field(description="why its job has failed, a problem")
    expected_s: float | None = Field(
        description="time that it was estimated to run when it was submitted", json_schema_extra=SECONDS
    )
    earlier_jobs: list[str] = Field(description="jobs that had failed before the step was tried again")
    started_at: datetime | None = Field(description="when its job began")
    finished_at: datetime | None = Field(description="when its job ended")


class PipelineOut(BaseModel):
    """A pipeline."""

    id: str = Field(description="identifier, pip_...")
    project_id: str = Field(description="project that owns it, prj_...")
    name: str = Field(description="for people")
    notes: str = Field(description="for people")
    state: Literal["waiting", "queued", "running", "paused", "succeeded", "failed", "cancelled"] = Field(
        description="while steps go on, the first of running, queued, paused and waiting that one is in; then failed, "
        "cancelled or succeeded"
    )
    progress: PipelineProgress = Field(description="how far its steps are together")
    steps: list[StepOut] = Field(description="its steps, in the order in which they were given")
    rerun_of: str | None = Field(description="pipeline that it repeats with other parameters")
    curriculum: dict[str, Any] | None = Field(
        description="what its steps were made from, without the changes of a rerun; null when they were given"
    )
    created_by: str = Field(description="owner of the key that submitted it")
    created_at: datetime = Field(description="when it was submitted")
    started_at: datetime | None = Field(description="when its first job began")
    finished_at: datetime | None = Field(description="when its last job ended; null while steps go on")


class PipelinePreflightOut(BaseModel):
    """What would come of a pipeline if it were submitted now. Nothing is recorded."""

    valid: bool = Field(description="false: it would be refused; `errors` says why")
    errors: list[FieldProblem] = Field(description="all that is wrong, each with a pointer into the request")
    steps: dict[str, PreflightOut] = Field(
        description="what would come of each step that can be looked at, by name; of what other steps make, as much is "
        "supposed as their specs tell"
    )
    samples: FigureOut = Field(description="samples that the steps read together")
    training_steps: FigureOut = Field(description="optimizer steps of all trainings together")
    duration: FigureOut = Field(description="time along the longest way through the steps, if there are workers enough")
    gpu_hours: FigureOut = Field(description="hours of GPUs that all steps take together; of CPUs where there is none")
    storage: FigureOut = Field(description="room in the object store that all of them need together")


_UNKNOWN_STEP = "there is no step 'film' in this pipeline; its steps are films, xray"
EXAMPLES: tuple[BaseModel, ...] = (
    PipelineOut.model_validate(PIPELINE),
    ExpandedOut(steps=STEPS),
    PipelinePreflightOut(
        valid=False, steps={}, errors=[FieldProblem(pointer="/steps/xray/spec/dataset/from", detail=_UNKNOWN_STEP)],
        **{name: FigureOut(value=None, unit=unit, how=UNKNOWN, parts={}) for name, unit in SUMS.items()},
    ),
)  # fmt: skip
