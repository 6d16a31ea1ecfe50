"""Every modality and task on real files: one encoder of five modalities, classifiers, and segmenters as the presets of
LiTS, the schwannomas and the left atrium make them. What comes over HTTP is what PyTorch says, where the file says.
"""

import csv
import io
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
import torch
import tritonclient.http as triton
from numpy.typing import NDArray
from PIL import Image

from medcoss.data.shards import ShardReader
from medcoss.data.tokenizer import SPECIAL, Tokenizer
from medcoss.export.export import export
from medcoss.models.registry import load_model
from medcoss.preprocess.postprocess import postprocessed
from medcoss.preprocess.received import File, received_volume
from medcoss.preprocess.run import preprocess
from medcoss.preprocess.volumes import from_lps, to_label_map, to_masks
from medcoss.run import LocalRun
from medcoss.specs import ExportSpec
from medcoss.specs.postprocess import LargestComponent, Within
from medcoss.specs.preprocess import ImageFolder, OpeniReports, PreprocessSpec, Recipe, VolumeFolder
from medcoss.specs.recipes.glas import Glas
from medcoss.specs.recipes.la_seg import LaSeg
from medcoss.specs.recipes.lits import Lits
from medcoss.specs.recipes.nct_crc_he import NctCrcHe
from medcoss.specs.recipes.pubmed20k_rct import Pubmed20kRct
from medcoss.specs.recipes.ricord import Ricord
from medcoss.specs.recipes.vs_seg import VsSeg
from services.core.db import Database, migrate
from services.core.keys import Role, store_key
from services.core.settings import Settings
from services.core.storage import ObjectStore
from services.inference.app import create_app
from tests.api.calls import pointers, problem
from tests.inference.conftest import KEY, MODEL_ID, Exported, Repository, register, serving
from tests.inference.test_inference_answers import pipeline, png
from tests.inference.test_inference_equality import close, embedded
from tests.inference.test_inference_formats import volume_of, zipped
from tests.inference.test_inference_indexes import Place
from tests.medcoss.export.small_models import CONFIG, RECIPES, write_model

# of the encoder whose stages were these
LEARNT = ["report", "xray", "ct", "mr", "pathology"]
SHALLOW = replace(CONFIG, depth=1)
FINGERPRINT = {"low": -100.0, "high": 300.0, "mean": 60.0, "std": 80.0}


@dataclass(frozen=True)
class Exporter:
    """Exports small models to the running Triton."""

    work: Path
    triton: Repository

    def __call__(self, name: str, folder: Path, modality: str) -> Exported:
        spec = ExportSpec(model=MODEL_ID, name=name, modality=modality, max_batch_size=4)
        info = export(spec, folder, self.triton.folder, "python", 1, LocalRun(self.work / "run"))
        triton.InferenceServerClient(self.triton.url, network_timeout=120).load_model(name)
        return Exported(info, folder)


def also(exported: Exported, name: str, recipe: Recipe | dict[str, Any], **fields: Any) -> Exported:
    """Another name for the same graph, with a preprocessing of its own."""
    told = recipe if isinstance(recipe, dict) else recipe.model_dump(mode="json")
    update = {"name": name, "modality": told["modality"], "recipe": told} | fields
    return replace(exported, info=exported.info.model_copy(update=update))


def sentences(real_data: Path) -> list[str]:
    with (real_data / "reports" / "reports.csv").open(newline="", encoding="utf-8-sig") as file:
        return [row["findings"] for row in csv.DictReader(file) if len(row["findings"]) > 60][:40]


