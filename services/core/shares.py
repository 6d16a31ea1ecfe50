"""Which jobs are shared out among child jobs, and what each of these does."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from medcoss.specs import CompareSpec, FinetuneSpec
from medcoss.specs.runs import FinetuneRunSpec, runs_of


@dataclass(frozen=True)
class Share:
    """A child job: its kind and spec, and what it is of its job, e.g. `chunk 1 of 4`."""

    kind: str
    spec: dict[str, Any]
    words: str


def shares(kind: str, spec: dict[str, Any]) -> list[Share]:
    """The child jobs of a job with this resolved spec; none where it does all itself."""
    return _OF_KIND[kind](spec) if kind in _OF_KIND else []


def _chunks(spec: dict[str, Any]) -> list[Share]:
    count = spec.get("chunks") or 1
    of = [spec | {"chunk": chunk} for chunk in range(count)] if count > 1 else []
    return [Share("preprocess_chunk", one, share_of("preprocess_chunk", one)) for one in of]


def _runs(spec: FinetuneSpec | CompareSpec) -> list[Share]:
    of = [run.model_dump(mode="json") for run in runs_of(spec)]
    return [Share("finetune_run", one, share_of("finetune_run", one)) for one in of]


_OF_KIND: Mapping[str, Callable[[dict[str, Any]], list[Share]]] = {
    "preprocess": _chunks,
    # without seeds and folds, which most are, nothing has to be looked at closely
    "finetune": lambda spec: _runs(FinetuneSpec.model_validate(spec)) if spec.get("seeds") or spec.get("folds") else [],
    "compare": lambda spec: _runs(CompareSpec.model_validate(spec)),
}


def share_of(kind: str, spec: dict[str, Any]) -> str:
    """What a child job is of its job."""
    if kind == "preprocess_chunk":
        return f"chunk {spec['chunk'] + 1} of {spec['chunks']}"
    return f"run {spec['run'] + 1} of {spec['runs']} ({FinetuneRunSpec.model_validate(spec).words})"


def noun(kind: str) -> str:
    """What the child jobs of a job of this kind are called together."""
    return "chunks" if kind == "preprocess" else "runs"


def only_adds_up(kind: str) -> bool:
    """True where the job itself, if it has child jobs, adds up what they have reached."""
    return kind in ("finetune", "compare")
