"""The ablation of continual pre-training: one curriculum in several ways and with several seeds, as one pipeline."""

import json
from collections.abc import Sequence
from typing import Any

from medcoss.specs.curriculum import Curriculum, Step, expand
from medcoss.specs.forgetting import ForgettingOptions

# what differs from the curriculum: how is rehearsed, and in stages after the first, mixup
ARMS: dict[str, dict[str, Any]] = {
    "none": {"rehearsal": "none"},
    "random": {"buffer": {"strategy": "random"}, "mixup": False},
    "kmeans": {"buffer": {"strategy": "kmeans"}, "mixup": False},
    "kmeans-mixup": {"buffer": {"strategy": "kmeans"}, "mixup": True},
    "joint": {"rehearsal": "joint"},
}


def ablation(
    curriculum: Curriculum, arms: Sequence[str] = tuple(ARMS), seeds: Sequence[int] = (0, 1, 2)
) -> dict[str, Step]:
    """The steps of a curriculum in all these ways; what is the same in several of them is one step.

    The last stage of an arm is measured by the step `ARM-SEED-forgetting`. Raises ValueError for an unknown arm, and
    for an encoder to go on from without the buffers of what it knows.
    """
    if curriculum.init_model is not None and curriculum.init_buffers is None:
        raise ValueError("the arms go on from init_model: name the buffers that they rehearse in init_buffers")
    unknown = [arm for arm in arms if arm not in ARMS]
    if unknown:
        raise ValueError(f"there is no arm '{unknown[0]}'; expected some of {', '.join(ARMS)}")
    made: dict[str, Step] = {}
    known: dict[str, str] = {}
    for seed in seeds:
        for arm in arms:
            renamed: dict[str, str] = {}
            for name, step in _arm(curriculum, arm, seed).items():
                own = {**step, "spec": _renamed(step["spec"], renamed)}
                same = json.dumps(own, sort_keys=True)
                renamed[name] = known.setdefault(same, f"{arm}-{seed}-{name}")
                made.setdefault(renamed[name], own)
    return made


def _arm(curriculum: Curriculum, arm: str, seed: int) -> dict[str, Step]:
    """One way, with one seed."""
    given, how = curriculum.model_dump(mode="json", exclude_unset=True), ARMS[arm]
    given["training"] = given.get("training", {}) | {"seed": seed}
    given["buffer"] = given.get("buffer", {}) | how.get("buffer", {}) | {"seed": seed}
    given["rehearsal"] = how.get("rehearsal", "buffers")
    # mixup changes nothing where nothing is rehearsed
    for number, stage in enumerate(given["stages"]):
        if number and "mixup" in how:
            stage["training"] = (stage.get("training") or {}) | {"mixup": how["mixup"]}
    given["forgetting"] = given.get("forgetting") or ForgettingOptions().model_dump(mode="json", exclude_unset=True)
    given["forgetting_after"] = "last"
    steps = expand(Curriculum.model_validate(given))
    return {"forgetting" if step["kind"] == "forgetting" else name: step for name, step in steps.items()}


def _renamed(value: Any, names: dict[str, str]) -> Any:
    """References to the steps of an arm, by the names that they have in the whole."""
    if isinstance(value, dict):
        if set(value) == {"from"}:
            step, _, output = str(value["from"]).rpartition(".")
            return {"from": f"{names[step]}.{output}"}
        return {name: _renamed(inner, names) for name, inner in value.items()}
    return [_renamed(inner, names) for inner in value] if isinstance(value, list) else value
