"""Plans of pipelines: one is accepted if and only if every reference fits its field and nothing waits for itself."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from medcoss.specs import JOB_KINDS
from medcoss.specs.ablation import ARMS, ablation
from medcoss.specs.buffers import BuildBufferOptions
from medcoss.specs.curriculum import PUBLISHED_ORDER, Curriculum, CurriculumStage, Earlier, expand
from medcoss.specs.forgetting import ForgettingOptions
from services.api.planning import plan
from services.api.schemas_pipelines import StepRequest
from services.core import pending
from services.core.pipelines.links import in_order
from services.core.settings import Settings

DATA, MODEL, BUFFER = "ds_00000000000000000001", "mdl_0000000000000000001", "ds_00000000000000000002"
KINDS = ("pretrain", "build_buffer", "finetune", "evaluate")
SETTINGS = Settings(s3_access_key="key", s3_secret_key="secret")  # type: ignore[call-arg]
# the fields that take something, and what
FIELDS = {
    "pretrain": {"dataset": "dataset", "init_model": "model", "rehearsal": "dataset"},
    "build_buffer": {"dataset": "dataset", "model": "model"},
    "finetune": {"dataset": "dataset", "init_model": "model"},
    "evaluate": {"dataset": "dataset", "model": "model"},
}


@st.composite
def pipelines(draw: st.DrawFn) -> dict[str, dict[str, Any]]:
    """Steps of several kinds, which take what they like of each other, or of nobody."""
    names = [f"s{number}" for number in range(draw(st.integers(1, 6)))]
    references = st.tuples(st.sampled_from([*names, *names, *names, "nobody"]), st.sampled_from(["model", "dataset"]))
    taken = st.one_of(st.none(), st.none(), references)
    steps: dict[str, dict[str, Any]] = {}
    for name in names:
        kind = draw(st.sampled_from(KINDS))
        spec: dict[str, Any] = {"dataset": DATA, "init_model" if kind in ("pretrain", "finetune") else "model": MODEL}
        spec |= {"task": "classification"} if kind == "finetune" else {}
        for field in FIELDS[kind]:
            if (chosen := draw(taken)) is not None:
                link = {"from": ".".join(chosen)}
                spec[field] = [BUFFER, link] if field == "rehearsal" else link
        others = draw(st.lists(st.sampled_from(names), max_size=1))
        steps[name] = {"kind": kind, "spec": spec, "depends_on": others}
    return steps


def links_of(step: dict[str, Any]) -> list[tuple[str, str, str]]:
    """What is taken: what the field takes, of whom, and which output."""
    found = []
    for field, resource in FIELDS[step["kind"]].items():
        values = step["spec"].get(field)
        for value in values if isinstance(values, list) else [values]:
            if isinstance(value, dict):
                other, output = value["from"].split(".")
                found.append((resource, other, output))
    return found


def fits(steps: dict[str, dict[str, Any]]) -> bool:
    """Said once more, in another way."""
    needs: dict[str, set[str]] = {name: set(step["depends_on"]) for name, step in steps.items()}
    for name, step in steps.items():
        for resource, other, output in links_of(step):
            made = JOB_KINDS[steps[other]["kind"]].produces if other in steps else None
            if not (output == made == resource):
                return False
            needs[name].add(other)
    left = dict(needs)
    for _ in steps:
        left = {name: others for name, others in left.items() if others & left.keys()}
    return not left


@settings(max_examples=150, deadline=None)
@given(pipelines())
def test_a_pipeline_is_accepted_if_and_only_if_it_fits_and_ends(steps: dict[str, dict[str, Any]]) -> None:
    made = plan({name: StepRequest.model_validate(step) for name, step in steps.items()}, "prj_default", SETTINGS)
    assert (not made.errors) == fits(steps), made.errors
    assert all(error.pointer.split("/")[2] in steps for error in made.errors)
    if made.errors:
        return
    places = {name: made.order.index(name) for name in steps}
    for name, step in steps.items():
        assert all(places[other] < places[name] for other in made.steps[name].needs)
        waited = pending.pending(step["kind"], made.steps[name].asked.spec)
        assert {pending.maker_of(one) for one in waited} == {
            made.steps[other].job_id for _, other, _ in links_of(step)
        }  # fmt: skip


def test_circles_are_named_in_the_order_in_which_each_needs_the_next() -> None:
    order, circles = in_order({"a": ["b"], "b": ["c"], "c": ["a"], "d": ["a"], "e": [], "f": ["f"]})
    assert order == ["e"], "what waits for a circle is never free"
    needs = {"a": "b", "b": "c", "c": "a", "f": "f"}
    for circle in circles:
        assert all(needs[one] == other for one, other in zip(circle, [*circle[1:], circle[0]], strict=True))
    assert sorted(len(circle) for circle in circles) == [1, 3]


def stage(modality: str, number: int) -> CurriculumStage:
    return CurriculumStage(modality=modality, dataset=f"ds_0000000000000000000{number}")


def test_the_published_curriculum_is_a_preset() -> None:
    stages = tuple(stage(modality, number) for number, modality in enumerate(PUBLISHED_ORDER))
    steps = expand(Curriculum(stages=stages, preset="published"))
    kinds = [step["kind"] for step in steps.values()]
    assert kinds == [*["pretrain", "build_buffer"] * 4, "pretrain"]
    spec = JOB_KINDS["pretrain"].spec.model_validate(
        steps["pathology"]["spec"] | {"init_model": MODEL, "rehearsal": [BUFFER] * 4}
    )
    told = {name: getattr(spec, name) for name in ("size", "epochs", "warmup_epochs", "batch_size", "base_lr",
                                                   "mask_ratio", "mixup")}  # fmt: skip
    assert told == {
        "size": "base", "epochs": 300, "warmup_epochs": 40, "batch_size": 512, "base_lr": 1.5e-4, "mask_ratio": 0.75,
        "mixup": True,
    }  # fmt: skip
    buffer = steps["ct-buffer"]["spec"]
    assert (buffer["centers_fraction"], buffer["buffer_fraction"]) == (0.01, 0.05)
    assert [one["from"] for one in steps["pathology"]["spec"]["rehearsal"]] == [
        f"{modality}-buffer.dataset" for modality in PUBLISHED_ORDER[:4]
    ]  # fmt: skip


def test_buffers_are_found_or_made_and_chosen_anew_within_a_budget() -> None:
    stages = (stage("ct", 1), stage("ct", 2), stage("us", 3))
    earlier = [Earlier("report", MODEL, DATA, BUFFER), Earlier("ct", MODEL, DATA)]
    steps = expand(Curriculum(stages=stages, init_model=MODEL), earlier)
    assert list(steps) == ["earlier-ct-buffer", "ct", "ct-buffer", "ct-2", "ct-2-buffer", "us"]
    assert steps["ct"]["spec"]["rehearsal"] == [BUFFER, {"from": "earlier-ct-buffer.dataset"}]
    assert len(steps["us"]["spec"]["rehearsal"]) == 4
    joint = expand(Curriculum(stages=(stage("ct", 1), stage("us", 2)), rehearsal="joint"))
    assert list(joint) == ["joint"] and joint["joint"]["spec"]["joint"] == ["ds_00000000000000000002"]
    once = expand(Curriculum(stages=stages, forgetting=ForgettingOptions(), forgetting_after="last"))
    measured = {name: step["spec"]["models"] for name, step in once.items() if step["kind"] == "forgetting"}
    assert measured == {"us-forgetting": [{"from": f"{name}.model"} for name in ("ct", "ct-2", "us")]}
    kept_clear = [once[name]["spec"].get("measured_on") for name in ("ct", "ct-2", "us")]
    assert kept_clear == [None, ["ds_00000000000000000001"], ["ds_00000000000000000001", "ds_00000000000000000002"]]
    budget = BuildBufferOptions(buffer_budget_bytes=10_000)
    steps = expand(Curriculum(stages=stages, buffer=budget))
    assert list(steps) == ["ct", "ct-buffer", "ct-2", "ct-buffer-2", "ct-2-buffer", "us"]
    assert steps["us"]["spec"]["rehearsal"] == [{"from": "ct-buffer-2.dataset"}, {"from": "ct-2-buffer.dataset"}]
    # two hospitals of one modality share the budget, too
    assert steps["ct-buffer-2"]["spec"] == {
        "buffer_budget_bytes": 10_000, "sharing": 2, "model": {"from": "ct-2.model"},
        "dataset": {"from": "ct-buffer.dataset"},
    }  # fmt: skip
    assert (steps["ct-buffer"]["spec"]["sharing"], steps["ct-2-buffer"]["spec"]["sharing"]) == (1, 2)
    large = [Earlier("report", MODEL, DATA, BUFFER, 6_000), Earlier("ct", MODEL, None, DATA, 6_000)]
    steps = expand(Curriculum(stages=stages[:1], init_model=MODEL, buffer=budget), large)
    assert list(steps) == ["earlier-report-buffer", "earlier-ct-buffer", "ct"]
    assert steps["earlier-ct-buffer"]["spec"] == budget.model_dump(exclude_unset=True) | {
        "sharing": 2, "model": MODEL, "dataset": DATA,
    }  # fmt: skip
    within = [Earlier("report", MODEL, DATA, BUFFER, 5_000), Earlier("ct", MODEL, None, DATA, 5_000)]
    assert list(expand(Curriculum(stages=stages[:1], init_model=MODEL, buffer=budget), within)) == ["ct"]


def test_an_ablation_shares_what_is_the_same_in_several_arms() -> None:
    stages = (stage("ct", 1), stage("us", 2))
    steps = ablation(Curriculum(stages=stages), seeds=(0, 1))
    assert {name for name, step in steps.items() if step["kind"] == "forgetting"} == {
        f"{arm}-{seed}-forgetting" for arm in ARMS for seed in (0, 1)
    }  # fmt: skip
    firsts = [name for name, step in steps.items() if step["kind"] == "pretrain" and "init_model" not in step["spec"]]
    # the first stage of each seed, and one that learns all jointly
    assert sorted(firsts) == ["joint-0-joint", "joint-1-joint", "none-0-ct", "none-1-ct"]
    last = steps["kmeans-mixup-1-us"]["spec"]
    assert (last["mixup"], last["seed"], last["init_model"]) == (True, 1, {"from": "none-1-ct.model"})
    assert steps["kmeans-1-us"]["spec"]["rehearsal"] == last["rehearsal"] == [{"from": "kmeans-1-ct-buffer.dataset"}]
    assert steps["random-0-ct-buffer"]["spec"]["strategy"] == "random"
    made = plan({name: StepRequest.model_validate(step) for name, step in steps.items()}, "prj_default", SETTINGS)
    assert not made.errors
