"""What the API takes and gives about aliases of models."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import Path
from pydantic import BaseModel, ConfigDict, Field

from medcoss.modalities import ModalityName
from services.api.schemas import Body, Text

_NOTE = "Dice of the left atrium went from 0.89 to 0.91"
_MODEL, _BEFORE = "mdl_0199c2d1c44e5f6071829", "mdl_0199c2bf733d4e5f60718"
_GATE: dict[str, Any] = {"average": 0.05, "each": 0.1, "modalities": {"report": 0.2}, "accuracy": 0.03}
_CHECK: dict[str, Any] = {
    "alias": "production", "model_id": _MODEL, "passes": False, "report_id": "evl_0199c2d8a1170a1b2c3d4",
    "refusals": ["the forgetting of 'xray' is 0.14, at most 0.1 is allowed"],
}  # fmt: skip
_ALIAS: dict[str, Any] = {
    "id": "als_0199c2d3558293041526f", "project_id": "prj_default", "name": "production", "model_id": _MODEL,
    "note": _NOTE, "promoted_by": "ada", "promoted_at": "2026-03-02T12:00:00Z", "gate": _GATE,
    "created_at": "2026-03-02T08:30:00Z",
}  # fmt: skip
_MOVE: dict[str, Any] = {
    "seq": 12, "alias": "production", "action": "promoted", "from_id": _BEFORE, "to_id": _MODEL, "actor": "ada",
    "note": _NOTE, "override": None, "report_id": "evl_0199c2d8a1170a1b2c3d4", "at": "2026-03-02T12:00:00Z",
}  # fmt: skip

AliasName = Annotated[
    str, Path(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$", description="name of an alias, without its @, e.g. production")
]


class PromotionRequest(Body):
    """Names the model that an alias is to stand for."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"model_id": _MODEL, "note": _NOTE}})

    model_id: str = Field(max_length=64, description="model of the alias's project, by id or by another alias")
    note: Text = Field("", max_length=4000, description="why, for people")
    override: Text | None = Field(
        None, min_length=3, max_length=4000, description="why it moves although its gate is closed; it is recorded"
    )


Bound = Annotated[float, Field(ge=0, le=1000)]


class GateRequest(Body):
    """Bounds of the forgetting report of a model that an alias may move to. Forgetting is counted as a share of the
    pretext loss right after a modality was learnt: 0.05 allows it to be 5 % higher than the lowest since.
    """

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": _GATE})

    average: Bound | None = Field(None, description="largest mean forgetting over all modalities; null: any")
    each: Bound | None = Field(None, description="largest forgetting of a modality that `modalities` does not name")
    modalities: dict[ModalityName, Bound] = Field({}, max_length=64, description="largest forgetting by modality")
    accuracy: Bound | None = Field(
        None, description="largest loss of a probe's balanced accuracy, of any modality with classes"
    )


class GateCheck(BaseModel):
    """Whether an alias may move to a model."""

    model_config = ConfigDict(json_schema_extra={"example": _CHECK})

    alias: str = Field(description="name without its @")
    model_id: str = Field(description="model that it would move to, mdl_...")
    passes: bool = Field(description="true when its gate is open to the model, or it has none")
    report_id: str | None = Field(description="the forgetting report that was looked at, evl_...; null without one")
    refusals: list[str] = Field(description="why it is closed, one sentence each")


class RollbackRequest(Body):
    """Why an alias goes back."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"note": "misses small lesions"}})

    note: Text = Field("", max_length=4000, description="why, for people")


class AliasOut(BaseModel):
    """A name that stands for one model at a time: `@name` is taken wherever a model's id is."""

    model_config = ConfigDict(from_attributes=True, json_schema_extra={"example": _ALIAS})

    id: str = Field(description="identifier, als_...")
    project_id: str = Field(description="project that owns it, prj_...")
    name: str = Field(description="name without its @")
    model_id: str = Field(description="model that it stands for now, mdl_...")
    note: str = Field(description="what was said when it was promoted")
    promoted_by: str = Field(description="who made it stand for that model")
    promoted_at: datetime = Field(description="since when it stands for that model")
    gate: GateRequest | None = Field(description="what a model has to pass to be promoted; null: any may be")
    created_at: datetime = Field(description="when the alias was made")


class PromotionOut(BaseModel):
    """One move of an alias."""

    model_config = ConfigDict(from_attributes=True, json_schema_extra={"example": _MOVE})

    seq: int = Field(description="number of the row")
    alias: str = Field(description="name without its @")
    action: str = Field(description="promoted, rolled_back or removed")
    from_id: str | None = Field(description="model before; null for the first")
    to_id: str | None = Field(description="model after; null when the alias was removed")
    actor: str = Field(description="who did it")
    note: str = Field(description="why, in their words")
    override: str | None = Field(description="why it moved although its gate was closed; null where that was open")
    report_id: str | None = Field(description="forgetting report that its gate has looked at, evl_...")
    at: datetime = Field(description="when it happened")
