"""Curricula: modalities in the order in which an encoder learns them, and how; each is expanded to a pipeline.

preprocess? -> pretrain -> build_buffer -> preprocess? -> pretrain -> ...
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from medcoss.specs.base import DatasetRef, ModelRef, Spec, documented
from medcoss.specs.buffers import BuildBufferOptions
from medcoss.specs.forgetting import ForgettingOptions
from medcoss.specs.preprocess import PreprocessOptions
from medcoss.specs.training import PretrainOptions

Step = dict[str, Any]
StageName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,40}$")]
ModalityName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")]
# of MedCoSS (Ye et al., CVPR 2024), section 4.1: the stages in their order, and what differs from the defaults
PUBLISHED_ORDER = ("report", "xray", "ct", "mr", "pathology")
PUBLISHED_TRAINING: Step = {
    "size": "base", "epochs": 300, "warmup_epochs": 40, "batch_size": 512, "base_lr": 1.5e-4, "mask_ratio": 0.75,
    "mixup": True,
}  # fmt: skip
PUBLISHED_BUFFER: Step = {"centers_fraction": 0.01, "buffer_fraction": 0.05}


class CurriculumStage(Spec):
    """One stage: what is learnt, and from which data."""

    modality: ModalityName = documented("what the dataset shows")
    dataset: DatasetRef = documented("prepared dataset; with `prepare`, the raw one that it is made of")
    prepare: PreprocessOptions | None = documented("how the raw dataset is prepared first; None: it is", default=None)
    name: StageName | None = documented(
        "name of its step; None: the modality, with a number when that is taken", default=None
    )
    training: PretrainOptions | None = documented("fields that are other in this stage than in all", default=None)
    buffer: BuildBufferOptions | None = documented("fields of its rehearsal buffer that are other", default=None)


class Curriculum(Spec):
    """Stages of continual pre-training, one after the other, each with the buffers of all before it."""

    stages: tuple[CurriculumStage, ...] = documented(
        "what is learnt, in this order; with init_model, after what that knows", min_length=1, max_length=64
    )
    preset: Literal["published"] | None = documented(
        "published: the five stages of MedCoSS (report, xray, ct, mr, pathology) with their settings; fields that are "
        "given win over it",
        default=None,
    )
    training: PretrainOptions = documented(
        "how every stage trains, the size of the encoder among it; see `pretrain`", default=PretrainOptions()
    )
    buffer: BuildBufferOptions = documented(
        "how every rehearsal buffer is chosen; see `build_buffer`", default=BuildBufferOptions()
    )
    rehearsal: Literal["buffers", "none", "joint"] = documented(
        "buffers: each stage rehearses all before it; none: nothing is rehearsed; joint: one single stage learns all "
        "modalities at once",
        default="buffers",
    )
    init_model: ModelRef | None = documented(
        "encoder to go on from; the buffers of its earlier stages are found by its lineage, and made where they are "
        "missing. None starts from scratch",
        default=None,
    )
    init_buffers: tuple[DatasetRef, ...] | None = documented(
        "buffers of the stages before init_model, all that are rehearsed; None: they are found", default=None,
        max_length=64,
    )  # fmt: skip
    vocabulary: DatasetRef | None = documented(
        "raw dataset that holds a BERT vocab.txt, for an encoder without one; None learns one from the reports",
        default=None,
    )
    measured_on: tuple[DatasetRef, ...] = documented(
        "prepared datasets that the models are going to be measured on: their patients of val and test are not trained "
        "on",
        default=(), max_length=64,
    )  # fmt: skip
    forgetting: ForgettingOptions | None = documented(
        "measure, on held-out data of all modalities so far, what is left of the earlier ones; see `forgetting`. None: "
        "nothing is measured",
        default=None,
    )
    forgetting_after: Literal["every", "last"] = documented(
        "every: it is measured after every stage, which can then be promoted; last: once, after the last stage, for "
        "the models of all",
        default="every",
    )
    last_buffer: bool = documented(
        "choose a buffer of the last stage, too, for those that are added later", default=False
    )
    gpus: int | None = documented(
        "GPUs of each training; None: one where the worker has any", "GPU", default=None, ge=0, le=64
    )

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        order = tuple(stage.modality for stage in self.stages)
        if self.preset == "published" and order != PUBLISHED_ORDER:
            raise ValueError(
                f"preset 'published' has the stages {', '.join(PUBLISHED_ORDER)}, found {', '.join(order)}; give a "
                "dataset for each, or leave preset out"
            )
        if self.init_buffers is not None and self.init_model is None:
            raise ValueError("init_buffers are those of init_model; give both or neither")
        names = [stage.name for stage in self.stages if stage.name is not None]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"the name '{twice}' is given to two stages; give every name once")
        return self


@dataclass(frozen=True)
class Earlier:
    """A stage before a curriculum begins: what was learnt, by which model, from which dataset if it is still there, and
    its buffer if there is one, with its size in bytes, uncompressed.
    """

    modality: str
    model: str
    dataset: str | None
    buffer: str | None = None
    buffer_bytes: int = 0


def stage_names(curriculum: Curriculum) -> list[str]:
    """The name of each stage's step of pre-training."""
    taken = {stage.name for stage in curriculum.stages if stage.name is not None}
    found: list[str] = []
    for stage in curriculum.stages:
        name = stage.name or next(_free(stage.modality, taken))
        taken.add(name)
        found.append(name)
    return found


