"""QaTa-COV19: images with their ground truths, whole patients on one side of every split."""

from collections import defaultdict
from pathlib import Path

import numpy as np

from medcoss.specs.recipes.qata_cov19 import QataCov19
from tests.medcoss.preprocess.files import Prepare, image_bytes, put
from tests.medcoss.preprocess.layouts import put_qata


def test_sets_as_published(raw: Path, prepare: Prepare) -> None:
    train, test = (raw / "QaTa-COV19-v2" / name for name in ("Train Set", "Test Set"))
    for subject in range(20):
        for session in range(2):
            put_qata(train, f"sub-S{subject:05}_ses-E{session}_run-1_bp-chest_vp-ap_dx.png")
    put_qata(train, "covid_7.png")
    put_qata(train, "covid_8.png", mask=False)
    put_qata(test, "covid_1.png")
    put_qata(test, "sub-S90000_ses-E1_run-1_bp-chest_vp-ap_dx.png")
    put_qata(train, "sub-S90000_ses-E2_run-1_bp-chest_vp-ap_dx.png")
    put(train / "Images" / "covid_9.png", image_bytes(np.zeros((10, 10), np.uint8)))
    put(train / "Ground-truths" / "mask_covid_9.png", image_bytes(np.zeros((10, 12), np.uint8)))
    reader, report = prepare(QataCov19(size=(112, 112)))
    assert reader.info.classes == ["infection"]
    sides = defaultdict(set)
    for row in reader.rows:
        sides[row.patient].add(row.split)
        assert (row.split == "test") == ("Test Set" in row.source)
    assert all(len(found) == 1 for found in sides.values())
    # of 20 subjects and 2 images (one of them bad) without a subject
    assert sum(found == {"val"} for found in sides.values()) in (4, 5)
    assert reader.info.splits["test"] == 2
    assert report["warnings"] == []
    for i in range(len(reader)):
        mask = reader.mask(i)
        assert mask is not None
        assert mask.shape == (1, 112, 112)
        assert ((reader.stored_image(i) > 120) != mask).mean() < 0.02
    assert {Path(e["path"]).name: e["reason"].split(";")[0] for e in report["bad_files"]} == {
        "covid_8.png": "there is no ground truth QaTa-COV19-v2/Train Set/Ground-truths/mask_covid_8.png",
        "mask_covid_9.png": "the mask is 10 x 12 pixels, its image 10 x 10",
    }
    assert [Path(e["path"]).name[:10] for e in report["left_out"]] == ["sub-S90000"]
