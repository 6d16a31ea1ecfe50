"""Left atrium as handed out: h5 files in case folders, and the same case as a NIfTI pair, with lists of splits."""

import io
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from medcoss.run import BadInput
from medcoss.specs.recipes.la_seg import LaSeg
from tests.medcoss.preprocess.files import Prepare, itk_image, put, volume_bytes

IMAGE = np.random.default_rng(0).normal(0, 1, (20, 24, 30)).astype(np.float32)
LABEL = np.zeros(IMAGE.shape, np.uint8)
LABEL[5:10, 12:, 20:] = 1
SPEC = LaSeg(size=(16, 64, 64))


def h5_bytes(image: Any = IMAGE, label: Any = LABEL) -> bytes:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file.create_dataset("image", data=image, compression="gzip")
        if label is not None:
            file.create_dataset("label", data=label, compression="gzip")
    return buffer.getvalue()


def test_files_as_published(raw: Path, prepare: Prepare) -> None:
    folder = raw / "2018LA_Seg_Training Set"
    put(raw / "train.list", b"CASEA\nCASEC\n")
    put(raw / "test.list", b"CASEB\n")
    put(folder / "CASEA" / "mri_norm2.h5", h5_bytes())
    put(folder / "CASEB" / "mri_norm2.h5", h5_bytes(IMAGE + 1))
    put(raw / "nifti" / "CASEA.nii.gz", volume_bytes(itk_image(IMAGE.T, (0.625,) * 3)))
    put(raw / "nifti" / "CASEA_label.nii.gz", volume_bytes(itk_image(LABEL.T, (0.625,) * 3)))
    put(folder / "BAD1" / "mri_norm2.h5", h5_bytes()[:-5000])
    put(folder / "BAD2" / "mri_norm2.h5", h5_bytes(label=LABEL[1:]))
    put(folder / "BAD3" / "mri_norm2.h5", h5_bytes(label=2 * LABEL))
    put(folder / "BAD4" / "mri_norm2.h5", h5_bytes(image=np.where(LABEL, np.nan, IMAGE)))
    put(folder / "BAD5" / "mri_norm2.h5", h5_bytes(label=None))
    put(folder / "BAD6" / "mri_norm2.h5", b"")
    put(raw / "nifti" / "BAD7.nii.gz", volume_bytes(itk_image(IMAGE.T)))

    reader, report = prepare(SPEC, max_bad_fraction=0.8)

    assert (reader.info.classes, reader.info.sample_shape) == (["left_atrium"], [1, 16, 64, 64])
    of = {name: [i for i, row in enumerate(reader.rows) if name in row.source] for name in ("CASEA/", "CASEB", "nifti")}
    # 30 slices: tiles at 0, 8 and 14
    assert {name: [reader.rows[i].offset for i in rows] for name, rows in of.items()} == {key: [0, 8, 14] for key in of}
    assert {row.split for row in reader.rows if "CASEA" in row.source} == {"train"}
    assert {reader.rows[i].split for i in of["CASEB"]} == {"test"}
    assert len({row.patient for row in reader.rows if "CASEA" in row.source}) == 1
    assert reader.rows[0].spacing == pytest.approx((0.625, 0.625 * 24 / 64, 0.625 * 20 / 64))
    # x is the last axis, and the two ways in give the same
    for h5, nifti in zip(of["CASEA/"], of["nifti"], strict=True):
        np.testing.assert_allclose(reader.stored_image(h5), reader.stored_image(nifti), atol=1e-3)
        np.testing.assert_array_equal(reader.mask(h5), reader.mask(nifti))
    mask = reader.mask(of["CASEA/"][2])
    assert mask is not None
    assert mask[0, 6:, 40, 20].all()
    assert not mask[0, :6].any()
    assert not mask[0, :, :30].any()
    bad = {Path(entry["path"]).parent.name: entry["reason"] for entry in report["bad_files"]}
    assert "damaged" in bad["BAD1"]
    assert "expected the same" in bad["BAD2"]
    assert "other values" in bad["BAD3"]
    assert "NaN" in bad["BAD4"]
    assert "no dataset 'label'" in bad["BAD5"]
    assert "damaged" in bad["BAD6"]
    assert "no label map" in bad["nifti"]


def outlined(values: Any = LABEL * 255, direction: tuple[float, ...] = (1, 0, 0, 0, 1, 0, 0, 0, 1)) -> bytes:
    return volume_bytes(itk_image(values.T, (0.5, 0.625, 1.25), direction=direction), ".nrrd")


