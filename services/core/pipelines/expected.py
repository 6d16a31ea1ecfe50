"""What steps are going to make, as far as it is known before they run: their followers are checked against it."""

from dataclasses import dataclass
from functools import singledispatch
from typing import Any

from medcoss.modalities import BUILTIN, Kind, Modality
from medcoss.specs import (
    BuildBufferSpec,
    FinetuneSpec,
    ImportModelSpec,
    PreprocessSpec,
    PretrainSpec,
    Spec,
    raw,
)
from medcoss.specs.encoder import REPORT_LENGTH, SIZES
from medcoss.specs.plan import buffer_counts
from medcoss.specs.records import DatasetInfo, ModelInfo
from services.core.forecast import WORDS
from services.core.inputs import Inputs
from services.core.pending import stand_in
from services.core.tables import Dataset, Model

# samples of each split that are supposed where nobody can know: enough for anything
PLENTY = 1_000_000


@dataclass(frozen=True)
class Coming:
    """What a job is going to make; `vague` when neither its samples nor its classes are known, `uncounted` when not
    even their number can be told.
    """

    info: DatasetInfo | ModelInfo
    vague: bool = False
    uncounted: bool = False
    total_bytes: int = 0

    def row(self, job_id: str, project_id: str) -> Dataset | Model:
        """As it is going to be recorded, under its stand-in; it belongs to no session."""
        about: dict[str, Any] = {"info": self.info.model_dump(mode="json"), "project_id": project_id, "parents": []}
        about |= {"name": "", "prefix": "", "modality": self.info.modality}
        if isinstance(self.info, ModelInfo):
            return Model(id=stand_in("model", job_id), task=self.info.task, **about)
        return Dataset(id=stand_in("dataset", job_id), role=self.info.role, state="ready", file_count=0,
                       total_bytes=self.total_bytes, **about)  # fmt: skip


@singledispatch
def coming(spec: Spec, found: Inputs, paths: list[str]) -> Coming | None:
    """What a job is going to make that others can take. `paths` are the files of its raw dataset."""
    return None


@coming.register
def _(spec: PreprocessSpec, found: Inputs, paths: list[str]) -> Coming | None:
    recipe, modality = spec.recipe, spec.recipe.shows
    most = raw.most_images(paths, spec)
    shape = [REPORT_LENGTH]
    if modality.kind is not Kind.TEXT:
        shape = [modality.channels, *getattr(recipe, "size", modality.size)]
    splits = dict.fromkeys(("train", "val", "test"), PLENTY)
    if most is not None:
        splits = _divided(most.count, getattr(recipe, "splits", None))
    info = DatasetInfo(
        modality=modality.name, kind=modality.kind, samples=sum(splits.values()), splits=splits, sample_shape=shape,
        recipe=recipe.model_dump(mode="json"),
        declared=recipe.modality if isinstance(recipe.modality, Modality) else None,
    )  # fmt: skip
    return Coming(info, True, most is None, most.total_bytes if most else 0)


def _divided(count: int, splits: Any) -> dict[str, int]:
    """Samples of each split, as far as fractions tell."""
    if getattr(splits, "method", "folders") != "random":
        return {"train": count}
    val, test = round(count * splits.val_fraction), round(count * splits.test_fraction)
    return {"train": count - val - test, "val": val, "test": test}


@coming.register
def _(spec: PretrainSpec, found: Inputs, paths: list[str]) -> Coming | None:
    dataset, model = found.dataset(spec.dataset), found.model(spec.init_model)
    if dataset is None:
        return None
    scratch = SIZES[spec.size].to_dict() | {"attention": spec.attention, "positions": spec.positions}
    config = dict(model.config if model else scratch)
    learnt = [dataset, *(one for name in spec.joint if (one := found.dataset(name)) is not None)]
    if config.get("vocabulary") == 0 and (spec.vocabulary or any(one.kind is Kind.TEXT for one in learnt)):
        config["vocabulary"] = WORDS if spec.vocabulary else spec.vocabulary_size
    known = model.modalities if model else []
    info = ModelInfo(
        task="encoder", size=model.size if model else spec.size, config=config,
        modalities=list(dict.fromkeys([*known, *(one.modality for one in learnt)])),
        stage=(model.stage if model else 0) + 1,
        modality=dataset.modality, kind=dataset.kind, sample_shape=dataset.sample_shape, recipe=dataset.recipe,
        recipes=(model.recipes if model else {}) | {one.modality: one.recipe for one in learnt},
        declared=(model.declared if model else {}) | {one.modality: one.declared for one in learnt if one.declared},
        learnt=[one.modality for one in learnt] if len(learnt) > 1 else [],
    )  # fmt: skip
    return Coming(info)


@coming.register
def _(spec: BuildBufferSpec, found: Inputs, paths: list[str]) -> Coming | None:
    dataset, row = found.dataset(spec.dataset), found.datasets.get(spec.dataset)
    if dataset is None or row is None:
        return None
    model = found.model(spec.model)
    clusters, quota = buffer_counts(dataset, spec, len(model.modalities) if model else 1)
    count = clusters * quota
    about = {"role": "buffer", "samples": count, "splits": {"train": count}}
    info = DatasetInfo.model_validate(dataset.model_dump() | about)
    return Coming(info, total_bytes=round(row.total_bytes * count / max(dataset.samples, 1)))


@coming.register
def _(spec: FinetuneSpec, found: Inputs, paths: list[str]) -> Coming | None:
    dataset, model = found.dataset(spec.dataset), found.model(spec.init_model)
    if dataset is None:
        return None
    info = ModelInfo(
        task=spec.task, size=model.size if model else spec.size,
        config=dict(model.config) if model else SIZES[spec.size].to_dict(),
        modalities=model.modalities if model else [], stage=model.stage if model else 0, modality=dataset.modality,
        kind=dataset.kind, classes=dataset.classes, sample_shape=dataset.sample_shape, recipe=dataset.recipe,
        recipes=model.recipes if model else {}, declared=model.declared if model else {},
    )  # fmt: skip
    return Coming(info)


@coming.register
def _(spec: ImportModelSpec, found: Inputs, paths: list[str]) -> Coming | None:
    """Its file says what it is; it is supposed to have learnt whatever is asked of it."""
    modalities = [*(BUILTIN if spec.modalities is None else spec.modalities)]
    info = ModelInfo(task="encoder", size="", config={}, modalities=modalities, stage=len(modalities), modality="",
                     kind=Kind.TEXT, sample_shape=[], recipe={})  # fmt: skip
    return Coming(info, vague=True, uncounted=True)
