"""Searches: the studies nearest to a file, a report, a stored study or a vector, through a real Triton."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image
from playwright.sync_api import expect

from medcoss import prepare
from medcoss.client import ApiError, Client
from medcoss.data.shards import ShardReader
from medcoss.evaluation.index import build_index
from medcoss.run import LocalRun
from medcoss.specs import BuildIndexSpec
from services.api.app import create_app as create_control_plane
from services.cli.main import run as medcoss
from services.core import indexes, leftovers, projects
from services.core.db import Database, migrate
from services.core.ids import new_id
from services.core.keys import Role, store_key
from services.core.settings import Settings
from services.core.storage import ObjectStore
from services.core.tables import DEFAULT_PROJECT, SearchIndex
from services.inference.app import create_app
from tests.api.calls import pointers, prepared, problem
from tests.browser import Watched, browser, faults, log_in, needs_browser
from tests.inference.conftest import KEY, OTHERS_KEY, Exported, Repository, console_of, register, serving
from tests.medcoss.export.small_models import RECIPES
from tests.medcoss.training.small import reports

__all__ = ["browser"]
FILMS, VOLUMES, REPORTS = "ds_films0000", "ds_volumes00", "ds_reports00"


@dataclass(frozen=True)
class Place:
    """A platform with raw files, prepared datasets by id, models by name, and the gateway."""

    folder: Path
    settings: Settings
    database: Database
    gateway: httpx.Client
    models: dict[str, str]
    exported: dict[str, Exported]

    def build(self, name: str, model: str, *datasets: str) -> None:
        """Make a version of an index as its job does."""
        exported, model_id = self.exported[model], self.models[model]
        with self.database.session() as session:
            row = session.query(SearchIndex).filter_by(name=name).first()
            if row is None:
                row = SearchIndex(
                    id=new_id("idx"), name=name, encoder=model_id, datasets=[*datasets], options={"level": "study"},
                    wanted_id=model_id, job_id="job_i", created_by="ada", project_id=DEFAULT_PROJECT,
                )  # fmt: skip
                session.add(row)
            index_id = row.id
        run = LocalRun(self.folder / new_id("run"))
        spec = BuildIndexSpec(index=index_id, model=model_id, datasets=datasets, projection=0)
        folders = {one: self.folder / one / "dataset" for one in datasets}
        info = build_index(spec, exported.model_dir, folders, {one: one for one in datasets}, run.root / "index",
                           run.root / "work", run)  # fmt: skip
        prefix = f"{indexes.folder_of(index_id)}/{new_id('ixv')}"
        files = ObjectStore(self.settings).upload_dir(prefix, run.root / "index")
        with self.database.session() as session:
            indexes.register(session, index_id, prefix, info, files, model_id, "job_i")

    def search(self, name: str, **request: Any) -> dict[str, Any]:
        """A good answer."""
        answer = self.gateway.post(f"/v1/indexes/{name}/search", **request)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())


def films(folder: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(12):
        path = folder / ("train", "test")[number % 2] / ("left", "right")[number // 6] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 60 + 15 * number, (80, 100), dtype=np.uint8)).save(path)


def volumes(folder: Path) -> None:
    folder.mkdir(parents=True)
    for number in range(4):
        values = np.random.default_rng(number).normal(50 + 40 * number, 20, (24, 40, 50)).astype(np.float32)
        values[: 6 * number] += 200
        sitk.WriteImage(sitk.GetImageFromArray(values), str(folder / f"{number}.nii.gz"))


@pytest.fixture(scope="module")
def place(repository: Repository, gateway_settings: Callable[..., Settings], tmp_path_factory: pytest.TempPathFactory
          ) -> Iterator[Place]:  # fmt: skip
    folder = tmp_path_factory.mktemp("indexes")
    settings = gateway_settings(database_url=f"sqlite:///{folder / 'medcoss.db'}", s3_bucket="test-indexes")
    migrate(settings.database_url)
    ObjectStore(settings).ensure_bucket()
    database = Database(settings.database_url)
    with database.session() as session:
        store_key(session, KEY, "test", Role.VIEWER)
        store_key(session, OTHERS_KEY, "others", Role.OPERATOR, projects=[projects.create(session, "others").id])
    films(folder / "raw" / FILMS)
    volumes(folder / "raw" / VOLUMES)
    by_folders = {"splits": {"method": "folders"}, "quiet": True}
    film_recipe = {key: value for key, value in RECIPES["xray"].items() if key not in {"name", "modality"}}
    prepare(folder / "raw" / FILMS, folder / FILMS, labels="folders", **film_recipe, **by_folders)
    prepare(folder / "raw" / VOLUMES, folder / VOLUMES, "volume_folder", size=(16, 32, 48), stride=8, **by_folders)
    reports(folder / REPORTS / "dataset")
    exported = {"one": repository.retired, "two": repository.models["chest"], "reads": repository.models["reports"],
                "volumes": repository.models["volumes"]}  # fmt: skip
    models = {name: register(settings, one) for name, one in exported.items()}
    with serving(create_app(settings)) as gateway:
        made = Place(folder, settings, database, gateway, models, exported)
        made.build("films", "one", FILMS)
        made.build("volumes", "volumes", VOLUMES)
        made.build("reports", "reads", REPORTS, VOLUMES)
        yield made
    database.engine.dispose()


def test_the_nearest_study_of_a_stored_file_is_itself(place: Place) -> None:
    for index, dataset in (("films", FILMS), ("volumes", VOLUMES)):
        for path in sorted(p for p in (place.folder / "raw" / dataset).rglob("*") if p.is_file()):
            found = place.search(index, files={"file": (path.name, path.read_bytes())})
            assert (found["index"], found["version"], found["search"]) == (index, 1, "exact")
            first, second = found["items"][:2]
            assert first["source"] == path.relative_to(place.folder / "raw" / dataset).as_posix()
            assert first["score"] == pytest.approx(1, abs=1e-5) and second["score"] < first["score"]
            by_sample = place.search(index, json={"sample": {"dataset": dataset, "id": first["sample"]}})
            assert by_sample["items"][0] == first | {"score": pytest.approx(1, abs=1e-6)}
            assert by_sample["timing_ms"]["infer"] == 0
    assert (
        place.search("films", json={"sample": {"dataset": FILMS, "id": first_source(place)}})["items"][0]["score"]
        > 0.99
    )


def first_source(place: Place) -> str:
    return ShardReader(place.folder / FILMS / "dataset").rows[0].source


def test_a_report_finds_itself_among_studies_of_two_modalities(place: Place) -> None:
    reader = ShardReader(place.folder / REPORTS / "dataset")
    found = place.search("reports", json={"text": reader.text(3)}, params={"k": 3})
    assert len(found["items"]) == 3 and found["among"] == len(reader) + 4
    # to an untrained encoder, the same sentences in another order are nearly the same
    best = [item for item in found["items"] if item["score"] == pytest.approx(1, abs=1e-4)]
    assert reader.rows[3].id in {item["sample"] for item in best} and best[0]["modality"] == "report"
    found = place.search("reports", json={"text": reader.text(3)}, params={"modality": "mr"})
    assert {item["modality"] for item in found["items"]} == {"mr"} and found["among"] == 4
    # its encoder is served for reports alone
    path = place.folder / "raw" / VOLUMES / "0.nii.gz"
    refused = problem(place.gateway.post("/v1/indexes/reports/search", content=path.read_bytes()), 409)
    assert "not served for files" in refused["detail"] and place.models["reads"] in refused["detail"]


def test_filters_leave_what_fits_and_nothing_else(place: Place) -> None:
    query = {"json": {"sample": {"dataset": FILMS, "id": first_source(place)}}}
    everything = place.search("films", params={"k": 100}, **query)["items"]
    assert len(everything) == 12
    scores = [item["score"] for item in everything]
    assert scores == sorted(scores, reverse=True)
    for filters in ({"split": "test"}, {"label": "left"}, {"split": "test", "label": "right"},
                    {"label": ["left", "right"], "split": ["train"]}, {"dataset": "ds_none00000"}):  # fmt: skip
        found = place.search("films", params={"k": 100} | filters, **query)
        expected = [
            item for item in everything
            if all(item[key] in ([value] if isinstance(value, str) else value) for key, value in filters.items())
        ]  # fmt: skip
        assert found["items"] == expected and found["among"] == len(expected)
    patients = {item["patient"] for item in everything}
    assert place.search("films", params={"patient": next(iter(patients))}, **query)["among"] >= 1
    assert len(place.search("films", params={"k": 2, "exact": True}, **query)["items"]) == 2


def test_other_projects_find_no_index(place: Place) -> None:
    body = {"sample": {"dataset": FILMS, "id": first_source(place)}}
    others = {"Authorization": f"Bearer {OTHERS_KEY}"}
    hidden = problem(place.gateway.post("/v1/indexes/films/search", json=body, headers=others), 404)
    missing = problem(place.gateway.post("/v1/indexes/flims/search", json=body), 404)
    assert hidden["detail"] == "there is no index 'films'" and missing["detail"] == "there is no index 'flims'"
    nobody = {"Authorization": "Bearer mk_nobody"}
    problem(place.gateway.post("/v1/indexes/films/search", json=body, headers=nobody), 401)


BAD: dict[str, tuple[dict[str, Any], int, list[str] | None]] = {
    "a short vector": ({"json": {"vector": [1.0, 2.0]}}, 422, ["/vector"]),
    "a vector of nothing": ({"json": {"vector": [0.0] * 48}}, 422, ["/vector"]),
    "words as a vector": ({"json": {"vector": ["a"]}}, 422, ["/vector/0"]),
    "no such study": ({"json": {"sample": {"dataset": FILMS, "id": "none.png"}}}, 404, None),
    "half a study": ({"json": {"sample": {"dataset": FILMS}}}, 422, ["/sample/id"]),
    "nothing": ({"json": {}}, 422, [""]),
    "no JSON": ({"content": b"{", "headers": {"Content-Type": "application/json"}}, 400, None),
    "no image": ({"files": {"file": ("a.png", b"no image")}}, 422, ["/file"]),
    "too many": ({"json": {"vector": [1.0] * 48}, "params": {"k": 5000}}, 422, ["/query/k"]),
    "a report for films": ({"json": {"text": "the lungs are clear"}}, 409, None),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_searched_for_is_named(place: Place, case: str) -> None:
    request, status, fields = BAD[case]
    found = problem(place.gateway.post("/v1/indexes/films/search", **request), status)
    assert fields is None or pointers(found) == fields


def test_an_index_without_a_version_says_who_builds_it(place: Place) -> None:
    with place.database.session() as session:
        session.add(
            SearchIndex(
                id="idx_coming", name="coming", encoder="mdl_1", datasets=[FILMS], options={"level": "study"},
                wanted_id="mdl_1", job_id="job_coming", created_by="ada", project_id=DEFAULT_PROJECT,
            )
        )  # fmt: skip
    found = problem(place.gateway.post("/v1/indexes/coming/search", json={"vector": [1.0]}), 409)
    assert "job_coming" in found["detail"]


def test_client_and_command_line(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = next((place.folder / "raw" / FILMS).rglob("*.png"))
    url = str(place.gateway.base_url).rstrip("/")
    with serving(create_control_plane(place.settings.model_copy(update={"gateway_url": url}))) as plane:
        server = str(plane.base_url).rstrip("/")
        with Client(server, KEY) as client:
            found = client.indexes.search("films", path, k=3, split=["train", "test"])
            assert found.items[0].source == path.relative_to(place.folder / "raw" / FILMS).as_posix()
            first = found.items[0]
            assert client.indexes.search("films", sample=(first.dataset, first.sample)).items[0].score > 0.9999
            assert client.indexes.search("films", vector=[1.0] * 48, label="left").among == 6
            with pytest.raises(ApiError, match="there is no index 'flims'"):
                client.indexes.search("flims", "the lungs are clear")
            with pytest.raises(TypeError, match="there is no filter 'spilt'"):
                client.indexes.search("films", path, spilt="test")
            assert client.indexes.get("films").vectors == 12
            made = client.indexes.download("films", tmp_path / "files", only="studies")
            assert [one.name for one in made.iterdir()] == ["studies.parquet"]
        monkeypatch.setenv("MEDCOSS_SERVER", server)
        monkeypatch.setenv("MEDCOSS_KEY", KEY)
        assert medcoss(["indexes", "search", "films", str(path), "-k", "2", "--split", "train", "--split", "test"]) == 0
        shown = capsys.readouterr().out
        assert path.name in shown and "exact among 12 studies of version 1" in shown
        assert medcoss(["indexes", "list"]) == 0
        assert "films" in capsys.readouterr().out
        assert medcoss(["indexes", "show", "films"]) == 0
        assert FILMS in capsys.readouterr().out


@needs_browser
def test_the_console_shows_the_nearest_studies_of_a_file(place: Place, browser: Watched) -> None:
    known = sorted((place.folder / "raw" / VOLUMES).glob("*.nii.gz"))[2]
    prepared(place.database, VOLUMES, modality="mr", kind="volume3d", sample_shape=[1, 8, 16, 16])
    with console_of(place.settings) as origin:
        page = browser.page()
        log_in(page, origin, KEY, "/try?model=volumes")
        page.get_by_label("File").set_input_files(known)
        expect(page.get_by_text("Choose an index above to see the studies nearest to it")).to_be_visible()
        page.get_by_role("combobox", name="Nearest studies of the index").click()
        page.get_by_role("option", name="volumes").click()
        page.get_by_label("File").set_input_files(known)
        rows = page.get_by_role("region", name="Nearest studies", exact=True).locator("tbody tr")
        # the study itself before the others
        expect(rows).to_have_count(4)
        expect(rows.first).to_contain_text(re.compile(rf"^1\s*{re.escape(known.name)}"))
        expect(rows.first.get_by_role("link", name="prepared")).to_be_visible()
        assert not faults(page) and not browser.errors


def test_searches_switch_when_the_next_version_is_whole(place: Place) -> None:
    path = next((place.folder / "raw" / FILMS).rglob("*.png"))
    query = {"files": {"file": (path.name, path.read_bytes())}}
    before = place.search("films", **query)
    assert (before["version"], before["model_id"]) == (1, place.models["one"])
    place.build("films", "two", FILMS)
    leftovers.clean(place.database, ObjectStore(place.settings), lambda _: None, 30)
    after = place.search("films", **query)
    assert (after["version"], after["model_id"]) == (2, place.models["two"])
    assert after["items"][0]["source"] == before["items"][0]["source"]
    assert after["items"][0]["score"] == pytest.approx(1, abs=1e-5)
    assert [i["score"] for i in after["items"][1:]] != [i["score"] for i in before["items"][1:]]
