"""Inputs that are named instead of sent give the same answers, to those who may see them."""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request, Response

from services.core.db import Database
from services.core.ids import new_id
from services.core.registry import add_dataset
from services.core.settings import Settings
from services.core.storage import ObjectStore
from services.core.tables import DEFAULT_PROJECT, Dataset, DatasetFile
from services.inference.app import create_app
from tests.inference.conftest import OTHERS_KEY, serving
from tests.inference.test_inference_answers import png
from tests.inference.test_inference_formats import zipped
from tests.inference.test_inference_problems import problem

CLASSIFY, ATRIUM = "/v1/models/chest/classify", "/v1/models/atrium/segment?format=json"
STUDY, KEY = "1.2.840.1", "Bearer of-the-pacs"


def stored(settings: Settings, files: dict[str, bytes]) -> str:
    """A raw dataset of the default project."""
    dataset_id, store = new_id("ds"), ObjectStore(settings)
    prefix = f"datasets/{dataset_id}/raw/"
    for path, data in files.items():
        store.put_bytes(f"{prefix}{path}", data)
    rows = [DatasetFile(path=p, size=len(d), sha256=hashlib.sha256(d).hexdigest()) for p, d in files.items()]
    row = Dataset(
        id=dataset_id, name="stored", description="", role="raw", state="ready", modality="xray", prefix=prefix,
        info={}, file_count=len(files), project_id=DEFAULT_PROJECT, total_bytes=sum(map(len, files.values())),
        parents=[], files=rows,
    )  # fmt: skip
    with Database(settings.database_url).session() as session:
        add_dataset(session, row)
    return dataset_id


def test_stored_files_are_read_by_those_who_may(
    gateway: httpx.Client, gateway_settings: Callable[..., Settings], real_data: Path
) -> None:
    series = {f"mr/{path.name}": path.read_bytes() for path in (real_data / "brain_mr_dicom").glob("*.dcm")}
    settings = gateway_settings()
    dataset = stored(settings, {"a/x.png": png(7), "report.txt": b"word1 word22 and then word3 word4", **series})
    sent = gateway.post(CLASSIFY, content=png(7)).json()["probabilities"]
    by_path = {"dataset": dataset, "path": "a/x.png"}
    by_key = {"s3": f"s3://{settings.s3_bucket}/datasets/{dataset}/raw/a/x.png"}
    for body in (by_path, by_key):
        answer = gateway.post(CLASSIFY, json=body)
        assert answer.status_code == 200, answer.text
        assert answer.json()["probabilities"] == pytest.approx(sent, abs=1e-6)
        assert answer.json()["timing_ms"]["fetch"] > 0
        others = gateway.post(CLASSIFY, json=body, headers={"Authorization": f"Bearer {OTHERS_KEY}"})
        assert others.status_code == 404
    text = gateway.post("/v1/models/reports/embed", json={"dataset": dataset, "path": "report.txt"})
    assert text.status_code == 200, text.text
    # a folder is a series
    found = gateway.post(ATRIUM, json={"dataset": dataset, "path": "mr/"}).json()
    expected = gateway.post(ATRIUM, content=zipped(real_data / "brain_mr_dicom")).json()
    assert found["volume_ml"] == pytest.approx(expected["volume_ml"])


@pytest.mark.parametrize(
    ("body", "status", "pointer"),
    [
        ({"dataset": "ds_0000000000"}, 422, "/path"),
        ({"dataset": "ds_0000000000", "path": "x"}, 404, None),
        ({"dataset": "ds_0000000000", "path": "x", "text": "y"}, 422, "/text"),
        ({"s3": "s3://another-bucket/datasets/ds_0000000000/raw/x"}, 422, "/s3"),
        ({"s3": "s3://test-inference/models/mdl_0000000000/vocab.txt"}, 422, "/s3"),
        ({"s3": "file:///etc/passwd"}, 422, "/s3"),
        ({"s3": 7}, 422, "/s3"),
        ({"dicomweb": "https://pacs.example.org/dicom-web/studies/1.2"}, 422, "/dicomweb"),
    ],
)
def test_references_that_lead_nowhere(gateway: httpx.Client, body: dict[str, Any], status: int, pointer: str) -> None:
    document = problem(gateway.post(CLASSIFY, json=body), status)
    assert [error["pointer"] for error in document.get("errors", [])] == ([pointer] if pointer else [])


@pytest.fixture(scope="module")
def pacs(real_data: Path) -> Iterator[tuple[str, list[str]]]:
    """A server that speaks WADO-RS, its address, and what it was asked."""
    app, asked = FastAPI(), list[str]()
    series = [path.read_bytes() for path in sorted((real_data / "brain_mr_dicom").glob("*.dcm"))]

    def answer(request: Request, files: list[bytes]) -> Response:
        asked.append(request.headers["accept"])
        if request.headers.get("authorization") != KEY:
            return Response(status_code=401)
        body = b"".join(b"\r\n--cut\r\nContent-Type: application/dicom\r\n\r\n" + data for data in files)
        media_type = 'multipart/related; type="application/dicom"; boundary=cut'
        return Response(body[2:] + b"\r\n--cut--\r\n", media_type=media_type)

    @app.get("/pacs/studies/{study}/series/{number}")
    def of_series(study: str, number: str, request: Request) -> Response:
        known = {"1.1": series, "1.2": [*series[:3], series[3][:-400]], "1.3": []}
        if number == "1.4":
            return Response(status_code=302, headers={"Location": "http://127.0.0.1:9/"})
        if number == "1.5":
            return Response(b"--cut\r\n\r\nDICM", media_type="multipart/related; boundary=cut")
        return answer(request, known[number]) if number in known else Response(status_code=404)

    with serving(app) as client:
        yield str(client.base_url.join("/pacs")), asked


def test_images_of_a_pacs(
    gateway_settings: Callable[..., Settings], pacs: tuple[str, list[str]], real_data: Path
) -> None:
    url, asked = pacs
    servers = [{"url": url, "authorization": KEY}]
    with serving(create_app(gateway_settings(dicomweb_servers=servers, max_inference_bytes=64 * 2**20))) as client:

        def ask(number: str) -> httpx.Response:
            return client.post(ATRIUM, json={"dicomweb": f"{url}/studies/{STUDY}/series/{number}"})

        sent = client.post(ATRIUM, content=zipped(real_data / "brain_mr_dicom")).json()
        found = ask("1.1")
        assert found.status_code == 200, found.text
        assert found.json()["volume_ml"] == pytest.approx(sent["volume_ml"])
        assert 'type="application/dicom"' in asked[-1]
        assert "instance 4: this DICOM file has no readable pixels" in problem(ask("1.2"), 422)["detail"]
        for number, status in (("1.3", 404), ("1.4", 409), ("1.5", 503), ("9", 404)):
            problem(ask(number), status)
        for other in (f"{url}/../admin", f"{url}/studies/1.2?x=1", f"{url}/studies/1.2/metadata", f"{url}x/studies/1"):
            assert "/dicomweb" in problem(client.post(ATRIUM, json={"dicomweb": other}), 422)["errors"][0]["pointer"]
    with serving(create_app(gateway_settings(dicomweb_servers=[{"url": url}]))) as client:
        body = {"dicomweb": f"{url}/studies/{STUDY}/series/1.1"}
        assert "has to give it a key" in problem(client.post(ATRIUM, json=body), 409)["detail"]
