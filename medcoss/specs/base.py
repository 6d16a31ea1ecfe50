"""What all specs share: strictness, references, and fields that document themselves."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field


class Spec(BaseModel):
    """Base of every job's parameters: unknown keys are errors, values do not change."""

    # with a bound, text is also looked at for what is no Unicode
    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False, str_max_length=4096
    )


def documented(description: str, unit: str = "", **constraints: Any) -> Any:
    """A pydantic Field with the description and the unit that the served schema shows."""
    extra = dict(constraints.pop("json_schema_extra", {}))
    if unit:
        extra["unit"] = unit
    return Field(description=description, json_schema_extra=extra, **constraints)


def _reference(resource: str, pattern: str) -> Any:
    return Field(pattern=pattern, json_schema_extra={"reference": resource})


DatasetRef = Annotated[str, _reference("dataset", r"^ds_[0-9a-z]{8,40}$")]
# an alias such as @production becomes the id that it stands for when the job is submitted
ModelRef = Annotated[str, _reference("model", r"^mdl_[0-9a-z]{8,40}$|^@[a-z0-9][a-z0-9_-]{0,62}$")]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]
Seed = Annotated[int, Field(ge=0, le=2**31 - 1)]
