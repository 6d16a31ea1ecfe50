"""Lines of models, what was made from what, and cards: as told over HTTP."""

import gzip
import hashlib
import json

import pytest

from medcoss.specs.records import PATIENTS, DatasetInfo, FileEntry, ModelInfo
from services.core import holders, registry
from services.core.tables import DEFAULT_PROJECT, Dataset, DatasetFile
from tests.api.calls import model_info, problem, uploaded
from tests.api.serving import Served

FILES = {"a.png": b"first", "b.png": b"second"}


def made(served: Served, kind: str, spec: dict[str, object]) -> str:
    """A job of the operator, as it was submitted."""
    response = served.operator.post("/v1/jobs", json={"kind": kind, "spec": spec})
    assert response.status_code == 201, response.text
    return str(response.json()["id"])


def dataset(served: Served, dataset_id: str, job_id: str, role: str = "prepared") -> None:
    info = DatasetInfo(role=role, modality="xray", kind="image2d", samples=40, splits={"train": 40},  # type: ignore[arg-type]
                       sample_shape=[1, 64, 64], recipe={"name": "image_folder"})  # fmt: skip
    files = [FileEntry(path="meta.json", size=3, sha256=f"{dataset_id:0<64}")]
    with served.database.session() as session:
        registry.register_dataset(session, dataset_id, name=dataset_id, info=info, files=files, parents=[],
                                  prefix=f"datasets/{dataset_id}/shards", job_id=job_id,
                                  project_id=DEFAULT_PROJECT)  # fmt: skip


def model(served: Served, model_id: str, job_id: str, parents: list[str], info: ModelInfo) -> None:
    files = [FileEntry(path="model.safetensors", size=3, sha256=f"{model_id:0<64}")]
    with served.database.session() as session:
        registry.register_model(session, model_id, name=f"name of {model_id}", info=info, files=files, parents=parents,
                                prefix=f"models/{model_id}", dataset_id="ds_00000001", job_id=job_id,
                                project_id=DEFAULT_PROJECT)  # fmt: skip


@pytest.fixture
def line(served: Served) -> str:
    """Raw files, a dataset, a stage, its buffer, a second stage and another one from the first; the raw dataset."""
    raw = uploaded(served.operator, FILES)
    dataset(served, "ds_00000001", made(served, "preprocess", {"dataset": raw, "recipe": {"name": "image_folder"}}))
    config = {"dim": 48}
    stage = {"dataset": "ds_00000001", "batch_size": 8, "size": "tiny"}
    model(served, "mdl_00000001", made(served, "pretrain", stage), [], model_info(config=config))
    job = made(served, "build_buffer", {"model": "mdl_00000001", "dataset": "ds_00000001", "strategy": "herding"})
    dataset(served, "ds_00000002", job, "buffer")
    further = stage | {"init_model": "mdl_00000001", "rehearsal": ["ds_00000002"], "distill_weight": 2}
    for number, more in ((2, {}), (3, {"rehearsal": []})):
        info = model_info(stage=2, made_with={"medcoss": "1.2"}, config=config, metrics={"val_loss/xray": 0.25})
        model(served, f"mdl_0000000{number}", made(served, "pretrain", further | more), ["mdl_00000001"], info)
    return raw


def test_a_line_tells_its_stages_and_what_branches_off(served: Served, line: str) -> None:
    served.operator.put("/v1/aliases/production", json={"model_id": "mdl_00000002"})
    shown = served.viewer.get("/v1/models/@production/line").json()
    first, second = shown["stages"]
    assert (first["model_id"], first["stage"], first["branches"]) == ("mdl_00000001", 1, ["mdl_00000003"])
    assert (second["model_id"], second["aliases"], second["branches"]) == ("mdl_00000002", ["production"], [])
    assert (second["dataset_ids"], second["buffer_ids"]) == (["ds_00000001"], ["ds_00000002"])
    other = served.viewer.get("/v1/models/mdl_00000002/line", params={"other": "mdl_00000003"}).json()
    assert other["parted_at"] == "mdl_00000001"
    problem(served.viewer.get("/v1/models/mdl_00000002/line", params={"other": "mdl_99999999"}), 422)


def test_lines_are_listed_by_their_newest_stages(served: Served, line: str) -> None:
    served.operator.put("/v1/aliases/production", json={"model_id": "mdl_00000001"})
    # a classifier of the last encoder is no stage
    head = model_info(task="classification", classes=["a", "b"])
    model(served, "mdl_00000004", made(served, "inspect_dataset", {"dataset": line}), ["mdl_00000003"], head)
    found = served.viewer.get("/v1/lines", params={"sort": "created_at"}).json()["items"]
    assert [(one["model_id"], one["first_model_id"], one["stages"]) for one in found] == [
        ("mdl_00000002", "mdl_00000001", 2), ("mdl_00000003", "mdl_00000001", 2),
    ]  # fmt: skip
    assert found[0]["aliases"] == {"production": "mdl_00000001"}
    first = served.viewer.get("/v1/lines", params={"limit": 1, "modality": "xray"}).json()
    second = served.viewer.get("/v1/lines", params={"limit": 1, "modality": "xray", "cursor": first["next"]}).json()
    assert [page["items"][0]["model_id"] for page in (first, second)] == ["mdl_00000003", "mdl_00000002"]
    assert second["next"] is None
    assert served.viewer.get("/v1/lines", params={"modality": "ct"}).json()["items"] == []