def _free(name: str, taken: set[str]) -> Iterator[str]:
    number = 1
    while True:
        made = name if number == 1 else f"{name}-{number}"
        if made not in taken:
            yield made
        number += 1


def expand(curriculum: Curriculum, earlier: Sequence[Earlier] = ()) -> dict[str, Step]:
    """The steps of a curriculum as a pipeline takes them; `earlier` are the stages of its init_model."""
    return _Expansion(curriculum).steps_after(earlier)


def _given(options: Spec | None) -> Step:
    return {} if options is None else options.model_dump(mode="json", exclude_unset=True)


class _Expansion:
    """Steps as they are put together: `model` is what the next one goes on from, `buffers` what it rehearses."""

    def __init__(self, curriculum: Curriculum) -> None:
        self.of = curriculum
        published = curriculum.preset == "published"
        self.training = (PUBLISHED_TRAINING if published else {}) | _given(curriculum.training)
        self.buffer = (PUBLISHED_BUFFER if published else {}) | _given(curriculum.buffer)
        self.model: Any = curriculum.init_model
        self.buffers: dict[str, Any] = {}
        self.steps: dict[str, Step] = {}
        self.names = stage_names(curriculum)
        # of the line so far
        self.models: list[Any] = []
        self.datasets: list[Any] = []

    def steps_after(self, earlier: Sequence[Earlier]) -> dict[str, Step]:
        """All steps in order."""
        for stage in earlier:
            _add(self.models, stage.model)
            if stage.dataset is not None:
                _add(self.datasets, stage.dataset)
        if self.of.rehearsal == "joint":
            self._joint()
            return self.steps
        if self.of.rehearsal == "buffers":
            self._before(earlier)
        for number, name in enumerate(self.names):
            self._stage(number, name)
            last = number == len(self.names) - 1
            self._measure(name, [self._data(number, name)], last=last)
            if self.of.rehearsal == "buffers" and (not last or self.of.last_buffer):
                self._choose_again(number + 1)
                self._choose(name, f"{name}-buffer", self._data(number, name), self.of.stages[number].buffer)
        return self.steps

    def _before(self, earlier: Sequence[Earlier]) -> None:
        for number, name in enumerate(self.of.init_buffers or ()):
            self.buffers[f"earlier-{number + 1}"] = name
        if self.of.init_buffers is not None:
            return
        taken, budget = set(self.names), self.buffer.get("buffer_budget_bytes")
        known = all(stage.buffer is not None for stage in earlier)
        within = budget is None or (known and sum(stage.buffer_bytes for stage in earlier) <= budget)
        for stage in earlier:
            name = next(_free(f"earlier-{stage.modality}", taken))
            taken.add(name)
            if stage.buffer is None:
                self._choose(name, f"{name}-buffer", stage.dataset, None, stage.model, len(earlier))
            elif within:
                self.buffers[name] = stage.buffer
            else:
                self._choose(name, f"{name}-buffer", stage.buffer, None, None, len(earlier))

    def _data(self, number: int, name: str) -> Any:
        """The prepared dataset of a stage; of a raw one, the step that prepares it."""
        stage = self.of.stages[number]
        if stage.prepare is None:
            return stage.dataset
        self.steps.setdefault(
            f"{name}-data", {"kind": "preprocess", "spec": {"dataset": stage.dataset, **_recipe(stage.prepare)}}
        )
        return {"from": f"{name}-data.dataset"}

    def _common(self) -> Step:
        found: Step = {"vocabulary": self.of.vocabulary} if self.of.vocabulary else {}
        measured = list[Any](self.of.measured_on)
        if self.of.forgetting is not None and self.of.forgetting.allow_leakage is None:
            # patients that forgetting is measured on are refused before a stage is trained on them, not after it
            for dataset in self.datasets:
                _add(measured, dataset)
        return found | ({"measured_on": measured} if measured else {})

    def _stage(self, number: int, name: str) -> None:
        spec = self.training | _given(self.of.stages[number].training) | self._common()
        spec["dataset"] = self._data(number, name)
        if self.model is not None:
            spec |= {"init_model": self.model, "rehearsal": list(self.buffers.values())}
        self._train(name, spec)

    def _train(self, name: str, spec: Step) -> None:
        resources = {} if self.of.gpus is None else {"resources": {"gpus": self.of.gpus}}
        self.steps[name] = {"kind": "pretrain", "spec": spec, **resources}
        self.model = {"from": f"{name}.model"}

    def _choose(self, name: str, step: str, dataset: Any, own: BuildBufferOptions | None, model: Any = None,
                sharing: int = 0) -> None:  # fmt: skip
        """A buffer by the newest model, or another one; as many as are there with it share a budget, or more."""
        spec = self.buffer | _given(own) | {"model": model or self.model, "dataset": dataset}
        if spec.get("buffer_budget_bytes") is not None:
            spec = {"sharing": max(len({*self.buffers, name}), sharing)} | spec
        if self.of.measured_on:
            spec["measured_on"] = list(self.of.measured_on)
        self.steps[step] = {"kind": "build_buffer", "spec": spec}
        self.buffers[name] = {"from": f"{step}.dataset"}

    def _choose_again(self, number: int) -> None:
        """Within a budget, every earlier buffer becomes smaller when a modality is added."""
        if self.buffer.get("buffer_budget_bytes") is None:
            return
        for name, dataset in list(self.buffers.items()):
            self._choose(name, f"{name}-buffer-{number}", dataset, None, None, len(self.buffers) + 1)

    def _joint(self) -> None:
        first, *others = [self._data(number, name) for number, name in enumerate(self.names)]
        spec = self.training | _given(self.of.stages[0].training) | self._common() | {"dataset": first}
        if self.model is not None:
            spec["init_model"] = self.model
        self._train("joint", spec | ({"joint": others} if others else {}))
        self._measure("joint", [first, *others], last=True)

    def _measure(self, name: str, learnt: list[Any], *, last: bool) -> None:
        """What the newest stage has left of those before it."""
        self.models.append(self.model)
        for dataset in learnt:
            _add(self.datasets, dataset)
        if self.of.forgetting is not None and (last or self.of.forgetting_after == "every"):
            inputs = {"models": list(self.models), "datasets": list(self.datasets)}
            self.steps[f"{name}-forgetting"] = {"kind": "forgetting", "spec": _given(self.of.forgetting) | inputs}


def _add(known: list[Any], one: Any) -> None:
    if one not in known:
        known.append(one)


def _recipe(options: PreprocessOptions) -> Step:
    """What was given, and the name of the recipe, which tells it from the others."""
    return _given(options) | {"recipe": _given(options.recipe) | {"name": options.recipe.name}}
