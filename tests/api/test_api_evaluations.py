"""Evaluations over REST: recorded with the end of their job, filtered, sorted, kept apart, deleted with their files."""

import hashlib
import json
from typing import Any

import httpx
import numpy as np
import pytest

from medcoss.specs.records import Draws, EvaluationInfo, FileEntry
from services.core import attempts, leftovers, projects
from services.core.tables import DEFAULT_PROJECT, Evaluation
from services.worker.outcome import Outcome, settle
from services.worker.protocol import EvaluationOutput, ResultReport
from tests.api.calls import pointers, prepared, problem, take, trained
from tests.api.serving import Served
from tests.core.databases import engines

DATASET, CHEST, BONE = "ds_00000001", "mdl_00000001", "mdl_00000002"
CLASSES = ["normal", "pneumonia"]


def scores(f1: float) -> EvaluationInfo:
    per_class: list[dict[str, str | int | float | None]] = [{"class": c, "cases": 4, "f1": f1} for c in CLASSES]
    return EvaluationInfo(
        schema_version=2, metrics={"accuracy": 0.75, "f1": f1}, intervals={"f1": (f1 - 0.1, f1 + 0.1)},
        classes=CLASSES, per_class=per_class, confusion=[[3, 1], [1, 3]],
    )  # fmt: skip


def stored(served: Served, evaluation_id: str, files: dict[str, bytes]) -> list[FileEntry]:
    """Files as a worker stores them."""
    for name, content in files.items():
        served.store.put_bytes(f"evaluations/{evaluation_id}/{name}", content)
    return [FileEntry(path=n, size=len(c), sha256=hashlib.sha256(c).hexdigest()) for n, c in files.items()]


def evaluated(served: Served, number: int, f1: float, model: str = CHEST, split: str = "test",
              files: dict[str, bytes] | None = None) -> str:  # fmt: skip
    """An evaluate job that ends well; the id of its evaluation."""
    spec = {"model": model, "dataset": DATASET, "split": split}
    answer = served.operator.post("/v1/jobs", json={"kind": "evaluate", "name": f"run {number}", "spec": spec})
    assert answer.status_code == 201, answer.text
    claim = take(served.database, answer.json()["id"])
    evaluation_id = f"evl_{number:08d}"
    output = EvaluationOutput(
        id=evaluation_id, name=claim.name, prefix=f"evaluations/{evaluation_id}", info=scores(f1), model_id=model,
        dataset_id=DATASET, split=split, files=stored(served, evaluation_id, files or {}),
    )  # fmt: skip
    with served.database.session() as session:
        assert settle(session, claim, Outcome(result=ResultReport(outputs=[output]))) is not None
    return evaluation_id


@pytest.fixture
def models(served: Served) -> None:
    about: dict[str, Any] = {"task": "classification", "classes": CLASSES, "kind": "image2d"}
    prepared(served.database, DATASET, classes=CLASSES, splits={"train": 4, "val": 4, "test": 4}, labelled=None)
    for model in (CHEST, BONE):
        trained(served.database, served.store, model, **about)