def test_the_graph_behind_a_model_goes_down_to_raw_files(served: Served, line: str) -> None:
    shown = served.viewer.get("/v1/models/mdl_00000002/lineage", params={"files": 1}).json()
    nodes = {node["id"]: node for node in shown["nodes"]}
    assert nodes.keys() == {"mdl_00000002", "mdl_00000001", "ds_00000001", "ds_00000002", line}
    assert [nodes[name]["what"] for name in (line, "ds_00000001", "ds_00000002")] == ["raw", "prepared", "buffer"]
    assert sorted(map(tuple, shown["edges"])) == sorted(
        [("mdl_00000002", "mdl_00000001"), ("mdl_00000002", "ds_00000001"), ("mdl_00000002", "ds_00000002"),
         ("mdl_00000001", "ds_00000001"), ("ds_00000002", "mdl_00000001"), ("ds_00000002", "ds_00000001"),
         ("ds_00000001", line)]
    )  # fmt: skip
    assert nodes["ds_00000002"]["job"]["kind"] == "build_buffer"
    assert nodes["mdl_00000002"]["job"]["spec"]["distill_weight"] == 2
    assert len({node["sha256"] for node in nodes.values()}) == 5, "each content has a name of its own"
    (file,) = shown["files"][line]
    assert (file["path"], file["size"]) == ("a.png", 5)
    assert shown["complete"]


def test_what_was_made_of_a_dataset_is_found_and_what_was_deleted_stays_in_it(served: Served, line: str) -> None:
    shown = served.viewer.get(f"/v1/datasets/{line}/lineage", params={"direction": "uses"}).json()
    assert {node["id"] for node in shown["nodes"]} == {
        line, "ds_00000001", "ds_00000002", "mdl_00000001", "mdl_00000002", "mdl_00000003",
    }  # fmt: skip
    with served.database.session() as session:
        session.delete(session.get_one(Dataset, line))
    nodes = served.viewer.get("/v1/models/mdl_00000003/lineage").json()["nodes"]
    assert [(n["deleted"], n["name"]) for n in nodes if n["id"] == line] == [(True, None)]


def test_a_card_tells_data_settings_numbers_and_versions(served: Served, line: str) -> None:
    shown = served.viewer.get("/v1/models/mdl_00000002/card").json()
    card = shown["card"]
    assert [stage["model_id"] for stage in card["stages"]] == ["mdl_00000001", "mdl_00000002"]
    settings = card["stages"][1]["settings"]
    assert (settings["distill_weight"], settings["batch_size"]) == (2, 8)
    assert "mixup" not in settings, "what is at its default was not asked for"
    assert {one["id"] for one in card["data"]} == {line, "ds_00000001", "ds_00000002"}
    assert card["made_with"] == {"medcoss": "1.2"}
    page = shown["markdown"]
    assert page.startswith("# name of mdl_00000002\n")
    for words in ("## Stages", "distill_weight 2", "strategy herding", "val_loss/xray | 0.25", "medcoss 1.2", line):
        assert words in page


def test_who_holds_the_data_of_a_patient_or_a_file(served: Served, line: str) -> None:
    with served.database.reading() as session:
        key = holders.key_of(session, DEFAULT_PROJECT, "own", "0001234")
    listed = {"ds_00000001": {"train": [key], "val": ["0" * 32]}, "ds_00000002": {"train": ["1" * 32]}}
    for dataset_id, patients in listed.items():
        content = gzip.compress(json.dumps(patients).encode())
        served.store.put_bytes(f"datasets/{dataset_id}/shards/{PATIENTS}", content)
        with served.database.session() as session:
            session.add(DatasetFile(dataset_id=dataset_id, path=PATIENTS, size=len(content), sha256="0" * 64))
    dataset(served, "ds_00000003", "job_x")

    def found(**query: str) -> dict[str, object]:
        response = served.operator.post("/v1/holders:find", json=query)
        assert response.status_code == 200, response.text
        return dict(response.json())

    models = ["mdl_00000001", "mdl_00000002", "mdl_00000003"]
    assert found(patient="0001234") == {
        "datasets": {"ds_00000001": ["train"]}, "models": models, "deployments": [], "unknown": ["ds_00000003"],
    }  # fmt: skip
    assert found(key=key) == found(patient="0001234", cohort="own")
    assert found(patient="0001234", cohort="adni")["models"] == [], "the same number of another cohort is another one"
    assert found(key="0" * 32)["models"] == [], "held out, not trained on"
    only = found(key="1" * 32)
    assert (only["datasets"], only["models"]) == ({"ds_00000002": ["train"]}, ["mdl_00000002"])
    file = found(sha256=hashlib.sha256(FILES["a.png"]).hexdigest())
    assert file["datasets"] == {
        line: ["raw"], "ds_00000001": ["made from it"], "ds_00000002": ["made from it"],
    }  # fmt: skip
    assert file["models"] == models
    problem(served.operator.post("/v1/holders:find", json={"key": key, "patient": "1"}), 422)
    problem(served.viewer.post("/v1/holders:find", json={"key": key}), 403)
