"""The sample browser of the console: files that the browser opens itself, and samples that an inspection has kept."""

import io
import re
import shutil
from pathlib import Path
from urllib.parse import quote

import numpy as np
import SimpleITK as sitk
from PIL import Image
from playwright.sync_api import Locator, Page, expect

from medcoss.data.shards import Sample, ShardWriter
from medcoss.modalities import Kind
from medcoss.preprocess.inspection.masks import masks_of
from medcoss.specs.records import DatasetInfo
from services.core.db import Database
from tests.api.calls import prepared, trained, uploaded
from tests.api.inspecting import inspected
from tests.api.serving import KEYS, Role, Served
from tests.browser import Watched, browser, faults, log_in

__all__ = ["browser"]
# names that masks are given, and what has such a name and is none
NAMES = ["a/images/1.png", "a/masks/1.png", "b/c 2.png", "b/mask_c 2.png", "b/alone_mask.png", "ct/volume-3.nii",
         "ct/segmentation-3.nii", "d/imagesTr/e_0000.nii.gz", "d/labelsTr/e.nii.gz"]  # fmt: skip
# where a picture is bright, as shares of its width and height; and how many of its pixels have a colour
BRIGHT = """canvas => {
    const {width, height} = canvas, pixels = canvas.getContext('2d').getImageData(0, 0, width, height).data
    let x = 0, y = 0, many = 0
    for (let at = 0; at < width * height; at++) if (pixels[4 * at + 2] > 250) {
        x += at % width; y += Math.floor(at / width); many++
    }
    return [x / many / width, y / many / height]
}"""
COLOURED = """canvas => {
    const pixels = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data
    let many = 0
    for (let at = 0; at < pixels.length; at += 4) if (pixels[at] - pixels[at + 2] > 40) many++
    return many
}"""

# of label 3
GREEN = COLOURED.replace("pixels[at] - pixels[at + 2]", "pixels[at + 1] - pixels[at]")


