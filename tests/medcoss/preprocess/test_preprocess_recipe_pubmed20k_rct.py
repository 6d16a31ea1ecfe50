"""PubMed 20k RCT: sentences as released."""

from pathlib import Path

import pytest

from medcoss.run import BadInput
from medcoss.specs.recipes.pubmed20k_rct import Pubmed20kRct
from tests.medcoss.preprocess.files import Prepare, put

TRAIN = """###24293578
OBJECTIVE\tTo investigate the efficacy of @ weeks of daily low-dose oral prednisolone .
METHODS\tA total of @ patients with primary knee OA were randomized @:@ .
RESULTS\tThere was a clinically relevant reduction ( p < @ ) .
CONCLUSIONS\tLow-dose oral prednisolone had both a short-term and a longer effect .

###24854809
BACKGROUND\tEmotional eating is associated with overeating \u2014 and obesity .
METHODS a line without a tab
RESULT\tA label that is none .

"""
OTHER = "###25165090\nOBJECTIVE\tTo determine the effect of exercise .\nMETHODS\tThere were no losses .\n\n"


def test_files_as_released(raw: Path, prepare: Prepare) -> None:
    folder = raw / "PubMed_20k_RCT_numbers_replaced_with_at_sign"
    put(folder / "train.txt", TRAIN.encode())
    put(folder / "dev.txt", OTHER.encode())
    put(folder / "test.txt", OTHER.replace("25165090", "24854809").replace("exercise", "sleep").encode())
    put(folder / "README.md", b"text")
    reader, report = prepare(Pubmed20kRct())
    assert reader.info.classes == ["BACKGROUND", "OBJECTIVE", "METHODS", "RESULTS", "CONCLUSIONS"]
    assert reader.info.splits == {"train": 5, "val": 2, "test": 2}
    rows = [row for row in reader.rows if row.split == "train"]
    assert [reader.info.classes[row.label] for row in rows] == [
        "OBJECTIVE", "METHODS", "RESULTS", "CONCLUSIONS", "BACKGROUND"]  # fmt: skip
    texts = {row.source.rpartition("/")[2]: reader.text(i) for i, row in enumerate(reader.rows)}
    assert texts["train.txt:2"] == "To investigate the efficacy of @ weeks of daily low-dose oral prednisolone ."
    assert texts["train.txt:8"] == "Emotional eating is associated with overeating \u2014 and obesity ."
    assert len({row.patient for row in rows}) == 2
    assert [entry["path"].rpartition("/")[2] for entry in report["bad_files"]] == ["train.txt:9", "train.txt:10"]
    assert report["warnings"][0].startswith("1 patients or groups stand in more than one of the published splits")
    assert [Path(path).name for path in report["ignored"]] == ["README.md"]


def test_releases_are_not_mixed(raw: Path, prepare: Prepare) -> None:
    for folder in ("PubMed_20k_RCT", "PubMed_200k_RCT"):
        put(raw / folder / "dev.txt", OTHER.encode())
    with pytest.raises(BadInput, match="PubMed_200k_RCT, PubMed_20k_RCT hold the same abstracts"):
        prepare(Pubmed20kRct())


def test_text_that_is_not_utf8_ends_the_job(raw: Path, prepare: Prepare) -> None:
    put(raw / "train.txt", TRAIN.encode("cp1252"))
    with pytest.raises(BadInput, match=r"train.txt: the file is not UTF-8"):
        prepare(Pubmed20kRct())
