"""What the API takes and gives about many jobs at once."""

from typing import Annotated, Self

from pydantic import BaseModel, Field, field_validator, model_validator

from services.api.schemas import Body, JobOut, JobRequest, ProjectRef
from services.core.problems import FieldProblem

Ref = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")]
# an id, or the `ref` of another job of the batch
Dependency = Annotated[str, Field(pattern=r"^(job_[0-9a-z]{8,40}|[a-z0-9][a-z0-9._-]{0,62})$")]


class BatchJob(JobRequest):
    """One job of a batch: a request as for a single one, with a name for the others to depend on."""

    ref: Ref | None = Field(None, description="what other jobs of the batch name it by in their `depends_on`")
    depends_on: list[Dependency] = Field(
        default=[], max_length=100, description="jobs that must have succeeded first: ids, or `ref`s of this batch"
    )

    @field_validator("project")
    @classmethod
    def _is_the_batchs(cls, value: str | None) -> str | None:
        if value is not None:
            raise ValueError("say the project once, for the whole batch")
        return value

    @field_validator("ref")
    @classmethod
    def _is_no_id(cls, value: str | None) -> str | None:
        if value is not None and value.startswith("job_"):
            raise ValueError("expected a name that does not look like a job's id")
        return value


class BatchRequest(Body):
    """Asks for several jobs of one project."""

    project: ProjectRef = None
    jobs: list[BatchJob] = Field(min_length=1, description="in the order in which they are queued")
    all_or_nothing: bool = Field(
        True, description="false: jobs that are wrong, and those that need them, are left out and named in `errors`"
    )

    @model_validator(mode="after")
    def _refs_are_distinct(self) -> Self:
        refs = [job.ref for job in self.jobs if job.ref is not None]
        twice = next((ref for ref in refs if refs.count(ref) > 1), None)
        if twice is not None:
            raise ValueError(f"the ref '{twice}' is given twice; expected every ref once")
        return self


class BatchOut(BaseModel):
    """The jobs of a batch, in the order of the request; null for one that was left out."""

    jobs: list[JobOut | None] = Field(description="the jobs in the order of the request; null for one left out")
    errors: list[FieldProblem] = Field([], description="why jobs were left out")
