"""From folders to an encoder of two modalities by the console alone: what is on the screen says what to do next."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from medcoss.client import Client
from tests.browser import Watched, browser, faults, log_in, needs_browser, upload_folder

__all__ = ["browser"]
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600), needs_browser]
PATIENCE_MS = 400_000


def stage(page: Page, number: int, dataset: str, recipe: str, size: tuple[int, ...]) -> None:
    """A stage of a raw dataset, and how it is prepared."""
    page.get_by_role("combobox", name=f"Dataset of stage {number}").click()
    page.get_by_role("option", name=re.compile(f"^{dataset} · raw")).click()
    of_stage = page.get_by_role("listitem", name=re.compile(f"^Stage {number}"))
    of_stage.get_by_role("combobox", name="Recipe").click()
    page.get_by_role("option", name=re.compile(f"^{recipe}")).click()
    if recipe == "volume_folder":
        of_stage.get_by_role("combobox", name="Modality", exact=True).last.fill("ct")
    for label, value in zip(("depth", "height", "width")[-len(size) :], size, strict=True):
        of_stage.get_by_role("textbox", name=label).fill(str(value))
    of_stage.get_by_role("combobox", name="Method").click()
    page.get_by_role("option", name="random").click()
    of_stage.get_by_role("textbox", name="Val fraction").fill("0")
    of_stage.get_by_role("textbox", name="Test fraction").fill("0")


def test_two_folders_become_an_encoder_by_the_console_alone(
    platform_process: tuple[subprocess.Popen[bytes], Path],
    client: Client,
    real_data: Path,
    tmp_path: Path,
    browser: Watched,
) -> None:
    films, heads = tmp_path / "con-films", tmp_path / "con-heads"
    films.mkdir()
    heads.mkdir()
    for path in sorted((real_data / "xray" / "train" / "normal").glob("*.jpg"))[:8]:
        shutil.copy(path, films)
    shutil.copy(real_data / "ct" / "vtk_headsq_64.nii.gz", heads)
    page = browser.page()
    state = json.loads((platform_process[1] / "platform.json").read_text())
    log_in(page, state["url"], state["key"])
    upload_folder(page, films, "xray")
    upload_folder(page, heads, "ct")

    page.get_by_role("link", name="Pipelines").click()
    page.get_by_role("link", name="New curriculum").first.click()
    stage(page, 1, films.name, "image_folder", (32, 32))
    stage(page, 2, heads.name, "volume_folder", (16, 32, 32))
    page.get_by_role("region", name="How every stage trains").get_by_role("combobox", name="Size").click()
    page.get_by_role("option", name="tiny").click()
    page.get_by_role("textbox", name="Epochs", exact=True).fill("1")
    page.get_by_role("textbox", name="Batch size").fill("4")
    page.get_by_role("textbox", name="Buffer fraction").fill("0.5")
    page.get_by_role("textbox", name="Name", exact=True).fill("by the console")
    expect(page.get_by_role("region", name="The plan", exact=True).locator("[data-valid=true]")).to_be_visible()
    page.get_by_role("button", name="Start", exact=True).click()

    # it is watched to its end without a reload
    expect(page.get_by_role("heading", level=1)).to_contain_text("by the console")
    expect(page.locator("h1 [data-state=succeeded]")).to_be_visible(timeout=PATIENCE_MS)
    assert not faults(page) and not browser.errors
    made = client.pipelines.get(page.url.rsplit("/", 1)[1])
    assert client.models.get(made.step("ct").outputs["model"]).modalities == ["xray", "ct"]
