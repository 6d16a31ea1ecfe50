"""ADNI as the archive unpacks: a folder a subject, scan, date and image, with one NIfTI file or a DICOM series."""

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from medcoss.preprocess.recipes import adni
from medcoss.preprocess.volumes import to_lps
from medcoss.specs.recipes.adni import Adni
from tests.medcoss.preprocess.dicom_files import export
from tests.medcoss.preprocess.files import Prepare, itk_image, put, volume_bytes

SCAN = "MPR__GradWarp__B1_Correction__N3__Scaled/2006-04-18_08_20_30.0"
VOXELS = np.random.default_rng(0).normal(500, 100, (30, 24, 20)).astype(np.float32)


def test_files_as_published(raw: Path, prepare: Prepare) -> None:
    first = raw / "ADNI" / "002_S_0295" / SCAN
    image = itk_image(VOXELS, (2.0, 1.0, 1.2))
    put(first / "I40966" / "ADNI_002_S_0295_MR_MPR__GradWarp_Br_20070319113623975_S13408_I40966.nii",
        volume_bytes(image, ".nii"))  # fmt: skip
    export(first / "I40967", (VOXELS[:11, :12, :9]).astype(np.int16), step=1.2, Modality="MR")
    put(raw / "ADNI" / "027_S_0307" / SCAN / "I5" / "ADNI_027_S_0307_I5.nii.gz", volume_bytes(itk_image(VOXELS + 1)))
    other = raw / "ADNI" / "130_S_0886" / SCAN
    put(other / "I6" / "ADNI_130_S_0886_I6.nii.gz", volume_bytes(itk_image(VOXELS))[:-100])
    four = sitk.JoinSeries([itk_image(VOXELS[:4]), itk_image(VOXELS[:4])])
    put(other / "I7" / "ADNI_130_S_0886_I7.nii", volume_bytes(four, ".nii"))
    export(other / "I8", np.zeros((4, 8, 8), np.int16), Modality="PT", series="1.2.9")
    put(raw / "ADNI1_Complete_1Yr_1.5T.csv", b"Image Data ID,Subject\n")

    reader, report = prepare(Adni())

    assert reader.info.sample_shape == [1, 16, 192, 192]
    patients = {"295": {r.patient for r in reader.rows if "0295" in r.source},
                "307": {r.patient for r in reader.rows if "0307" in r.source}}  # fmt: skip
    assert len(patients["295"]) == len(patients["307"]) == 1
    assert not patients["295"] & patients["307"]
    tiles = [(row, reader.stored_image(i)) for i, row in enumerate(reader.rows) if "I40966" in row.source]
    # 24 inner slices of 30: two tiles
    assert [(row.offset, row.slices) for row, _ in tiles] == [(3, 30), (11, 30)]
    assert tiles[0][0].spacing == pytest.approx((1.2, 24 / 192, 40 / 192))
    assert tiles[0][1].mean() == pytest.approx(0, abs=1e-2)
    assert tiles[0][1].std() == pytest.approx(1, abs=1e-2)
    assert [row.slices for row in reader.rows if "I40967" in row.source] == [11]
    reasons = {Path(entry["path"]).name: entry["reason"] for entry in report["bad_files"]}
    assert "truncated" in reasons["ADNI_130_S_0886_I6.nii.gz"]
    assert "4 dimensions" in reasons["ADNI_130_S_0886_I7.nii"]
    assert len(reasons) == 2
    assert "another modality" in report["left_out"][0]["reason"]
    assert report["ignored"] == ["ADNI1_Complete_1Yr_1.5T.csv"]
    # a model is served with the same tiles
    served = adni.tiled(sitk.GetArrayFromImage(to_lps(image)), Adni())
    assert served[0] == [3, 11]
    np.testing.assert_allclose(served[1][0], tiles[0][1], atol=1e-2)
