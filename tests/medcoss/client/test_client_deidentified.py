"""No identity leaves the machine: markers in headers and names are in nothing that is sent, unless it is asked for."""

from pathlib import Path

import pytest

from medcoss.client import Client
from tests.medcoss.preprocess.dicom_files import TEXT, UID, identified_file


@pytest.fixture
def export(tmp_path: Path) -> Path:
    root = tmp_path / "export"
    (root / "train" / "DOE_PETRONELLA").mkdir(parents=True)
    mine = {"PatientID": "MRN-48151", "PatientName": "DOE^PETRONELLA^TRAIN", "InstitutionName": "Chest Mask Hospital"}
    (root / "train" / "DOE_PETRONELLA" / "MRN-48151_1").write_bytes(identified_file(**mine))
    (root / "train" / "DOE_PETRONELLA" / "petronella_mask.png").write_bytes(b"mask")
    (root / "burned.dcm").write_bytes(identified_file(**mine, BurnedInAnnotation="YES"))
    (root / "broken.dcm").write_bytes(b"none")
    return root


def test_no_marker_is_sent(client: Client, export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDCOSS_DEIDENTIFY_KEY", "of the site")
    said: list[str] = []
    dataset = client.datasets.upload(export, name="export", notice=said.append)
    assert sorted(line.split(" ")[0] for line in said) == ["broken.dcm", "burned.dcm"]
    copy = client.datasets.download(dataset.id, tmp_path / "copy")
    files = [path for path in copy.rglob("*") if path.is_file()]
    assert len(files) == 2 and all(path.relative_to(copy).parts[0] == "train" for path in files)
    assert sum(path.name.endswith("_mask.png") for path in files) == 1
    sent = b"".join(path.read_bytes() for path in files) + "\n".join(map(str, files)).encode()
    for marker in (TEXT, UID, "DOE", "PETRONELLA", "48151"):
        assert marker.lower().encode() not in sent.lower().replace(str(tmp_path).lower().encode(), b""), marker
    again = client.datasets.upload(export, name="again", notice=said.append)
    hashes = [{f.path: f.sha256 for f in client.datasets.files(d.id)} for d in (dataset, again)]
    assert hashes[0] == hashes[1]


def test_files_may_be_sent_as_they_are(client: Client, export: Path) -> None:
    dataset = client.datasets.upload(export, name="as-it-is", deidentify=False)
    assert "train/DOE_PETRONELLA/MRN-48151_1" in [file.path for file in client.datasets.files(dataset.id)]
