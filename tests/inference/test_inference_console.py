"""The console's page to try models on, against the real gateway, which has an origin of its own."""

import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image
from playwright.sync_api import Locator, Page, expect

from services.core.settings import Settings
from tests.browser import Watched, browser, faults, log_in, needs_browser
from tests.inference.conftest import KEY, console_of
from tests.worker.work import until

__all__ = ["browser"]
pytestmark = needs_browser
SIZE = (40, 48, 24)


@pytest.fixture(scope="module")
def console(gateway_settings: Callable[..., Settings], redis_url: str) -> Iterator[str]:
    """The address of a control plane whose console may call the gateway."""
    with console_of(gateway_settings(redis_url=redis_url)) as origin:
        yield origin


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    """A volume that is brightest in a corner: right, front and top of the patient. Its axes run the other way."""
    voxels = np.random.default_rng(0).normal(200, 5, SIZE[::-1]).astype(np.float32)
    voxels[-6:, :10, :10] = 1000
    image = sitk.GetImageFromArray(voxels)
    image.SetSpacing((1.0, 1.5, 3.0))
    path = tmp_path / "scan.nii.gz"
    # in ITK's axes (left, back, head) the corner is at low x and y; the file has others
    sitk.WriteImage(sitk.DICOMOrient(image, "PIR"), str(path))
    return path


def brightest(page: Page, plane: str) -> list[float]:
    """Where a plane's picture is brightest, as shares of its width and height."""
    where = """canvas => {
        const {width, height} = canvas, pixels = canvas.getContext('2d').getImageData(0, 0, width, height).data
        let x = 0, y = 0, many = 0
        for (let at = 0; at < width * height; at++) if (pixels[4 * at] > 250) {
            x += at % width; y += Math.floor(at / width); many++
        }
        return [x / many / width, y / many / height, many]
    }"""
    found: list[float] = page.locator(f"[data-plane={plane}] canvas").evaluate(where)
    return found


def coloured(canvas: Locator) -> int:
    """How many of its pixels are orange or blue, as masks are; those of the cube that tells directions are left out."""
    seen = np.asarray(Image.open(io.BytesIO(canvas.screenshot())).convert("RGB"), np.int16)[:-120]
    return int(np.sum(np.abs(seen[..., 0] - seen[..., 2]) > 40))


def test_a_volume_is_segmented_and_shown_as_radiologists_look(console: str, scan: Path, browser: Watched) -> None:
    page = browser.page()
    log_in(page, console, KEY, "/try?model=atrium")
    page.get_by_label("File").set_input_files(scan)
    found = page.get_by_role("table", name="What was found")
    expect(found).to_contain_text("left_atrium")
    expect(page.locator("[data-plane] canvas")).to_have_count(3)
    # the mask off, the slices through the corner
    for name in ("left_atrium", "wall"):
        found.get_by_label(f"Show {name}").uncheck()
    for plane, key in (("axial", "End"), ("coronal", "End"), ("sagittal", "End")):
        page.get_by_role("slider", name=f"{plane} slice").press(key)
    expect(page.get_by_role("img", name="axial slice 24 of 24, R at the left, A at the top")).to_be_visible()
    x, y, many = brightest(page, "axial")
    assert many == 100 and x < 0.15 and y < 0.15, "the patient's right front is at the top left"
    x, y, _ = brightest(page, "coronal")
    assert x < 0.15 and y < 0.2, "and the patient's right top in the coronal plane"
    # the other view is fetched when it is asked for, and nothing else with it
    assert not any("Solid" in url for url in browser.requests)
    page.get_by_text("3-D", exact=True).click()
    solid = page.locator("canvas[data-drawn=true]")
    expect(solid).to_be_visible(timeout=60_000)
    found.get_by_label("Show wall").check()
    until(lambda: coloured(solid) > 200, what="the mask of the walls")
    solid.press("ArrowLeft")
    expect(page.get_by_role("img", name=re.compile("azimuth 120 degrees, elevation 15 degrees"))).to_be_visible()
    page.get_by_role("slider", name="Opacity of the mask").press("Home")
    until(lambda: coloured(solid) < 20, what="a mask that is not drawn")
    assert not faults(page) and not browser.errors
    assert browser.hosts() <= {httpx.URL(console).netloc.decode(), *(h for h in browser.hosts() if "127.0.0.1" in h)}


def test_an_image_is_classified_and_a_damaged_one_refused(console: str, tmp_path: Path, browser: Watched) -> None:
    good, bad = tmp_path / "film.png", tmp_path / "no film.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (80, 60), dtype=np.uint8)).save(good)
    bad.write_bytes(b"no picture")
    page = browser.page()
    log_in(page, console, KEY, "/try?model=chest")
    page.get_by_label("File").set_input_files(good)
    rows = page.get_by_role("table", name="Probabilities").locator("tbody tr")
    expect(rows).to_have_count(3)
    expect(rows.first).to_contain_text("%")
    assert not faults(page)
    page.get_by_label("File").set_input_files(bad)
    expect(page.get_by_role("alert")).to_contain_text("no film.png")
    # of an image: the mask over it
    page.goto(f"{console}/console/try?model=lungs")
    page.get_by_label("File").set_input_files(good)
    expect(page.locator("[data-plane=axial] canvas")).to_be_visible()
