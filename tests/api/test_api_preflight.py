"""Jobs looked over before they are submitted: right numbers, every wrong field, nothing recorded."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select, update

from medcoss.modalities import Kind
from medcoss.specs.encoder import SIZES
from services.core import attempts, jobs
from services.core.jobs import NewJob
from services.core.settings import Settings
from services.core.tables import DEFAULT_PROJECT, Job, Lineage
from tests.api.calls import pointers, prepared, preprocess, problem, take, trained, uploaded
from tests.api.serving import Served
from tests.api.test_api_jobs import WRONG, known
from tests.core.databases import engines
from tests.core.test_core_workers import beat, heard

__all__ = ["known"]
GIB = 2**30
LABELLED: dict[str, Any] = {
    "samples": 110, "splits": {"train": 100, "val": 10}, "classes": ["a", "b"], "labelled": {"train": 90, "val": 10},
    "sample_shape": [1, 64, 64],
}  # fmt: skip
Serve = Callable[[Settings], Served]


def look(client: httpx.Client, kind: str, spec: dict[str, Any], **fields: Any) -> dict[str, Any]:
    answer = client.post("/v1/jobs:validate", json={"kind": kind, "spec": spec} | fields)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def values(seen: dict[str, Any]) -> dict[str, Any]:
    names = ("samples", "batches", "steps", "parameters", "memory", "duration", "storage")
    for name in names:
        assert seen[name]["how"], "every number says how it is known"
        if seen[name]["parts"]:
            assert sum(seen[name]["parts"].values()) == seen[name]["value"], name
    return {name: seen[name]["value"] for name in names}


@pytest.fixture
def stage(served: Served) -> dict[str, str]:
    """Two datasets, a buffer, an encoder of the first one and what stands for it."""
    shape = {"sample_shape": [1, 64, 64]}
    prepared(served.database, "ds_xray0000", **LABELLED)
    prepared(served.database, "ds_ct000000", modality="ct", kind=Kind.VOLUME3D, samples=70,
             splits={"train": 50, "test": 20}, sample_shape=[1, 16, 64, 64])  # fmt: skip
    prepared(served.database, "ds_buffer00", role="buffer", samples=9, splits={"train": 9}, **shape)
    trained(served.database, None, "mdl_xray0000", config=SIZES["tiny"].to_dict(), **shape)
    served.operator.put("/v1/aliases/production", json={"model_id": "mdl_xray0000"}).raise_for_status()
    return {"dataset": "ds_ct000000", "init_model": "@production", "rehearsal": ["ds_buffer00"]}  # type: ignore[dict-item]


@engines
def test_a_stage_is_foretold_and_nothing_is_recorded(served: Served, stage: dict[str, str]) -> None:
    spec = stage | {"batch_size": 8, "epochs": 10}
    seen = look(served.operator, "pretrain", spec)
    assert (seen["valid"], seen["errors"], seen["runs_on"]) == (True, [], "cpu")
    assert seen["aliases"] == {"@production": "mdl_xray0000"}
    assert seen["samples"]["parts"] == {"ct": 50, "xray (rehearsal)": 9}
    found = values(seen)
    assert (found["samples"], found["batches"], found["steps"]) == (59, 6 + 1, 70)
    assert isinstance(found["steps"], int), "what is counted is whole"
    assert seen["memory"]["parts"]["teacher"] < seen["memory"]["parts"]["weights"]
    assert found["duration"] > 0 and "assumption" in seen["duration"]["how"]
    assert [w["pointer"] for w in seen["warnings"]] == ["/spec/dataset"], "there is no val split"
    (later,) = seen["checked_at_start"]
    assert later["pointer"] == "/spec/dataset" and "has been trained on; if so, the job fails" in later["detail"]
    assert seen["waits_for"] == [{"what": "resources", "detail": "no worker is alive; it starts when one is started"}]
    capped = look(served.operator, "pretrain", spec | {"max_steps": 12})
    assert values(capped)["steps"] == 12
    assert values(capped)["duration"] == pytest.approx(found["duration"] * 12 / 70, rel=0.01)
    with served.database.reading() as session:
        assert session.scalar(select(func.count()).select_from(Job)) == 0
    made = served.operator.post("/v1/jobs", json={"kind": "pretrain", "spec": spec})
    assert made.status_code == 201
    assert made.json()["spec"] == seen["spec"], "aliases stand for ids, defaults are filled in"


@pytest.mark.parametrize("name", WRONG)
def test_it_names_what_a_submission_names(known: Served, name: str) -> None:
    body, expected = WRONG[name]
    answer = known.operator.post("/v1/jobs:validate", json=body)
    if answer.status_code == 422:
        # what is no field of a job at all is refused in both
        assert set(pointers(problem(answer, 422))) == set(expected)
        assert not any(pointer.startswith(("/spec", "/kind")) for pointer in expected)
        return
    seen = answer.json()
    assert not seen["valid"]
    assert {e["pointer"] for e in seen["errors"]} == set(expected)
    assert seen["steps"] is None


CERTAIN: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "no masks": (
        {"kind": "finetune", "spec": {"dataset": "ds_xray0000", "task": "segmentation"}},
        {"/spec/dataset": "has no masks; preprocess it with a mask"},
    ),
    "no labels": (
        {"kind": "finetune", "spec": {"dataset": "ds_ct000000", "task": "classification"}},
        {"/spec/dataset": "has no class labels"},
    ),
    "another task's preset": (
        {"kind": "finetune", "spec": {"dataset": "ds_xray0000", "preset": "chestxr"}},
        {"/spec/preset": "is for images of 224 x 224 with 3 classes"},
    ),
    "no encoder": (
        {"kind": "build_buffer", "spec": {"model": "mdl_head0000", "dataset": "ds_xray0000"}},
        {"/spec/model": "is a classification model; expected an encoder"},
    ),
    "no head": (
        {"kind": "evaluate", "spec": {"model": "mdl_xray0000", "dataset": "ds_xray0000"}},
        {"/spec/model": "is an encoder without a head"},
    ),
    "empty split": (
        {"kind": "evaluate", "spec": {"model": "mdl_head0000", "dataset": "ds_xray0000"}},
        {"/spec/split": "no labelled samples in the split 'test'"},
    ),
    "empty split of a prediction": (
        {"kind": "predict", "spec": {"model": "mdl_head0000", "dataset": "ds_xray0000", "split": "test"}},
        {"/spec/split": "no samples in the split 'test'; its splits are train"},
    ),
    "empty split of an embedding": (
        {"kind": "embed", "spec": {"model": "mdl_xray0000", "dataset": "ds_xray0000", "split": "test"}},
        {"/spec/split": "no samples in the split 'test'"},
    ),
    "other samples": (
        {"kind": "evaluate", "spec": {"model": "mdl_head0000", "dataset": "ds_ct000000"}},
        {"/spec/dataset": "the model takes image2d"},
    ),
    "another modality": (
        {"kind": "build_buffer", "spec": {"model": "mdl_xray0000", "dataset": "ds_ct000000"}},
        {"/spec/model": "has not learnt 'ct'; it knows xray"},
    ),
    "a buffer that was not learnt": (
        {"kind": "pretrain", "spec": {"dataset": "ds_xray0000", "init_model": "mdl_xray0000",
                                      "rehearsal": ["ds_buffer00", "ds_ctbuffer"]}},
        {"/spec/rehearsal/1": "holds 'ct', which init_model has not learnt"},
    ),
    "a batch that cannot be shared": (
        {"kind": "pretrain", "spec": {"dataset": "ds_xray0000", "batch_size": 9, "accumulate": 4}},
        {"/spec/batch_size": "use a multiple of 4"},
    ),
    "modality that is not served": (
        {"kind": "export", "spec": {"model": "mdl_xray0000", "name": "chest", "modality": "mr"}},
        {"/spec/modality": "has learnt xray, not 'mr'"},
    ),
}  # fmt: skip


def test_what_is_certain_to_fail_is_refused_at_once(served: Served, stage: dict[str, str]) -> None:
    prepared(served.database, "ds_ctbuffer", role="buffer", modality="ct", kind=Kind.VOLUME3D,
             sample_shape=[1, 16, 64, 64])  # fmt: skip
    trained(served.database, None, "mdl_head0000", task="classification", classes=["a", "b"],
            config=SIZES["tiny"].to_dict(), sample_shape=[1, 64, 64])  # fmt: skip
    for name, (body, expected) in CERTAIN.items():
        refused = {
            e["pointer"]: e["detail"] for e in problem(served.operator.post("/v1/jobs", json=body), 422)["errors"]
        }
        assert set(refused) == set(expected), name
        assert all(said in refused[pointer] for pointer, said in expected.items()), refused
        seen = look(served.operator, **body)
        assert {e["pointer"]: e["detail"] for e in seen["errors"]} == refused, name
    scored = look(served.operator, "evaluate", {"model": "mdl_head0000", "dataset": "ds_xray0000", "split": "val"})
    assert (values(scored)["samples"], values(scored)["batches"], values(scored)["steps"]) == (10, 2, None)
    labelled = look(served.operator, "finetune", {"dataset": "ds_xray0000", "task": "classification", "epochs": 3})
    assert (values(labelled)["samples"], values(labelled)["steps"]) == (90, 33)
    counted = {"dataset": "ds_xray0000", "task": "classification", "epochs": 3, "steps_per_epoch": 250}
    counted = look(served.operator, "finetune", counted)
    assert (values(counted)["batches"], values(counted)["steps"]) == (250, 750)
    assert "10 of 100 training samples have no class" in labelled["warnings"][0]["detail"]
    chosen = look(served.operator, "build_buffer", {"model": "mdl_xray0000", "dataset": "ds_xray0000"})
    assert (values(chosen)["samples"], values(chosen)["batches"]) == (100, 4)
    assert "5 are chosen: 1 clusters, 5 samples each" in chosen["samples"]["how"]
    # its own pass through the encoder, and then the choice
    assert "floating-point operations" in chosen["duration"]["how"]
    assert "to choose by the features, 1.92e+04 multiplications" in chosen["duration"]["how"]
    by_chance = {"model": "mdl_xray0000", "dataset": "ds_xray0000", "strategy": "random"}
    assert values(look(served.operator, "build_buffer", by_chance))["duration"] == 0


def test_raw_files_are_told_by_their_names(served: Served) -> None:
    files = [f"a/{i}.png" for i in range(4)] + ["a/0_mask.png", "a/1_mask.png", ".hidden/5.png", "notes.txt"]
    raw = uploaded(served.operator, dict.fromkeys(files, b"pixels"), modality="pathology")
    recipe = {"name": "image_folder", "size": [32, 64]}
    masked = {"dataset": raw, "recipe": recipe | {"mask_suffix": "_mask"}}
    seen = look(served.operator, "preprocess", masked)
    assert [e["pointer"] for e in seen["errors"]] == ["/spec/dataset"]
    assert "2 of 4 inputs have no mask with the suffix '_mask'" in seen["errors"][0]["detail"]
    seen = look(served.operator, "preprocess", masked | {"max_bad_fraction": 0.5})
    assert (values(seen)["samples"], values(seen)["storage"]) == (4, 4 * 2 * 32 * 64)
    assert seen["warnings"][0]["pointer"] == "/spec/recipe/modality", "xray of what was uploaded as pathology"
    counted = look(served.operator, "preprocess", {"dataset": raw, "recipe": {"name": "tcga", "size": [32, 64]}})
    assert (values(counted)["samples"], values(counted)["storage"]) == (6, 6 * 3 * 32 * 64)
    for file, name, why in (
        ("s.svs", "tcga", "1 files by their names; how many images or tiles they hold is known"),
        ("all.zip", "image_folder", "what all.zip holds is known once it is unpacked"),
        ("r.csv", "openi_reports", "1 files by their names; how many rows they hold is known"),
    ):
        other = uploaded(served.operator, {file: b"content"})
        seen = look(served.operator, "preprocess", {"dataset": other, "recipe": {"name": name}})
        assert (values(seen)["samples"], values(seen)["storage"]) == (None, None), name
        assert seen["samples"]["how"].startswith(why) and seen["storage"]["how"].startswith(why)
    none = look(served.operator, "preprocess", {"dataset": raw, "recipe": {"name": "volume_folder"}})
    assert "holds no NIfTI, MHA or NRRD volumes" in none["errors"][0]["detail"]


@engines
def test_it_says_what_it_would_wait_for(
    served: Served, stage: dict[str, str], settings: Settings, serve: Serve
) -> None:
    heard(served.database, beat("a", gpus=1, memory_bytes=16 * GIB, gpu_memory_bytes=GIB // 64))
    raw = uploaded(served.operator, {"a.png": b"pixels"})
    first, second = (preprocess(served.operator, raw).json()["id"] for _ in range(2))
    take(served.database, second)
    strict = serve(settings.model_copy(update={"quota_running": 1, "quota_queued": 1}))
    seen = look(strict.operator, "pretrain", stage, depends_on=[first], resources={"gpus": 2}, time_limit_s=0.001)
    assert seen["waits_for"] == [
        {"what": "dependency", "detail": f"waits for {first}"},
        {"what": "resources", "detail": "no worker that is alive offers 2 GPUs; the largest has 1 GPU"},
        {"what": "quota", "detail": "the operator runs 1 jobs, 1 are allowed at once; it starts when one of them has "
         "ended"},
        {"what": "turn", "detail": "1 job is ahead of it in the queue"},
    ]  # fmt: skip
    assert not seen["valid"] and seen["steps"]["value"]
    assert "has 1 jobs that wait to run, 1 are allowed" in seen["errors"][0]["detail"]
    assert seen["warnings"][-1]["pointer"] == "/time_limit_s"
    fitting = look(served.operator, "pretrain", stage, priority=10)
    assert fitting["runs_on"] == "gpu", "every worker has one"
    assert [w["what"] for w in fitting["waits_for"]] == []
    large = next(w for w in fitting["warnings"] if w["pointer"] == "/spec/accumulate")
    assert "the largest GPU has 0.0156 GiB; set accumulate to 2 or more" in large["detail"]
    shared = look(served.operator, "pretrain", stage, resources={"gpus": 2})
    assert "on each of 2 GPUs" in shared["memory"]["how"] and "and 16 samples at once" in shared["memory"]["how"]
    assert values(shared)["memory"] < values(fitting)["memory"] and values(shared)["steps"] == values(fitting)["steps"]
    assert values(shared)["duration"] == pytest.approx(values(fitting)["duration"] / 2), "assumed of each GPU"
    served.operator.post(f"/v1/jobs/{first}/cancel")
    hopeless = look(served.operator, "pretrain", stage, depends_on=[first])
    assert [e["pointer"] for e in hopeless["errors"]] == ["/depends_on"]


def ran(served: Served, dataset: str, rate: float, *, project: str = DEFAULT_PROJECT, number: int = 0,
        shape: tuple[int, ...] = (1, 16, 64, 64)) -> None:  # fmt: skip
    """A stage on CT that has succeeded, at so many samples a second."""
    asked = NewJob("pretrain", {"dataset": dataset}, "earlier", 1, project_id=project)
    with served.database.session() as session:
        job_id = jobs.submit(session, asked, created_by="ada").id
    claim = take(served.database, job_id)
    rows = [(step, {"samples_per_s": rate, "tflops_per_s": rate / 1e5, "loss": 0.5}) for step in (10, 20)]
    with served.database.session() as session:
        attempts.record_rows(session, job_id, claim.fence, metrics=[*rows, (20, {"val_loss/ct": 0.4})])
        attempts.succeed(session, job_id, claim.fence, {})
        session.execute(update(Job).where(Job.id == job_id).values(ran_s=60.0))
    trained(served.database, None, f"mdl_ran0000{number}", job_id, project, modality="ct", kind=Kind.VOLUME3D,
            modalities=["ct"], sample_shape=list(shape))  # fmt: skip


@engines
def test_durations_are_those_of_earlier_jobs(served: Served, stage: dict[str, str]) -> None:
    spec = {"dataset": "ds_ct000000", "size": "tiny", "epochs": 10, "batch_size": 10}
    assumed = look(served.operator, "pretrain", spec)["duration"]
    assert "10 GFLOP/s for each of 1 CPU core" in assumed["how"]
    ran(served, "ds_ct000000", 1000.0, shape=(1, 16, 32, 32))
    by_work = look(served.operator, "pretrain", spec)["duration"]
    assert "the median of 1 earlier training on CPU workers" in by_work["how"]
    assert by_work["value"] == pytest.approx(assumed["value"], rel=0.01), "0.01 TFLOP/s in both"
    south = served.admin.post("/v1/projects", json={"name": "south"}).json()["id"]
    for number, (rate, project) in enumerate([(20.0, DEFAULT_PROJECT), (40.0, DEFAULT_PROJECT), (1.0, south)], 1):
        ran(served, "ds_ct000000", rate, project=project, number=number)
    measured = look(served.operator, "pretrain", spec)["duration"]
    assert measured["value"] == pytest.approx(500 / 30)
    assert measured["how"].startswith("500 samples at 30 a second, the median of 2 earlier pretrain jobs of this size")
    assert look(served.admin, "import_model", {"dataset": uploaded(served.operator, {"a.pth": b"x"})})["duration"] == {
        "value": None, "unit": "s", "parts": {},
        "how": "no earlier import_model job of this project like it has succeeded on CPU workers",
    }  # fmt: skip


@engines
def test_a_buffer_of_data_that_were_not_learnt_is_told(served: Served, stage: dict[str, str]) -> None:
    prepared(served.database, "ds_buffer01", role="buffer", sample_shape=[1, 64, 64])
    made = {"mdl_before00": ["ds_xray0000"], "mdl_xray0000": ["mdl_before00", "ds_ct000000"],
            "ds_buffer00": ["ds_xray0000"], "ds_buffer01": ["ds_elsewhere", "mdl_before00"]}  # fmt: skip
    with served.database.session() as session:
        session.add_all(Lineage(child_id=child, input_id=one) for child, some in made.items() for one in some)
    seen = look(served.operator, "pretrain", stage | {"rehearsal": ["ds_buffer00", "ds_buffer01"]})
    told = {w["pointer"]: w["detail"] for w in seen["warnings"]}
    assert seen["valid"] and set(told) == {"/spec/dataset", "/spec/rehearsal/1"}
    assert "was chosen from ds_elsewhere, which init_model has not been trained on" in told["/spec/rehearsal/1"]


@engines
def test_a_batch_is_looked_over_as_a_whole(served: Served, stage: dict[str, str]) -> None:
    ran(served, "ds_ct000000", 10.0)
    tiny = {"kind": "pretrain", "spec": {"dataset": "ds_ct000000", "size": "tiny", "epochs": 2, "batch_size": 10}}
    body = {"jobs": [
        tiny | {"ref": "first"}, tiny | {"ref": "second", "depends_on": ["first"]}, tiny,
        tiny | {"depends_on": ["first", "job_00000000000000000000"]}, tiny | {"spec": tiny["spec"] | {"x": 1}},
    ]}  # fmt: skip
    answer = served.operator.post("/v1/jobs:validate-batch", json=body)
    assert answer.status_code == 200, answer.text
    seen = answer.json()
    assert (seen["valid"], seen["errors"]) == (False, [])
    assert [job["valid"] for job in seen["jobs"]] == [True, True, True, False, False]
    assert [[e["pointer"] for e in job["errors"]] for job in seen["jobs"][3:]] == [["/depends_on/1"], ["/spec/x"]]
    assert seen["jobs"][1]["waits_for"][0] == {"what": "dependency", "detail": "waits for first"}
    assert seen["duration"]["value"] == pytest.approx(2 * 10.0), "one after the other, the third beside them"
    assert "without /jobs/3, /jobs/4" in seen["duration"]["how"]
    assert seen["storage"]["value"] == 3 * seen["jobs"][0]["storage"]["value"]
    alone = served.operator.post("/v1/jobs:validate-batch", json={"jobs": [tiny]}).json()
    assert alone["valid"] and alone["jobs"][0]["steps"]["value"] == 10


def test_wrong_fields_are_an_answer_and_a_body_that_asks_for_no_job_is_refused(served: Served) -> None:
    wrong = {"kind": "pretrain", "spec": {"mask_ratio": 2}, "priority": 1000, "prio": 1, "project": "nowhere"}
    seen = look(served.operator, **wrong)
    assert not seen["valid"] and seen["kind"] == "pretrain" and seen["spec"] is None
    assert {e["pointer"] for e in seen["errors"]} >= {"/priority", "/prio", "/spec/mask_ratio", "/spec/dataset"}
    seen = look(served.operator, "pretrain", {"dataset": "ds_ct000000"}, project="nowhere")
    assert not seen["valid"] and [e["pointer"] for e in seen["errors"]] == ["/project"]
    jobs = [{"kind": "pretrain", "spec": {}}, {"kind": "preprocess", "spec": {}, "priority": 1000}]
    batch = served.operator.post("/v1/jobs:validate-batch", json={"jobs": jobs, "all": 1}).json()
    assert not batch["valid"] and [e["pointer"] for e in batch["errors"]] == ["/all"]
    assert [e["pointer"] for e in batch["jobs"][0]["errors"]] == ["/spec/dataset"]
    assert "/priority" in [e["pointer"] for e in batch["jobs"][1]["errors"]]
    for body in ([], "text", {"spec": {}}, {"kind": 1, "spec": {}}, {"kind": "pretrain", "spec": []}):
        problem(served.operator.post("/v1/jobs:validate", json=body), 422)
        problem(served.operator.post("/v1/jobs:validate-batch", json={"jobs": [body]}), 422)
    half = served.operator.post("/v1/jobs:validate", content=b'{"kind": "\\ud800", "spec": {}, "x": 1}',
                                headers={"Content-Type": "application/json"})  # fmt: skip
    assert half.status_code == 422
    problem(served.viewer.post("/v1/jobs:validate", json=wrong), 403)


@pytest.mark.parametrize("path", ["/v1/jobs:validate", "/v1/jobs:validate-batch"])
def test_a_body_that_is_no_json_by_its_type_is_refused(refusing: Served, path: str) -> None:
    for type_ in ("text/plain", "application/xml", "application/x-www-form-urlencoded"):
        answer = refusing.operator.post(
            path, content=b'{"kind": "pretrain", "spec": {}}', headers={"Content-Type": type_}
        )
        assert problem(answer, 422)["errors"], type_


def test_it_is_for_those_who_may_submit_and_tells_nothing_of_others(served: Served, stage: dict[str, str]) -> None:
    problem(served.viewer.post("/v1/jobs:validate", json={"kind": "pretrain", "spec": stage}), 403)
    problem(served.stranger.post("/v1/jobs:validate-batch", json={"jobs": []}), 401)
    south = served.admin.post("/v1/projects", json={"name": "south"}).json()["id"]
    made = served.admin.post("/v1/keys", json={"name": "k", "role": "operator", "projects": [south]}).json()
    with httpx.Client(base_url=served.url, headers={"Authorization": f"Bearer {made['secret']}"}) as other:
        seen = look(other, "pretrain", {"dataset": "ds_ct000000", "init_model": "mdl_xray0000"})
    assert [e["pointer"] for e in seen["errors"]] == ["/spec/dataset", "/spec/init_model"]
    assert all("does not exist in the job's project" in e["detail"] for e in seen["errors"])


def test_a_kind_that_is_too_long_is_one_more_wrong_field(served: Served) -> None:
    seen = look(served.operator, "export" * 1000, {})
    assert not seen["valid"]
    assert {error["pointer"] for error in seen["errors"]} == {"/kind"}
