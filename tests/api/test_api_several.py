"""Several trainings as one job over REST: shared out, foretold, and refused where they cannot work."""

from typing import Any

import pytest

from medcoss.specs.encoder import SIZES
from services.core import attempts
from tests.api.calls import pointers, prepared, problem, take, trained
from tests.api.serving import Served
from tests.api.test_api_preflight import LABELLED, look, values
from tests.core.databases import engines

SPLITS = LABELLED | {
    "samples": 130, "splits": {"train": 100, "val": 10, "test": 20}, "labelled": {"train": 90, "val": 10, "test": 20},
}  # fmt: skip
TASK = {"dataset": "ds_xray0000", "task": "classification", "epochs": 3, "size": "tiny"}


@pytest.fixture(autouse=True)
def known(served: Served) -> None:
    """A dataset, an encoder that has learnt it with an alias, and one of another size."""
    prepared(served.database, "ds_xray0000", **SPLITS)
    shape = {"sample_shape": [1, 64, 64]}
    trained(served.database, None, "mdl_xray0000", size="tiny", config=SIZES["tiny"].to_dict(), **shape)
    trained(served.database, None, "mdl_small000", size="small", config=SIZES["small"].to_dict(), **shape)
    served.operator.put("/v1/aliases/production", json={"model_id": "mdl_xray0000"}).raise_for_status()


@engines
def test_a_comparison_is_shared_out_by_encoder_seed_and_fold(served: Served) -> None:
    encoders = {"scratch": None, "continual": "@production"}
    body = {"kind": "compare", "spec": TASK | {"encoders": encoders, "seeds": [0, 10]}, "resources": {"gpus": 2}}
    job = served.operator.post("/v1/jobs", json=body).json()
    assert (job["state"], job["children"]) == ("waiting", 4), job
    assert job["reason"] == "waits for its runs: 0 of 4 runs are done, 4 queued"
    assert job["spec"]["encoders"] == {"scratch": None, "continual": "mdl_xray0000"}
    mine = served.viewer.get("/v1/jobs", params={"parent": job["id"], "sort": "created_at"}).json()["items"]
    mine.sort(key=lambda child: child["spec"]["run"])
    model = "mdl_xray0000"
    assert [(c["spec"]["encoder"], c["spec"]["init_model"], c["spec"]["seed"]) for c in mine] == [
        ("scratch", None, 0), ("scratch", None, 10), ("continual", model, 0), ("continual", model, 10),
    ]  # fmt: skip
    assert mine[3]["name"] == "compare, run 4 of 4 (continual, seed 10)"
    assert {child["resources"]["gpus"] for child in mine} == {2}
    claims = [take(served.database, child["id"]) for child in mine[:2]]
    with served.database.session() as session:
        for claim, (done, eta) in zip(claims, ((20, 40.0), (60, 40.0)), strict=True):
            attempts.record_progress(session, claim.job_id, claim.fence, done=done, total=100, message="", eta_s=eta)
    progress = served.viewer.get(f"/v1/jobs/{job['id']}").json()["progress"]
    assert (progress["done"], progress["total"]) == (80, 400)
    # 80 steps in 40 s and 40 in 40 s: 3 a second, 320 to go
    assert progress["eta_s"] == pytest.approx(320 / 3)
    refused = problem(served.operator.delete("/v1/models/mdl_xray0000"), 409)["detail"]
    assert mine[2]["id"] in refused, "what a comparison names is in use"


def test_what_several_trainings_take_is_foretold(served: Served) -> None:
    once = look(served.operator, "finetune", TASK)
    thrice = look(served.operator, "finetune", TASK | {"seeds": [0, 10, 100]})
    single, triple = values(once), values(thrice)
    assert (triple["samples"], triple["batches"], triple["memory"]) == tuple(
        single[name] for name in ("samples", "batches", "memory")
    )
    for name in ("steps", "storage", "duration"):
        assert triple[name] == pytest.approx(3 * single[name]), name
    assert (
        "of 3 trainings together" in thrice["steps"]["how"] and "3 trainings, 1 at a time" in thrice["duration"]["how"]
    )
    folded = look(served.operator, "finetune", TASK | {"folds": 5})
    assert folded["samples"]["value"] == 60, "of 100 labelled in train and val, one fold is scored and one chooses"
    assert folded["steps"]["value"] == 5 * 3 * (60 // 8)
    assert {"/spec/folds", "/spec/dataset"} == {later["pointer"] for later in folded["checked_at_start"]}
    compared = look(served.operator, "compare", TASK | {"encoders": {"scratch": None, "continual": "@production"}})
    assert compared["valid"], compared["errors"]
    assert compared["steps"]["value"] == 6 * single["steps"]
    assert compared["aliases"] == {"@production": "mdl_xray0000"}
    sizes = {"one": "mdl_xray0000", "other": "mdl_small000"}
    mixed = look(served.operator, "compare", TASK | {"encoders": sizes})
    (warning,) = [w for w in mixed["warnings"] if w["pointer"] == "/spec/encoders"]
    assert "one: tiny, other: small" in warning["detail"]


WRONG: dict[str, tuple[str, dict[str, Any], str, str]] = {
    "a seed twice": ("finetune", {"seeds": [1, 1]}, "/spec", "the same seed is given twice"),
    "two folds of which one chooses": ("finetune", {"folds": 2}, "/spec", "give at least 3, or keep 'last'"),
    "val among the folds": ("finetune", {"folds": 3, "score_split": "val"}, "/spec", "divided among them"),
    "too many": ("compare", {"encoders": {"a": None, "b": None}, "seeds": list(range(32)), "folds": 5}, "/spec",
                 "320 trainings; expected at most 256"),
    "a size apart": ("compare", {"encoders": {"scratch": None, "small": "mdl_small000"}}, "/spec/size",
                     "set size to small"),
    "no such encoder": ("compare", {"encoders": {"gone": "mdl_99999999"}}, "/spec/encoders/gone", "does not exist"),
    "a name that is a path": ("compare", {"encoders": {"a/b": None}}, "/spec/encoders/a~1b", "pattern"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_work_is_named(served: Served, name: str) -> None:
    kind, more, pointer, said = WRONG[name]
    document = problem(served.operator.post("/v1/jobs", json={"kind": kind, "spec": TASK | more}), 422)
    assert all(found.startswith(pointer) for found in pointers(document)), document["errors"]
    assert any(said in error["detail"] for error in document["errors"]), document["errors"]


def test_a_split_to_score_needs_samples(served: Served) -> None:
    prepared(served.database, "ds_untested0", **LABELLED)
    spec = TASK | {"dataset": "ds_untested0", "encoders": {"scratch": None}}
    document = problem(served.operator.post("/v1/jobs", json={"kind": "compare", "spec": spec}), 422)
    assert pointers(document) == ["/spec/score_split"]
    assert served.operator.post("/v1/jobs", json={"kind": "compare", "spec": spec | {"score_split": "val"}}).is_success