def ids(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [entry["id"] for entry in answer.json()["items"]]


@engines
def test_an_evaluation_is_recorded_found_and_deleted_with_its_files(served: Served, models: None) -> None:
    first = evaluated(served, 1, 0.7, files={"roc.png": b"\x89PNG", "evaluation.json": b"{}"})
    second, third = evaluated(served, 2, 0.9, model=BONE), evaluated(served, 3, 0.8, split="val")
    get = served.viewer.get
    assert ids(get("/v1/evaluations")) == [third, second, first]
    assert ids(get("/v1/evaluations", params={"sort": "-score", "dataset": DATASET})) == [second, third, first]
    assert ids(get("/v1/evaluations", params={"model": CHEST, "split": "test"})) == [first]
    assert ids(get("/v1/evaluations", params={"task": "segmentation"})) == []
    page = get("/v1/evaluations", params={"sort": "score", "limit": 2, "fields": "id,score"}).json()
    assert page["items"] == [{"id": first, "score": 0.7}, {"id": third, "score": 0.8}]
    following = {"sort": "score", "limit": 2, "fields": "id,score", "cursor": page["next"]}
    assert get("/v1/evaluations", params=following).json()["items"] == [{"id": second, "score": 0.9}]
    assert pointers(problem(get("/v1/evaluations", params={"split": "all"}), 422)) == ["query:split"]

    shown = get(f"/v1/evaluations/{first}")
    assert get(f"/v1/evaluations/{first}", headers={"If-None-Match": shown.headers["etag"]}).status_code == 304
    one = shown.json()
    assert (one["headline"], one["score"], one["metrics"]["f1"]) == ("f1", 0.7, 0.7)
    assert (one["model_name"], one["dataset_name"], one["name"]) == ("encoder", "prepared", "run 1")
    assert one["confusion"] == [[3, 1], [1, 3]] and one["per_class"][1]["class"] == "pneumonia"
    job = get(f"/v1/jobs/{one['job_id']}").json()
    assert job["result"]["outputs"] == {"evaluation": first}
    files = {f["path"]: f for f in get(f"/v1/evaluations/{first}/files").json()["items"]}
    assert httpx.get(files["roc.png"]["url"]).content == b"\x89PNG"

    # it outlives the job, the model and the dataset: it tells their names
    assert served.operator.delete(f"/v1/jobs/{one['job_id']}").status_code == 204
    for path in (f"/v1/models/{CHEST}", f"/v1/datasets/{DATASET}"):
        assert served.operator.delete(path).status_code == 204
    assert get(f"/v1/evaluations/{first}").json() == one
    problem(served.viewer.delete(f"/v1/evaluations/{first}"), 403)
    assert served.operator.delete(f"/v1/evaluations/{first}").status_code == 204
    problem(get(f"/v1/evaluations/{first}"), 404)
    problem(get(f"/v1/evaluations/{first}/files"), 404)
    leftovers.clean(served.database, served.store, lambda _: None, 30)
    assert served.store.list_keys("evaluations/") == []


def test_other_projects_see_nothing_of_it(served: Served, models: None) -> None:
    mine = evaluated(served, 1, 0.7)
    with served.database.session() as session:
        other = projects.create(session, "other").id
        session.get_one(Evaluation, mine).project_id = other
    for answer in (
        served.viewer.get(f"/v1/evaluations/{mine}"), served.viewer.get(f"/v1/evaluations/{mine}/files"),
        served.operator.delete(f"/v1/evaluations/{mine}"),
    ):  # fmt: skip
        assert mine in problem(answer, 404)["detail"]
    assert ids(served.viewer.get("/v1/evaluations")) == []
    assert ids(served.admin.get("/v1/evaluations")) == [mine]


def test_a_lost_attempt_leaves_no_evaluation(served: Served, models: None) -> None:
    spec = {"model": CHEST, "dataset": DATASET}
    job = served.operator.post("/v1/jobs", json={"kind": "evaluate", "spec": spec}).json()["id"]
    claim = take(served.database, job)
    output = EvaluationOutput(id="evl_1", name="n", prefix="evaluations/evl_1", info=scores(0.5), model_id=CHEST,
                              dataset_id=DATASET, split="test")  # fmt: skip
    with served.database.session() as session:
        attempts.release(session, job, claim.fence, attempts.State.QUEUED, "away")
    with served.database.session() as session:
        assert settle(session, claim, Outcome(result=ResultReport(outputs=[output]))) is None
    assert ids(served.viewer.get("/v1/evaluations")) == []


def test_the_seed_and_the_encoder_of_the_training_are_told(served: Served, models: None) -> None:
    """From the spec of the job that trained the model; what it does not tell is null."""
    mine = evaluated(served, 1, 0.7)
    assert served.viewer.get(f"/v1/evaluations/{mine}").json()["seed"] is None
    spec = {"dataset": DATASET, "task": "classification", "init_model": BONE, "seed": 10}
    trained(served.database, None, BONE.replace("2", "3"), task="encoder")
    body = json.dumps({"kind": "finetune", "spec": spec | {"init_model": BONE.replace("2", "3")}})
    job = served.operator.post("/v1/jobs", content=body, headers={"content-type": "application/json"})
    assert job.status_code == 201, job.text
    trained(served.database, None, "mdl_00000009", job_id=job.json()["id"], task="classification", classes=CLASSES)
    other = served.viewer.get(f"/v1/evaluations/{evaluated(served, 2, 0.8, model='mdl_00000009')}").json()
    assert (other["seed"], other["encoder_id"], other["project_id"]) == (10, "mdl_00000003", DEFAULT_PROJECT)
    assert ids(served.viewer.get("/v1/evaluations", params={"encoder": "mdl_00000003"})) == [other["id"]]


def drawn(values: list[float | None], digest: str = "cases", seed: int = 0) -> dict[str, bytes]:
    made = Draws(digest=digest, seed=seed, resamples=len(values), draws={"f1": values})
    return {"draws.json": made.model_dump_json().encode()}


def test_models_are_compared_with_a_paired_bootstrap(served: Served, models: None) -> None:
    """Where the same cases were drawn; where not, it says why and the scores stand side by side all the same."""
    rng = np.random.default_rng(0)
    one, other = rng.normal(0.7, 0.05, 500), rng.normal(0.8, 0.05, 500)
    first = evaluated(served, 1, 0.7, files=drawn([*one]))
    second = evaluated(served, 2, 0.8, model=BONE, files=drawn([None, *other[1:]]))
    strange = evaluated(served, 3, 0.9, files=drawn([*one], digest="others"))
    seeded = evaluated(served, 4, 0.9, files=drawn([*one], seed=1))
    none = evaluated(served, 5, 0.9)
    broken = evaluated(served, 6, 0.9, files={"draws.json": b"{"})
    everything = [first, second, strange, seeded, none, broken]
    answer = served.viewer.get("/v1/evaluations:compare", params={"id": everything}).json()
    assert (answer["baseline"], answer["split"], answer["task"]) == (first, "test", "classification")
    assert [one["id"] for one in answer["evaluations"]] == everything
    assert answer["evaluations"][1]["model_id"] == BONE
    headline, accuracy = answer["metrics"]
    assert (headline["name"], accuracy["name"], headline["better"]) == ("f1", "accuracy", "higher")
    mine, moved, *others = headline["values"]
    assert (mine["value"], mine["difference"], mine["p"]) == (0.7, None, None)
    assert mine["interval"] == pytest.approx([0.6, 0.8])
    expected = np.quantile((other - one)[1:], [0.025, 0.975])
    assert moved["difference"] == pytest.approx(0.1)
    assert moved["difference_interval"] == pytest.approx(list(expected))
    turned = int(((other - one)[1:] <= 0).sum())
    assert moved["p"] == pytest.approx(2 * (turned + 1) / 500)
    assert all(value["difference"] == pytest.approx(0.2) and value["p"] is None for value in others)
    assert accuracy["values"][1]["difference"] == 0 and accuracy["values"][1]["p"] is None
    why = answer["unpaired"]
    assert list(why) == everything[2:] and "cases are others" in why[strange] and "another seed" in why[seeded]
    assert why[none] == why[broken] == "it keeps no draws of a bootstrap"
    turned_round = served.viewer.get("/v1/evaluations:compare", params={"id": [none, first]}).json()
    assert turned_round["unpaired"] == {first: f"{none} keeps no draws of a bootstrap"}


def test_what_cannot_be_compared_is_refused(served: Served, models: None) -> None:
    first, second = evaluated(served, 1, 0.7), evaluated(served, 2, 0.8, split="val")
    for ids_, words in (
        ([first], "at least two"), ([first, first], "each once"), ([first, "evl_0"], "no evaluation evl_0"),
        ([first, second], f"{second} has val; evaluations are compared on one split of one dataset"),
    ):  # fmt: skip
        document = problem(served.viewer.get("/v1/evaluations:compare", params={"id": ids_}), 422)
        assert words in document["detail"] and pointers(document) == ["query:id"]
    problem(served.viewer.get("/v1/evaluations:compare"), 422)
    third = evaluated(served, 3, 0.8)
    with served.database.session() as session:
        for number, each in enumerate((first, third)):
            row = session.get_one(Evaluation, each)
            row.split, row.fold = "held_out", number
    assert ids(served.viewer.get("/v1/evaluations", params={"split": "held_out"})) == [third, first]
    document = problem(served.viewer.get("/v1/evaluations:compare", params={"id": [first, third]}), 422)
    assert f"{first} has the fold 0, {third} has 1" in document["detail"]
