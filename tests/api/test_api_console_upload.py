"""Datasets brought to the platform by the console, and looked at there."""

import hashlib
import re
import shutil
from pathlib import Path

import httpx
from playwright.sync_api import Page, expect

from medcoss.specs.records import BadFile
from tests.api.calls import prepared
from tests.api.serving import KEYS, Role, Served
from tests.browser import Watched, browser, faults, log_in

__all__ = ["browser"]


def test_a_folder_is_uploaded_gone_on_with_and_looked_at(
    served: Served, browser: Watched, real_data: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "two studies"
    (folder / "films").mkdir(parents=True)
    for path in sorted((real_data / "xray" / "train" / "normal").glob("*.jpg"))[:3]:
        shutil.copy(path, folder / "films")
    volumes = sorted((real_data / "brain_mr").glob("*.nii.gz"))
    # real volumes in one file that goes in parts: the last one, and it has two
    large = folder / "volumes.bin"
    large.write_bytes(b"".join(path.read_bytes() for path in volumes))
    assert 8 * 2**20 < large.stat().st_size <= 16 * 2**20
    shutil.copy(next((real_data / "ct_dicom").glob("*.dcm")), folder / "patient.dcm")
    (folder / ".hidden").write_text("not sent")
    page = browser.page()
    log_in(page, served.url, KEYS[Role.OPERATOR], "/datasets")
    page.get_by_role("link", name="Upload").click()
    page.get_by_label("Folder to upload").set_input_files(folder)
    expect(page.get_by_role("textbox", name="Name")).to_have_value("two-studies")

    # DICOM files are not sent before somebody has said what becomes of them
    send = page.get_by_role("button", name="Upload", exact=True)
    expect(page.get_by_role("alert")).to_contain_text("medcoss datasets upload 'two studies'")
    expect(send).to_be_disabled()
    page.get_by_label("Leave them out").check()
    assert not faults(page)

    # the second part never gets through, and the page is loaded anew
    page.route(re.compile("partNumber=2"), lambda route: None)
    send.click()
    expect(page.get_by_role("region", name="Progress of the upload")).to_contain_text(
        re.compile(r"sending.*8\.\d MiB of 16")
    )
    page.on("dialog", lambda dialog: dialog.accept())
    page.reload()
    # what the page still loads would be broken off
    expect(page.get_by_label("Folder to upload")).to_be_attached()
    page.unroute_all()
    browser.requests.clear()
    (waits,) = served.operator.get("/v1/datasets").json()["items"]
    assert waits["state"] == "uploading"
    page.get_by_label("Folder to upload").set_input_files(folder)
    page.get_by_label("Leave them out").check()
    send.click()
    page.wait_for_url(re.compile(f"/datasets/{waits['id']}"))
    parts = [url for url in browser.requests if "partNumber=" in url]
    assert parts and not any("partNumber=1&" in url for url in parts), "what has arrived is not sent again"

    # all is there as it was, without what was left out
    found = {
        each["path"]: each["sha256"]
        for each in served.operator.get(f"/v1/datasets/{waits['id']}/files").json()["items"]
    }
    sent = [path for path in folder.rglob("*") if path.is_file() and path.name not in {"patient.dcm", ".hidden"}]
    assert found == {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in sent
    }
    first = page.locator("img.thumbnail").first
    expect(first).to_be_visible()
    page.wait_for_function("() => document.querySelector('img.thumbnail').naturalWidth > 100")
    page.get_by_role("tab", name="Versions").click()
    expect(page.get_by_text("No other raw dataset is called two-studies")).to_be_visible()
    assert not faults(page) and not browser.errors
    stores = {httpx.URL(served.url).netloc.decode(), served.settings.s3_endpoint}
    assert browser.hosts() <= stores


def drop(page: Page, *paths: Path) -> None:
    """Drag files or folders of this machine onto the place for them, and let go: what a person does with a mouse."""
    box = page.get_by_role("region", name="Files to upload").bounding_box()
    assert box is not None
    data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
    place = {"x": box["x"] + box["width"] / 2, "y": box["y"] + 10, "data": data}
    devtools = page.context.new_cdp_session(page)
    for each in ("dragEnter", "dragOver", "drop"):
        devtools.send("Input.dispatchDragEvent", {"type": each, **place})


def test_a_folder_and_files_are_dropped(served: Served, browser: Watched, tmp_path: Path) -> None:
    folder = tmp_path / "ward-7"
    for number in range(120):
        (folder / f"day {number % 3}").mkdir(parents=True, exist_ok=True)
        (folder / f"day {number % 3}" / f"{number}.txt").write_text(f"report {number}")
    (tmp_path / "alone.txt").write_text("one more")
    page = browser.page()
    log_in(page, served.url, KEYS[Role.OPERATOR], "/datasets/upload")
    send = page.get_by_role("button", name="Upload", exact=True)
    # a folder: its files at their places within it, more of them than a browser reads at a time
    drop(page, folder)
    expect(page.get_by_role("textbox", name="Name")).to_have_value("ward-7")
    send.click()
    page.wait_for_url(re.compile(r"/datasets/ds_"))
    files = served.operator.get(f"/v1/datasets/{page.url.rsplit('/', 1)[1]}/files", params={"limit": 500}).json()
    assert {each["path"] for each in files["items"]} == {
        path.relative_to(folder).as_posix() for path in folder.rglob("*.txt")
    }
    # several things: the folder is one of them
    page.goto(f"{served.url}/console/datasets/upload")
    drop(page, folder, tmp_path / "alone.txt")
    page.get_by_role("textbox", name="Name").fill("several")
    expect(page.get_by_text("121 files")).to_be_visible()
    send.click()
    page.wait_for_url(re.compile(r"/datasets/ds_"))
    files = served.operator.get(f"/v1/datasets/{page.url.rsplit('/', 1)[1]}/files", params={"limit": 500}).json()
    paths = {each["path"] for each in files["items"]}
    assert len(paths) == 121 and {"alone.txt", "ward-7/day 0/0.txt"} <= paths
    assert not browser.errors


def test_two_versions_of_a_dataset_are_told_apart(served: Served, browser: Watched) -> None:
    prepared(
        served.database,
        "ds_first0000",
        samples=4,
        splits={"train": 4},
        recipe={"name": "image_folder", "size": [32, 32]},
    )
    prepared(
        served.database,
        "ds_second000",
        samples=6,
        splits={"train": 6},
        recipe={"name": "image_folder", "size": [64, 64]},
        bad_files=[BadFile(path="films/7.png", reason="it is cut off")],
    )
    page = browser.page()
    log_in(page, served.url, KEYS[Role.VIEWER], "/datasets/ds_second000?tab=versions")
    differences = page.get_by_role("region", name="Differences of the versions")
    expect(differences.get_by_role("row", name=re.compile("^samples 6 4"))).to_be_visible()
    expect(differences.get_by_role("row", name="recipe.size [64,64] [32,32]")).to_be_visible()
    expect(differences).not_to_contain_text("modality")
    page.get_by_role("tab", name="Bad files (1)").click()
    expect(page.get_by_role("row", name="films/7.png it is cut off")).to_be_visible()
    assert not faults(page) and not browser.errors