@pytest.fixture(scope="module")
def place(repository: Repository, gateway_settings: Callable[..., Settings], real_data: Path,
          tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:  # fmt: skip
    """A platform with the encoder under five names, four classifiers and five segmenters."""
    folder = tmp_path_factory.mktemp("modalities")
    words = sorted({word for text in sentences(real_data) for word in text.lower().replace(".", " ").split()})
    known, exported = [*SPECIAL, *words], Exporter(folder, repository)
    encoder = write_model(folder / "encoder" / "model", "encoder", LEARNT, words=known, config=SHALLOW)
    reads, sees, scans = (exported(f"all-{name}", encoder, name) for name in ("report", "xray", "ct"))
    one = write_model(folder / "one" / "model", "segmentation", ["mr"], ["structure"])
    roles = write_model(folder / "roles" / "model", "classification", ["report"], ["aim", "result"], words=known,
                        config=SHALLOW)  # fmt: skip
    covid = write_model(folder / "covid" / "model", "classification", ["ct"], ["covid", "none"], config=SHALLOW)
    segmenter, (chest, lungs, atrium) = exported("one", one, "mr"), (
        repository.models[name] for name in ("chest", "lungs", "atrium"))  # fmt: skip
    served = {
        "all-report": reads, "all-xray": sees, "all-ct": scans,
        "all-mr": also(scans, "all-mr", RECIPES["mr"]),
        "all-pathology": also(sees, "all-pathology", RECIPES["pathology"]),
        "roles": also(exported("roles", roles, "report"), "roles", Pubmed20kRct()),
        "covid": also(exported("covid", covid, "ct"), "covid", Ricord(size=(16, 32, 48))),
        "tissue": also(chest, "tissue", NctCrcHe(size=(64, 64))), "lungs": lungs,
        "glands": also(lungs, "glands", Glas(size=(64, 64))),
        "la": also(segmenter, "la", LaSeg(size=(16, 32, 48)), postprocess=(LargestComponent(of=0),)),
        "vs": also(segmenter, "vs", VsSeg(size=(16, 64, 96)), findings=[4.0, 4.0, 4.0]),
        "lits": also(atrium, "lits", Lits(size=(16, 96, 96)), findings=FINGERPRINT, classes=["liver", "tumour"],
                     postprocess=(LargestComponent(of=0), Within(of=1, organ=0))),
    }  # fmt: skip
    settings = gateway_settings(database_url=f"sqlite:///{folder / 'medcoss.db'}", s3_bucket="test-modalities",
                                max_inference_bytes=64 * 2**20)  # fmt: skip
    migrate(settings.database_url)
    ObjectStore(settings).ensure_bucket()
    database = Database(settings.database_url)
    with database.session() as session:
        store_key(session, KEY, "test", Role.VIEWER)
    models: dict[str, str] = {}
    for name, made in served.items():
        models[name] = register(settings, made, models.get("all-report") if name.startswith("all-") else None)
    with serving(create_app(settings)) as gateway:
        yield Place(folder, settings, database, gateway, models, served)
    database.engine.dispose()
    client = triton.InferenceServerClient(repository.url)
    for made in (reads, sees, scans, segmenter, served["roles"], served["covid"]):
        client.unload_model(made.info.triton_model)


FILES = {
    "xray": "xray/train/covid/covid_0001.jpg", "pathology": "path/cmu1_small_region/r00_c02.jpg",
    "ct": "ct/vtk_headsq_64.nii.gz", "mr": "brain_mr/pyradiomics_brain1_t1gd.nii.gz",
}  # fmt: skip


def inputs(exported: Exported, data: bytes | str) -> tuple[NDArray[Any], ...]:
    """What a model is given for a file or a text; the windows of a volume are a batch."""
    if isinstance(data, str):
        encoded = pipeline(exported).text(data, Tokenizer(exported.model_dir / "vocab.txt"))
        assert (encoded.ids > len(SPECIAL)).sum() > 5, "words that the model knows"
        return encoded.ids[None], encoded.attention[None]
    if exported.info.kind == "volume3d":
        return (pipeline(exported).volume(data, "x.nii.gz").windows,)
    return (pipeline(exported).image(data, "x.jpg"),)


@pytest.mark.parametrize("modality", LEARNT)
def test_one_encoder_embeds_every_modality(place: Place, real_data: Path, modality: str) -> None:
    exported, url = place.exported[f"all-{modality}"], f"/v1/models/all-{modality}/embed"
    data = sentences(real_data)[0] if modality == "report" else (real_data / FILES[modality]).read_bytes()
    sent = {"json": {"text": data}} if isinstance(data, str) else {"content": data}
    answer = place.gateway.post(url, **sent)
    assert answer.status_code == 200, answer.text
    assert close(answer.json()["embedding"], embedded(exported, *inputs(exported, data)))


@pytest.mark.parametrize(("name", "modality"), [("roles", "report"), ("covid", "ct"), ("tissue", "pathology")])
def test_classifiers_of_reports_volumes_and_tissue(place: Place, real_data: Path, name: str, modality: str) -> None:
    exported, url = place.exported[name], f"/v1/models/{name}"
    data = sentences(real_data)[1] if modality == "report" else (real_data / FILES[modality]).read_bytes()
    sent = {"json": {"text": data}} if isinstance(data, str) else {"content": data}
    module, _ = load_model(exported.model_dir)
    with torch.inference_mode():
        logits, features = module(*map(torch.from_numpy, inputs(exported, data)))
    expected = torch.softmax(logits, dim=1).mean(dim=0).tolist()
    answer = place.gateway.post(f"{url}/classify", **sent)
    assert answer.status_code == 200, answer.text
    assert list(answer.json()["probabilities"].values()) == pytest.approx(expected, abs=1e-3)
    assert close(place.gateway.post(f"{url}/embed", **sent).json()["embedding"], features.mean(dim=0))


def test_a_grey_image_is_refused_by_a_model_of_colours(place: Place) -> None:
    for url in ("/v1/models/tissue/classify", "/v1/models/glands/segment", "/v1/models/all-pathology/embed"):
        told = problem(place.gateway.post(url, files={"file": ("tile.png", png(0))}), 422)
        assert pointers(told) == ["/file"] and "tile.png: the image is grey; the model reads colour" in told["detail"]


@pytest.mark.parametrize(("name", "modality"), [("lungs", "xray"), ("glands", "pathology")])
def test_masks_of_real_images(place: Place, real_data: Path, name: str, modality: str) -> None:
    exported, data = place.exported[name], (real_data / FILES[modality]).read_bytes()
    module, _ = load_model(exported.model_dir)
    with torch.inference_mode():
        probabilities = torch.sigmoid(module(torch.from_numpy(pipeline(exported).image(data, "x.jpg"))))[0].numpy()
    width, height = Image.open(io.BytesIO(data)).size
    channels = pipeline(exported).image_channels(probabilities, (height, width))
    answer = place.gateway.post(f"/v1/models/{name}/segment", content=data)
    assert answer.status_code == 200, answer.text
    found, expected = np.asarray(Image.open(io.BytesIO(answer.content))), to_label_map(to_masks(channels))
    assert found.shape == (height, width) and 0.02 < (expected > 0).mean() < 0.98
    assert not ((found != expected) & ~near(channels)).any()


def near(channels: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Where a class has a probability within 1e-3 of one half."""
    return np.any(np.abs(channels - 0.5) < 1e-3, axis=0)


def assert_segmented(place: Place, name: str, sent: bytes, image: sitk.Image, folder: Path) -> sitk.Image:
    """The mask over HTTP is PyTorch's, post-processed, on the grid of `image`."""
    exported = place.exported[name]
    module, info = load_model(exported.model_dir)
    request = pipeline(exported).segmented(image, tuple(info.sample_shape[1:]))
    with torch.inference_mode():
        answers = [torch.sigmoid(module(torch.from_numpy(windows))).numpy() for windows in request.batches(4)]
    channels = np.stack([*request.channels(request.blended(answers))])
    masks = postprocessed(to_masks(channels), exported.info.classes or [], exported.info.postprocess, request.spacing)
    expected = sitk.GetArrayFromImage(from_lps(to_label_map(masks), request.original))
    answer = volume_of(place.gateway.post(f"/v1/models/{name}/segment", content=sent), folder)
    for of in ("GetSize", "GetSpacing", "GetOrigin", "GetDirection"):
        assert getattr(answer, of)() == pytest.approx(getattr(image, of)(), abs=1e-4)
    found = sitk.GetArrayFromImage(answer)
    assert 0.005 < (expected > 0).mean() < 0.99, "a mask that says something"
    assert not ((found != expected) & ~request.own(near(channels))).any()
    assert ({*np.unique(found)} - {0}) == {*range(1, len(exported.info.classes or []) + 1)}
    return answer


def nifti_bytes(image: sitk.Image, folder: Path) -> bytes:
    sitk.WriteImage(image, str(folder / "scan.nii.gz"))
    return (folder / "scan.nii.gz").read_bytes()


def slab(path: Path) -> sitk.Image:
    """Some of a real CT of which a whole one would have thousands of windows."""
    return sitk.ReadImage(str(path))[200:264, 180:252, 2:16]


def test_segmenters_of_the_presets_on_real_volumes(place: Place, real_data: Path, tmp_path: Path) -> None:
    case = (real_data / "la_mr" / "test.list").read_text().split()[0]
    atrium = sitk.ReadImage(str(real_data / "la_mr" / f"{case}.nii.gz"))
    # axes that change places and run backwards
    turned = sitk.Flip(sitk.PermuteAxes(atrium, (2, 0, 1)), (True, False, True))
    assert_segmented(
        place, "la", nifti_bytes(turned, tmp_path), sitk.ReadImage(str(tmp_path / "scan.nii.gz")), tmp_path
    )
    # oblique, and from right and back to left and front
    oblique = real_data / "brain_mr" / "niivue_flair_brainonly.nii.gz"
    assert_segmented(place, "vs", oblique.read_bytes(), sitk.ReadImage(str(oblique)), tmp_path)
    abdomen = slab(real_data / "ct" / "totalseg_upper_abdomen_slab_512.nii.gz")
    mask = assert_segmented(place, "lits", nifti_bytes(abdomen, tmp_path), abdomen, tmp_path)
    parts = sitk.ConnectedComponent(mask > 0, True)
    assert int(sitk.GetArrayFromImage(parts).max()) == 1, "one liver, with the tumours in it"


def cut_series(paths: list[Path], first: tuple[int, int], size: tuple[int, int], folder: Path) -> None:
    """Every file of an axial series as one that shows `size` pixels (x, y) of it, from `first` on."""
    (left, top), (width, height) = first, size
    for path in paths:
        header = pydicom.dcmread(path)
        header.decompress()
        header.PixelData = header.pixel_array[top : top + height, left : left + width].tobytes()
        header.Rows, header.Columns = height, width
        (x, y, z), (down, along) = header.ImagePositionPatient, header.PixelSpacing
        header.ImagePositionPatient = [x + left * along, y + top * down, z]
        header.save_as(folder / path.name)


def test_segmenters_of_the_presets_on_real_series(place: Place, real_data: Path, tmp_path: Path) -> None:
    # of the scanner, oblique
    brain = sorted((real_data / "brain_mr_dicom").glob("*.dcm"))
    whole = received_volume([File(path.name, path.read_bytes()) for path in brain], "mr").image
    assert_segmented(place, "vs", zipped(brain[0].parent), whole, tmp_path)
    # a part of a compressed CT, of which the whole would have thousands of windows
    paths = sorted((real_data / "ct_dicom").glob("*.dcm"))
    (tmp_path / "part").mkdir()
    cut_series(paths, (200, 180), (64, 72), tmp_path / "part")
    sent = [File(path.name, path.read_bytes()) for path in sorted((tmp_path / "part").iterdir())]
    assert_segmented(place, "lits", zipped(tmp_path / "part"), received_volume(sent, "ct").image, tmp_path)


def test_reports_images_and_volumes_find_each_other_in_one_index(place: Place, real_data: Path) -> None:
    raw = place.folder / "raw"
    for name, where, pattern in (("films", "xray/train/covid", "*_000[1-4].jpg"), ("scans", "ct", "[vt]*[4m].nii.gz")):
        (raw / name).mkdir(parents=True)
        for path in (real_data / where).glob(pattern):
            shutil.copy(path, raw / name)
    (raw / "texts").mkdir()
    with (raw / "texts" / "reports.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["study_id", "findings", "impression"])
        table.writerows([number, text, ""] for number, text in enumerate(sentences(real_data)[:5]))
    recipes = {
        "ds_films0000": (ImageFolder(size=(64, 64)), "films"), "ds_reports00": (OpeniReports(), "texts"),
        "ds_volumes00": (VolumeFolder(modality="ct", size=(16, 32, 48), stride=8), "scans"),
    }  # fmt: skip
    for dataset, (recipe, where) in recipes.items():
        spec = PreprocessSpec(dataset=dataset, recipe=recipe, max_bad_fraction=0)
        preprocess(spec, raw / where, place.folder / dataset / "dataset", LocalRun(place.folder / "run"))
    place.build("all", "all-report", *recipes)
    reader = ShardReader(place.folder / "ds_reports00" / "dataset")
    sent: dict[str, dict[str, Any]] = {
        "report": {"json": {"text": sentences(real_data)[2]}},
        "xray": {"content": (real_data / FILES["xray"]).read_bytes(), "params": {"input": "xray"}},
        "ct": {"content": (real_data / FILES["ct"]).read_bytes(), "params": {"input": "ct"}},
    }
    for modality, request in sent.items():
        found = place.search("all", **request | {"params": request.get("params", {}) | {"k": 100}})["items"]
        assert found[0]["modality"] == modality and found[0]["score"] == pytest.approx(1, abs=1e-4)
        assert len(found) == len(reader) + 4 + 3 and {item["modality"] for item in found} == {*sent}
        only = place.search("all", **request | {"params": request.get("params", {}) | {"modality": "xray"}})
        assert only["among"] == 4
    assert found[0]["source"] == "vtk_headsq_64.nii.gz"
    refused = problem(place.gateway.post("/v1/indexes/all/search", content=sent["ct"]["content"]), 422)
    assert pointers(refused) == ["query:input"] and "ct, mr, pathology, xray" in refused["detail"]