def png(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(array).save(file, "PNG")
    return file.getvalue()


def phantom(path: Path) -> None:
    """A CT volume that is bright at the patient's right, front and head; the axes of its file are others."""
    array = np.full((20, 30, 40), -1000, np.int16)
    array[16:, :6, :8] = 500
    made = sitk.GetImageFromArray(array)
    made.SetSpacing((1.0, 1.0, 4.0))
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(sitk.DICOMOrient(made, "PIR"), str(path))


def chosen(page: Page) -> Locator:
    return page.get_by_role("listbox", name="Samples").locator("[aria-selected=true]")


def end(page: Page, *planes: str) -> None:
    for plane in planes:
        page.get_by_role("slider", name=f"{plane} slice").press("End")


def test_files_are_gone_through_one_by_one(served: Served, browser: Watched, real_data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "raw"
    (folder / "train").mkdir(parents=True)
    scan = sorted((real_data / "la_mr").glob("*_label.nii.gz"))[0]
    for path in (scan, scan.with_name(scan.name.replace("_label", ""))):
        shutil.copy(path, folder / "train" / path.name)
    phantom(folder / "test/phantom.nrrd")
    shutil.copy(next((real_data / "xray" / "train" / "normal").glob("*.jpg")), folder / "film.jpg")
    (folder / "notes.txt").write_text("No pneumothorax.")
    (folder / "table.csv").write_text('name,finding\n"Doe, J","none, ""clear"""\n')
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    square = np.full((40, 60), 90, np.uint8)
    marked = np.where(np.arange(60) < 20, 255, 0).astype(np.uint8)[None].repeat(40, 0)
    files |= {name: png(marked if "mask" in name else square) for name in NAMES if name.endswith(".png")}
    # of 16 bits, of which browsers keep 8: a radiograph, and a mask whose labels would all be gone
    deep = np.arange(40 * 60, dtype=np.uint16).reshape(40, 60)
    files |= {"a/images/deep.png": png(deep), "a/masks/deep.png": png((deep % 60 < 10).astype(np.uint16) * 3)}
    files |= {name: b"no volume" for name in NAMES if not name.endswith(".png")}
    dataset_id = uploaded(served.operator, files, modality="mr")
    inspected(served, dataset_id, folder, tmp_path / "out", "ct")

    page = browser.page()
    log_in(page, served.url, KEYS[Role.VIEWER], f"/datasets/{dataset_id}")
    rows = page.get_by_role("listbox", name="Samples").get_by_role("option")
    masks = masks_of(sorted(name for name in files if name.endswith(".png")))[0]
    masks |= masks_of(sorted(name for name in files if ".nii" in name or name.endswith(".nrrd")))[0]
    alone = sorted(set(files) - set(masks.values()))
    expect(rows).to_have_count(len(alone))
    for row, path in zip(rows.all(), alone, strict=True):
        expect(row).to_contain_text(path)
        assert ("mask" in row.locator("small").inner_text()) == (path in masks), path
    # an image in its own colours under its mask
    expect(chosen(page)).to_contain_text("a/images/1.png")
    shown = page.get_by_role("region", name="The chosen sample")
    expect(shown.get_by_role("checkbox", name="label 1")).to_be_checked()
    mask = shown.get_by_role("img", name="its mask")
    assert mask.evaluate(COLOURED) == 20 * 40
    expect(shown).to_contain_text("60 × 40 pixels")

    page.keyboard.press("ArrowRight")
    expect(shown.get_by_role("checkbox", name="label 3")).to_be_checked()
    flat = shown.locator("[data-plane=axial] canvas")
    assert flat.evaluate(GREEN) == 10 * 40
    expect(shown).to_contain_text("60 × 40 pixels of 16 bits")
    # the real volume with its mask, chosen by its split, in three planes; it is fetched now and not before
    assert not any(scan.name[:8] in url.partition("?")[0] for url in browser.requests)
    page.get_by_role("combobox", name="Split").click()
    page.get_by_role("option", name="train", exact=True).click()
    expect(page.get_by_role("status", name="Place among the samples")).to_have_text("1 of 1")
    expect(shown.locator("[data-plane] canvas")).to_have_count(3)
    expect(shown.get_by_role("checkbox", name="label 1")).to_be_checked()
    axial = shown.locator("[data-plane=axial] canvas")
    assert axial.evaluate(COLOURED) > 100
    told = shown.get_by_role("status", name="Under the crosshair")
    expect(told).to_contain_text(re.compile("label 1"))
    box = axial.bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + 3, box["y"] + 3)
    # the picture's left is the patient's right, and its top the front
    width, height, _ = sitk.ReadImage(str(folder / "train" / scan.name)).GetSize()
    last = [f"{n}" for n in range(width - 5, width + 1)], [f"{n}" for n in range(height - 5, height + 1)]
    expect(told).to_have_text(re.compile(f"^Voxel ({'|'.join(last[0])}), ({'|'.join(last[1])}), "))
    expect(shown.get_by_role("img", name=re.compile(f"^sagittal slice ({'|'.join(last[0])}) of"))).to_be_visible()
    assert not faults(page)

    # a colleague opens the same address; arrow keys lead on, and not past the end
    page.goto(f"{served.url}/console/datasets/{dataset_id}?sample={quote('notes.txt')}")
    expect(shown.get_by_role("region", name="Text of notes.txt")).to_have_text("No pneumothorax.")
    page.get_by_role("heading", level=1).click()
    page.keyboard.press("ArrowRight")
    expect(shown.get_by_role("cell", name='none, "clear"')).to_be_visible()
    page.wait_for_url(re.compile("sample=table.csv"))
    page.get_by_role("listbox", name="Samples").press("ArrowDown")
    page.wait_for_url(re.compile("sample=test%2Fphantom"))
    page.reload()
    # what the browser cannot open is shown as the inspection has kept it
    expect(chosen(page)).to_contain_text("test/phantom.nrrd")
    expect(shown.locator("[data-plane] canvas")).to_have_count(3)
    end(page, "axial", "coronal", "sagittal")
    for plane in ("axial", "coronal", "sagittal"):
        x, y = shown.locator(f"[data-plane={plane}] canvas").evaluate(BRIGHT)
        assert x < 0.15 and y < 0.15, f"{plane}: the patient's right, front and head are at the left and the top"
    expect(shown).to_contain_text("20 × 30 × 40 voxels · 4 × 1 × 1 mm (z, y, x)")
    # as high as in mm, not in voxels
    coronal = shown.locator("[data-plane=coronal] canvas").bounding_box()
    assert coronal is not None and 1.8 < coronal["height"] / coronal["width"] < 2.2
    page.get_by_text("Drawn by the inspection (1)").click()
    expect(page.get_by_text(re.compile("^1 of 1, drawn by the inspection of"))).to_be_visible()
    # a damaged file says so
    page.goto(f"{served.url}/console/datasets/{dataset_id}?sample={quote('ct/volume-3.nii')}")
    expect(shown.get_by_role("alert")).to_contain_text("shorter than a NIfTI header")
    assert not faults(page) and not browser.errors


def test_a_part_of_a_name_finds_samples_and_masks_are_told_apart(served: Served, browser: Watched) -> None:
    square, odd = np.full((40, 60), 90, np.uint8), np.full((10, 10), 1, np.uint8)
    many = (np.arange(60) // 3)[None].repeat(40, 0).astype(np.uint8)
    files = {f"films/{number:02d}.png": png(square) for number in range(9)}
    files |= {"Odd.png": png(square), "Odd_mask.png": png(odd), "organs.png": png(square), "organs_mask.png": png(many)}
    dataset_id = uploaded(served.operator, files, modality="xray")
    page = browser.page()
    log_in(page, served.url, KEYS[Role.VIEWER], f"/datasets/{dataset_id}")
    shown = page.get_by_role("region", name="The chosen sample")
    place = page.get_by_role("status", name="Place among the samples")
    expect(place).to_have_text("1 of 11")
    page.get_by_role("textbox", name="Name").fill("odd")
    expect(place).to_have_text("1 of 1")
    # a mask of another size is not laid over the image, and there is nothing to set of it
    expect(shown.get_by_role("alert")).to_contain_text("10 × 10 pixels, the image 60 × 40")
    expect(shown.get_by_role("slider", name="Opacity of the mask")).to_have_count(0)
    # a colleague sees the same
    page.reload()
    expect(place).to_have_text("1 of 1")
    expect(page.get_by_role("textbox", name="Name")).to_have_value("odd")
    page.get_by_role("textbox", name="Name").fill("nothing")
    expect(place).to_have_text("none is like that")
    page.get_by_role("textbox", name="Name").fill("organs")
    expect(shown.get_by_role("checkbox", name="label 19")).to_be_checked()
    swatches = shown.locator(".swatch")
    assert len({each.evaluate("it => it.style.background") for each in swatches.all()}) == 19
    assert not faults(page) and not browser.errors


def test_prepared_reports_are_read_and_an_inspection_is_offered(
    served: Served, browser: Watched, tmp_path: Path
) -> None:
    writer = ShardWriter(tmp_path / "texts")
    for number in range(120):
        split = "train" if number % 3 else "val"
        writer.add(Sample(f"s{number:03d}", split, f"{number}.txt", "", label=number % 2, text=f"Nodule {number}."))
    about = {"modality": "report", "kind": Kind.TEXT, "samples": 120, "splits": {"train": 80, "val": 40},
             "sample_shape": [64], "classes": ["benign", "malign"]}  # fmt: skip
    writer.close(DatasetInfo(**about, recipe={}))
    dataset_id = prepared(served.database, "ds_reports0000", **about)
    page = browser.page()
    log_in(page, served.url, KEYS[Role.OPERATOR], f"/datasets/{dataset_id}")
    expect(page.get_by_text("Nobody has inspected it yet")).to_be_visible()
    expect(page.get_by_role("button", name="Inspect it")).to_be_visible()

    inspected(served, dataset_id, tmp_path / "texts", tmp_path / "out", "report")
    page.reload()
    expect(page.get_by_text(re.compile("^48 of 120, drawn by the inspection of"))).to_be_visible()
    place = page.get_by_role("status", name="Place among the samples")
    expect(place).to_have_text("1 of 48")
    page.get_by_role("combobox", name="Class").click()
    page.get_by_role("option", name="malign", exact=True).click()
    expect(place).to_have_text("1 of 24")
    page.get_by_role("button", name="Next").click()
    expect(place).to_have_text("2 of 24")
    key = page.url.rpartition("sample=")[2]
    text = page.get_by_role("region", name=f"Text of {key}")
    expect(text).to_have_text(f"Nodule {int(key[1:])}.")
    page.reload()
    expect(text).to_be_visible()
    expect(place).to_have_text("2 of 24")
    page.get_by_role("listbox", name="Samples").press("End")
    expect(place).to_have_text("24 of 24")
    expect(page.get_by_role("button", name="Next")).to_be_disabled()
    assert not faults(page) and not browser.errors


def test_a_dataset_or_a_model_that_is_deleted_while_its_page_is_open_says_so(
    served: Served, browser: Watched, database: Database
) -> None:
    dataset_id = uploaded(served.operator, {"a.txt": b"words"}, name="films")
    model_id = trained(database, None, "mdl_scratch000", task="classification", classes=["a", "b"])
    page = browser.page()
    page.clock.install()
    log_in(page, served.url, KEYS[Role.VIEWER], f"/models/{model_id}")
    expect(page.get_by_role("region", name="Line")).to_contain_text("No encoder stands behind it")
    for path, what in ((f"models/{model_id}", "model"), (f"datasets/{dataset_id}", "dataset")):
        page.goto(f"{served.url}/console/{path}")
        expect(page.get_by_role("tablist")).to_be_visible()
        assert served.operator.delete(f"/v1/{path}").status_code == 204
        page.clock.fast_forward(31_000)
        gone = page.get_by_role("alert")
        expect(gone).to_contain_text(f"This {what} is no longer there")
        expect(page.get_by_role("tablist")).to_be_hidden()
        assert not faults(page)
    gone.get_by_role("link", name="All datasets").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Datasets")


def nifti(path: Path, image: sitk.Image, codes: bytes | None = None) -> bytes:
    """The bytes of a NIfTI file; `codes` stands for those that say how it lies."""
    sitk.WriteImage(image, str(path))
    content = bytearray(path.read_bytes())
    if codes is not None:
        content[252:256] = codes
    return bytes(content)


def test_a_volume_is_shown_with_what_it_does_not_tell(served: Served, browser: Watched, tmp_path: Path) -> None:
    array = np.arange(10 * 12 * 14, dtype=np.float32).reshape(10, 12, 14)
    volume, turned = sitk.GetImageFromArray(array), sitk.GetImageFromArray(array)
    cosine, sine = np.cos(np.pi / 9), np.sin(np.pi / 9)
    turned.SetDirection((cosine, -sine, 0, sine, cosine, 0, 0, 0, 1))
    # as FreeSurfer numbers regions
    marked = sitk.GetImageFromArray((array > 800).astype(np.uint16) * 1001)
    marked.CopyInformation(turned)
    array[0, 0, :5] = np.nan
    files = {
        "unplaced.nii": nifti(tmp_path / "a.nii", volume, codes=bytes(4)),
        "series.nii": nifti(tmp_path / "b.nii", sitk.JoinSeries([sitk.GetImageFromArray(array), volume, volume])),
        "turned.nii": nifti(tmp_path / "c.nii", turned), "turned_label.nii": nifti(tmp_path / "d.nii", marked),
    }  # fmt: skip
    dataset_id = uploaded(served.operator, files, modality="mr")
    page = browser.page()
    log_in(page, served.url, KEYS[Role.VIEWER], f"/datasets/{dataset_id}?sample=unplaced.nii")
    shown = page.get_by_role("region", name="The chosen sample")
    expect(shown.get_by_role("note")).to_contain_text("which side is which is not known")
    expect(shown.get_by_role("img", name=re.compile("^axial slice .*, sides not known$"))).to_be_visible()
    expect(shown.locator(".side")).to_have_count(0)
    page.goto(f"{served.url}/console/datasets/{dataset_id}?sample=series.nii")
    expect(shown.get_by_role("note")).to_have_text(
        ["This is volume 1 of 3 in the file.", "5 voxels are infinite or no number; they are black."]
    )
    expect(shown.locator(".side").first).to_be_visible()
    page.goto(f"{served.url}/console/datasets/{dataset_id}?sample=turned.nii")
    expect(shown.get_by_role("note")).to_contain_text("turned by 20° against the patient's axes")
    expect(shown.get_by_role("checkbox", name="label 1001")).to_be_checked()
    expect(shown.get_by_role("status", name="Under the crosshair")).to_contain_text("label 1001")
    assert not faults(page) and not browser.errors


def test_an_address_that_somebody_has_mistyped_opens_an_empty_form(served: Served, browser: Watched) -> None:
    page = browser.page()
    log_in(page, served.url, KEYS[Role.OPERATOR], "/map/new?form=null")
    wrong = quote('{"name": 5, "datasets": "x", "spec": 3, "stages": 7}')
    for form in ("null", "[1]", wrong, "%7B"):
        for path, name in (
            ("map/new?", "New index"),
            ("jobs/new?kind=pretrain&", "New job"),
            ("curricula/new?", "New curriculum"),
        ):
            page.goto(f"{served.url}/console/{path}form={form}")
            expect(page.get_by_role("heading", level=1, name=name)).to_be_visible()
            expect(page.get_by_role("heading", name="The same by hand")).to_be_visible()
    assert not browser.errors
