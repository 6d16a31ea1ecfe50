"""`medcoss evaluations` and `client.evaluations`: list, show, compare, fetch, delete."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from medcoss.client import ApiError, Client
from medcoss.specs.records import Bootstrap, Draws, EvaluationInfo, FileEntry
from services.core import evaluations
from services.core.storage import ObjectStore
from services.core.tables import DEFAULT_PROJECT
from tests.api.calls import prepared, trained
from tests.cli.conftest import Done
from tests.medcoss.client.control_plane import ControlPlane

DATASET, MODEL = "ds_cli00evals", "mdl_cli00evals"


def recorded(plane: ControlPlane, evaluation_id: str, dice: float, shift: float) -> str:
    info = EvaluationInfo(
        schema_version=2, metrics={"dice": dice, "hd95_mm": 4.5}, intervals={"dice": (dice - 0.1, dice + 0.1)},
        bootstrap=Bootstrap(resamples=5, seed=0, level=0.95, units=4), classes=["liver"],
        per_class=[{"class": "liver", "cases": 4, "dice": dice, "hd95_mm": None}],
    )  # fmt: skip
    draws = Draws(
        digest="cases", seed=0, resamples=5, draws={"dice": [0.5 + shift + 0.1 * i * shift for i in range(5)]}
    )
    content = draws.model_dump_json().encode()
    ObjectStore(plane.settings).put_bytes(f"evaluations/{evaluation_id}/draws.json", content)
    entry = FileEntry(path="draws.json", size=len(content), sha256=hashlib.sha256(content).hexdigest())
    with plane.database.session() as session:
        evaluations.register(
            session, evaluation_id, name="scores", info=info, model_id=MODEL, dataset_id=DATASET, split="test",
            files=[entry], job_id="job_x", project_id=DEFAULT_PROJECT, seed=10,
        )  # fmt: skip
    return evaluation_id


@pytest.fixture(scope="module")
def pair(plane: ControlPlane) -> tuple[str, str]:
    prepared(plane.database, DATASET)
    trained(plane.database, None, MODEL, task="segmentation", classes=["liver"])
    return recorded(plane, "evl_cli0000001", 0.6, 0.0), recorded(plane, "evl_cli0000002", 0.8, 0.2)


def test_scores_are_listed_shown_compared_fetched_and_deleted(
    medcoss: Callable[..., Done], client: Client, pair: tuple[str, str], tmp_path: Path
) -> None:
    first, second = pair
    listed = medcoss("evaluations", "list", "--dataset", DATASET, "--sort=-score")
    lines = [line.split() for line in listed.out.splitlines() if "evl_" in line]
    assert [line[0] for line in lines] == [second, first] and lines[0][1:7] == [
        "encoder", "10", "prepared", "test", "dice", "0.8",
    ]  # fmt: skip
    assert medcoss("evaluations", "list", "--dataset", DATASET, "--split", "val").out.count("evl_") == 0
    assert medcoss("evaluations", "list", "--model", MODEL, "--fields", "id,score", "--json").json[1] == {
        "id": first, "score": 0.6,
    }  # fmt: skip
    shown = medcoss("evaluations", "show", first).out
    assert "0.5 to 0.7" in shown and "liver" in shown and DATASET in shown
    compared = medcoss("evaluations", "compare", first, second)
    assert "dice (higher is better)" in compared.out and "hd95_mm (lower is better)" in compared.out
    assert "+0.2" in compared.out and "0.202 to 0.278" in compared.out and compared.err == ""
    assert "hd95" not in medcoss("evaluations", "compare", first, second, "--metric", "dice").out
    assert "at least two" in medcoss("evaluations", "compare", first).err

    found = client.evaluations.compare(second, first)
    assert (found.baseline, found.metrics[0].values[1].difference) == (second, pytest.approx(-0.2))
    assert [one.id for one in client.evaluations.list(dataset=DATASET, sort="score")] == [first, second]
    assert medcoss("evaluations", "download", first, tmp_path / "files").code == 0
    assert Draws.model_validate_json((tmp_path / "files" / "draws.json").read_text()).digest == "cases"
    assert medcoss("evaluations", "delete", first).err == f"deleted {first}\n"
    with pytest.raises(ApiError, match=first):
        client.evaluations.get(first)