def test_the_folders_of_the_challenge(raw: Path, prepare: Prepare) -> None:
    spacing, train, test = (0.5, 0.625, 1.25), raw / "data" / "Training Set", raw / "data" / "Testing Set"
    image = volume_bytes(itk_image(IMAGE.T, spacing), ".nrrd")
    for case in (train / "A", train / "VALIDATED", test / "D"):
        put(case / "lgemri.nrrd", image)
        put(case / "laendo.nrrd", outlined())
    put(train / "A" / "lawall.nrrd", outlined())
    put(train / "A" / "desktop.ini", b"[ViewState]")
    put(raw / "val.list", b"VALIDATED")
    # the same case, its voxels stored from the right to the left and from the feet up
    turned = (-1, 0, 0, 0, -1, 0, 0, 0, 1)
    put(train / "TURNED" / "lgemri.nrrd",
        volume_bytes(itk_image(IMAGE.T[:, ::-1, ::-1], spacing, direction=turned), ".nrrd"))  # fmt: skip
    put(train / "TURNED" / "laendo.nrrd", outlined(LABEL[::-1, ::-1] * 255, turned))
    put(test / "HIDDEN" / "lgemri.nrrd", image)
    bad = {"ALONE": (image, None), "NOIMAGE": (None, outlined()), "GREY": (image, outlined(LABEL * 128)),
           "SMALL": (image, outlined(LABEL[1:])), "ELSEWHERE": (image, outlined(direction=turned)),
           "CUT": (image[: len(image) // 2], outlined()), "EMPTY": (b"", outlined())}  # fmt: skip
    for case, files in bad.items():
        for name, data in zip(("lgemri.nrrd", "laendo.nrrd"), files, strict=True):
            if data is not None:
                put(train / case / name, data)

    reader, report = prepare(SPEC, max_bad_fraction=0.7)

    tiles = {case: [i for i, row in enumerate(reader.rows) if f"/{case}/" in row.source] for case in ("A", "TURNED")}
    assert {row.source.split("/")[-2]: row.split for row in reader.rows} == {
        "A": "train", "TURNED": "train", "VALIDATED": "val", "D": "test"}  # fmt: skip
    assert reader.rows[0].spacing == pytest.approx((1.25, 0.625 * 24 / 64, 0.5 * 20 / 64))
    for plain, other in zip(tiles["A"], tiles["TURNED"], strict=True):
        np.testing.assert_allclose(reader.stored_image(plain), reader.stored_image(other), atol=1e-3)
        np.testing.assert_array_equal(reader.mask(plain), reader.mask(other))
    mask = reader.mask(tiles["A"][2])
    assert mask is not None and mask[0, 6:, 40, 20].all() and not mask[0, :6].any() and not mask[0, :, :30].any()
    reasons = {(Path(e["path"]).parent.name, Path(e["path"]).name): e["reason"] for e in report["bad_files"]}
    expected = {("ALONE", "lgemri.nrrd"): "no laendo.nrrd beside", ("NOIMAGE", "laendo.nrrd"): "no lgemri.nrrd beside",
                ("GREY", "laendo.nrrd"): "values 128; expected 0 and 255", ("SMALL", "laendo.nrrd"): "the same grid",
                ("ELSEWHERE", "laendo.nrrd"): "lies elsewhere", ("CUT", "lgemri.nrrd"): "damaged",
                ("EMPTY", "lgemri.nrrd"): "the file is empty"}  # fmt: skip
    assert reasons.keys() == expected.keys()
    for key, reason in expected.items():
        assert reason in reasons[key], key
    left_out = {"/".join(e["path"].split("/")[-2:]): e["reason"] for e in report["left_out"]}
    assert left_out.keys() == {"A/lawall.nrrd", "HIDDEN/lgemri.nrrd"}
    assert "without outlines" in left_out["HIDDEN/lgemri.nrrd"]


def test_no_case_in_both_lists(raw: Path, prepare: Prepare) -> None:
    put(raw / "A" / "mri_norm2.h5", h5_bytes())
    put(raw / "train.list", b"A\n")
    put(raw / "test.list", b"A\n")
    with pytest.raises(BadInput, match="the case A stands in both"):
        prepare(SPEC)


def test_links_out_of_a_file_are_not_followed(raw: Path, prepare: Prepare, tmp_path: Path) -> None:
    put(tmp_path / "other.h5", h5_bytes())
    with h5py.File(put(raw / "A" / "mri_norm2.h5", b""), "w") as file:
        file["image"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "image")
        file["label"] = LABEL
    with pytest.raises(BadInput, match="no dataset 'image'"):
        prepare(SPEC)
