"""From an empty platform to a segmented volume by the console alone, following only what is on the screen.

The test is the script of it: every step is a label, a button or a link that a newcomer sees. What it knows beyond the
screen is where the files lie, and that `_label` marks the masks.
"""

import json
import re
import secrets
import shutil
import subprocess
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from medcoss.client import Client
from tests.browser import Watched, browser, faults, log_in, needs_browser, upload_folder

__all__ = ["browser"]
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600), needs_browser]
PATIENCE_MS = 240_000
CASES = 3
# of the pixels of a picture in grey, those that a mask colours
COLOURED = """canvas => {
    const {data} = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height)
    let many = 0
    for (let at = 0; at < data.length; at += 4) if (data[at] - data[at + 2] > 40) many++
    return many
}"""


def choose(page: Page, name: str, option: str) -> None:
    """Choose of a list by its name."""
    page.get_by_role("combobox", name=name, exact=True).click()
    page.get_by_role("option", name=re.compile(f"^{option}")).click()


def fill(page: Page, **values: str) -> None:
    """Fill in fields by their labels."""
    for label, value in values.items():
        page.get_by_role("textbox", name=label.replace("_", " "), exact=True).fill(value)


def submit(page: Page) -> None:
    """Submit a form once it is found to be right, and watch the job to its end."""
    expect(page.get_by_role("region", name="What it takes").locator("[data-valid=true]")).to_be_visible()
    page.get_by_role("button", name="Submit").click()
    expect(page.locator("h1 [data-state=succeeded]")).to_be_visible(timeout=PATIENCE_MS)


def next_step(page: Page, title: str) -> None:
    """Home names the next step, and its button leads there."""
    page.get_by_role("link", name="Home").click()
    step = page.get_by_role("region", name="First steps").locator("[aria-current=step]")
    expect(step).to_contain_text(title)
    step.get_by_role("link").click()


def walk(url: str, client: Client, real_data: Path, folder: Path, browser: Watched) -> None:
    name = f"atria-{secrets.token_hex(3)}"
    project = client.projects.create(name)
    key = client.keys.create("newcomer", "operator", projects=[project.id])
    cases = (real_data / "la_mr" / "train.list").read_text().split()
    atria = folder / "atria"
    atria.mkdir()
    for case in cases[:CASES]:
        for each in (f"{case}.nii.gz", f"{case}_label.nii.gz"):
            shutil.copy(real_data / "la_mr" / each, atria)
    held_out = real_data / "la_mr" / f"{cases[CASES]}.nii.gz"

    # 1. Log in. Nothing is there, and Home says what comes first.
    page = browser.page()
    log_in(page, url, key.secret)
    expect(page.get_by_role("region", name="Last models")).to_contain_text("No model yet")

    # 2. Upload the folder.
    next_step(page, "Upload a folder")
    upload_folder(page, atria, "mr")

    # 3. Prepare it: volumes with masks, made small, divided at random; the page says what is wrong before it is sent.
    next_step(page, "Prepare it")
    page.get_by_role("link", name="Prepare it").click()
    choose(page, "Recipe", "volume_folder")
    expect(page.get_by_role("combobox", name="Method")).to_have_value("random")
    fill(page, depth="16", height="32", width="32", Label_suffix="_label")
    page.get_by_role("combobox", name="Label names").fill("left_atrium")
    page.keyboard.press("Enter")
    # a third is kept for validation; that it is divided at random, as the recipe has it, stays
    fill(page, Val_fraction="0.34", Test_fraction="0")
    expect(page.get_by_role("combobox", name="Method")).to_have_value("random")
    submit(page)

    # 4. Train a segmenter on it.
    page.get_by_role("link", name="Open the dataset").click()
    page.get_by_role("link", name="Fine-tune on it").click()
    choose(page, "Size", "tiny")
    fill(page, Epochs="6", Batch_size="4", Lr="2e-3", Output_name=name)
    submit(page)
    expect(page.get_by_role("region", name="Result")).to_contain_text("val/dice")

    # 5. Serve it.
    page.get_by_role("link", name="Open the model").click()
    page.get_by_role("link", name="Serve it").click()
    page.get_by_role("button", name="Serve", exact=True).click()
    versions = page.get_by_role("region", name="Served versions")
    expect(versions.locator("[data-state=ready]")).to_be_visible(timeout=PATIENCE_MS)

    # 6. Try it on a volume that it has not seen.
    page.get_by_role("link", name="Try it").first.click()
    page.get_by_label("File").set_input_files(held_out)
    found = page.get_by_role("table", name="What was found").get_by_role("row", name=re.compile("^left_atrium"))
    expect(found).to_be_visible(timeout=PATIENCE_MS)
    assert float(found.get_by_role("cell").nth(1).inner_text().replace(",", "")) > 0, "ml"
    axial = page.locator("[data-plane=axial] canvas")
    assert axial.evaluate(COLOURED) > 0
    found.get_by_label("Show left_atrium").uncheck()
    page.wait_for_function(f"canvas => ({COLOURED})(canvas) === 0", arg=axial.element_handle())
    assert not faults(page) and not browser.errors

    # A model that is not served is not taken for another one.
    page.goto(f"{url}/console/try?model=nobody")
    expect(page.get_by_role("alert")).to_contain_text("No model is served as nobody")

    # The way is known now: Home no longer shows it.
    page.get_by_role("link", name="Home").click()
    expect(page.get_by_role("region", name="Last models")).to_contain_text(name)
    expect(page.get_by_role("region", name="First steps")).to_be_hidden()


def test_a_newcomer_gets_from_an_empty_platform_to_a_segmented_volume(
    platform_process: tuple[subprocess.Popen[bytes], Path],
    client: Client,
    real_data: Path,
    tmp_path: Path,
    browser: Watched,
) -> None:
    # a project of its own is as empty as a platform that has just been started
    state = json.loads((platform_process[1] / "platform.json").read_text())
    walk(state["url"], client, real_data, tmp_path, browser)
