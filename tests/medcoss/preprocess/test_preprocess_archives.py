"""Archives among the files: seen as if unpacked where they lie, and nothing in them can do harm."""

import gzip
import io
import json
import stat
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from medcoss.preprocess import archives
from medcoss.preprocess.archives import UNPACKED, opened
from medcoss.preprocess.raw import Raw
from medcoss.preprocess.run import preprocess
from medcoss.run import BadInput, LocalRun, Stopped
from medcoss.specs.preprocess import ArchiveLimits, ImageFolder, PreprocessOptions
from tests.medcoss.preprocess.files import Prepare, image_bytes, put

IMAGES = [image_bytes(np.full((32, 32), value, np.uint8)) for value in range(8)]


def zip_bytes(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as made:
        for name, data in members.items():
            made.writestr(name, data)
    return buffer.getvalue()


def tar_bytes(members: dict[str, bytes | tarfile.TarInfo], mode: str = "w:gz") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as made:  # type: ignore[call-overload]
        for name, data in members.items():
            info = data if isinstance(data, tarfile.TarInfo) else tarfile.TarInfo(name)
            content = b"" if isinstance(data, tarfile.TarInfo) else data
            info.size = len(content)
            made.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def special(name: str, kind: bytes, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def seen(raw: Path, tmp_path: Path, **limits: int) -> tuple[dict[str, bytes], dict[str, str]]:
    """Content of every file that recipes see, and the reasons of what is refused."""
    found = opened(raw, tmp_path / UNPACKED, ArchiveLimits(**limits), LocalRun(tmp_path / "run"))
    return {path: Raw(found.root).read(path) for path in Raw(found.root).files()}, dict(found.refused)


@pytest.mark.parametrize(
    ("name", "mode"), [("a.tar", "w"), ("a.tgz", "w:gz"), ("a.tar.bz2", "w:bz2"), ("a.TXZ", "w:xz")]
)
def test_tars_are_seen_where_they_lie(raw: Path, tmp_path: Path, name: str, mode: str) -> None:
    put(raw / "site" / name, tar_bytes({"ward/x.png": IMAGES[0], "./y.png": IMAGES[1]}, mode))
    put(raw / "z.png", IMAGES[2])
    assert seen(raw, tmp_path) == ({"site/ward/x.png": IMAGES[0], "site/y.png": IMAGES[1], "z.png": IMAGES[2]}, {})


def test_a_dataset_in_archives_is_the_one_of_its_files(raw: Path, prepare: Prepare) -> None:
    put(raw / "part1.zip", zip_bytes({"train/sick/a.png": IMAGES[0], "LICENSE.txt": b"free"}))
    put(raw / "part2.zip", zip_bytes({"train/well/b.png": IMAGES[1], "LICENSE.txt": b"free"}))
    reader, report = prepare(ImageFolder(modality="xray", labels="folders"))
    assert [(row.source, row.split, row.label) for row in reader.rows] == [
        ("train/sick/a.png", "train", 0), ("train/well/b.png", "train", 1)]  # fmt: skip
    assert (report["bad_files"], report["ignored"]) == ([], ["LICENSE.txt"])
    assert not (raw.parent / "out" / UNPACKED).exists()


def test_archives_with_the_same_names_get_folders_of_their_own(raw: Path, tmp_path: Path) -> None:
    for patient in range(3):
        put(raw / f"p{patient}.zip", zip_bytes({"1.png": IMAGES[patient]}))
    put(raw / "p2" / "1.png", IMAGES[7])
    files, refused = seen(raw, tmp_path)
    assert files == {"1.png": IMAGES[0], "p1/1.png": IMAGES[1], "p2/1.png": IMAGES[7]}
    assert "another file of the name p2/1.png" in refused["p2.zip: 1.png"]


def test_members_that_lead_outside_or_are_no_files_are_refused(raw: Path, tmp_path: Path) -> None:
    put(raw / "evil.tar.gz", tar_bytes({
        "good.png": IMAGES[0], "../up.png": b"x", "/etc/abs.png": b"x", "a/../../b.png": b"x",
        "soft.png": special("soft.png", tarfile.SYMTYPE, "/etc/passwd"),
        "hard.png": special("hard.png", tarfile.LNKTYPE, "good.png"), "dev": special("dev", tarfile.CHRTYPE),
        "in.zip": zip_bytes({"x.png": b"x"}), "good.png/under.png": b"x", "n\udcff.png": b"x",
    }))  # fmt: skip
    link = zipfile.ZipInfo("link.png")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as made:
        made.writestr(link, "/etc/passwd")
        made.writestr("..\\win.png", b"x")
        made.writestr("C:/drive.png", b"x")
    put(raw / "evil.zip", buffer.getvalue())
    files, refused = seen(raw, tmp_path)
    assert files == {"good.png": IMAGES[0]}
    expected = {
        "evil.tar.gz: ../up.png": "leads outside", "evil.tar.gz: /etc/abs.png": "absolute path",
        "evil.tar.gz: a/../../b.png": "leads outside", "evil.tar.gz: soft.png": "it is a link",
        "evil.tar.gz: hard.png": "it is a link", "evil.tar.gz: dev": "it is a device",
        "evil.tar.gz: in.zip": "archive within an archive", "evil.tar.gz: good.png/under.png": "others have a folder",
        "evil.tar.gz: n\\udcff.png": "not UTF-8", "evil.zip: link.png": "it is a link",
        "evil.zip: ../win.png": "leads outside", "evil.zip: C:/drive.png": "absolute path",
    }  # fmt: skip
    assert refused.keys() == expected.keys()
    assert all(part in refused[name] for name, part in expected.items()), refused
    assert not list(tmp_path.rglob("*up.png"))


def test_bombs_are_stopped_and_leave_nothing(raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medcoss.preprocess.archive_members.FREE_BYTES", 2**20)
    zeros = bytes(2**24)
    put(raw / "a.zip", zip_bytes({"fine.png": IMAGES[0], "zeros.png": zeros}))
    put(raw / "b.tar.gz", tar_bytes({"../skipped": zeros}))
    header = tarfile.TarInfo("x")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 2**33
    put(raw / "c.tar.gz", gzip.compress(header.tobuf(tarfile.GNU_FORMAT)))
    lying = bytearray(zip_bytes({"zeros.png": zeros}))
    for place in (lying.find(b"PK\x03\x04") + 22, lying.find(b"PK\x01\x02") + 24):
        lying[place : place + 4] = (100).to_bytes(4, "little")
    put(raw / "d.zip", bytes(lying))
    files, refused = seen(raw, tmp_path)
    assert "zeros.png" not in files or len(files["zeros.png"]) <= 100
    assert "over 200 times its size" in refused["a.zip"]
    assert "over 200 times its size" in refused["b.tar.gz"]
    assert "a header of 8,589,934,592 bytes" in refused["c.tar.gz"]
    assert "fine.png" not in files

    put(raw / "e.zip", zip_bytes({str(number): b"" for number in range(20)}))
    _, refused = seen(raw, tmp_path, max_files=10)
    assert "over 10 members (archives.max_files)" in refused["e.zip"]


@pytest.mark.parametrize("keep", [0.3, 0.8])
def test_truncated_and_encrypted_archives_are_named(raw: Path, tmp_path: Path, keep: float) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (9, 4000), np.uint8)
    members = {f"{number}.png": one.tobytes() for number, one in enumerate(noise)}
    for name, data in (
        ("a.zip", zip_bytes(members)),
        ("b.tgz", tar_bytes(members)),
        ("c.tar", tar_bytes(members, "w")),
    ):
        put(raw / name, data[: int(len(data) * keep)])
    locked = bytearray(zip_bytes({"x.png": IMAGES[0]}))
    for place in (6, locked.find(b"PK\x01\x02") + 8):
        locked[place] |= 1
    put(raw / "d.zip", bytes(locked))
    put(raw / "e.zip", b"")
    put(raw / "f.tar", b"no tar at all" * 99)
    files, refused = seen(raw, tmp_path)
    assert refused.keys() == {"a.zip", "b.tgz", "c.tar", "d.zip", "e.zip", "f.tar"}
    assert all("damaged or truncated" in refused[name] for name in refused if name != "d.zip"), refused
    assert "encrypted" in refused["d.zip"]
    assert "an empty file" in refused["e.zip"]
    assert "text" in refused["f.tar"]
    assert all(files[path] == members[path.split("/")[-1]] for path in files), "what is given is whole"


def test_a_damaged_member_of_a_zip_is_named(raw: Path, tmp_path: Path) -> None:
    data = bytearray(zip_bytes({"a.png": IMAGES[0], "b.png": IMAGES[1]}))
    data[45] ^= 0xFF
    put(raw / "x.zip", bytes(data))
    files, refused = seen(raw, tmp_path)
    assert files == {"b.png": IMAGES[1]}
    assert "damaged" in refused["x.zip: a.png"]


class Halted(LocalRun):
    """Asked to stop after so many archives."""

    def __init__(self, folder: Path, after: int) -> None:
        super().__init__(folder)
        self.left = after

    def should_stop(self) -> bool:
        """Counts down."""
        self.left -= 1
        return self.left < 0


def test_what_was_unpacked_is_not_unpacked_again(raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        put(raw / f"{number}.zip", zip_bytes({f"{number}/x.png": IMAGES[number], "../bad": b""}))
    with pytest.raises(Stopped):
        opened(raw, tmp_path / UNPACKED, ArchiveLimits(), Halted(tmp_path / "run", 4))
    unpacked: list[str] = []
    real = archives.unpack
    monkeypatch.setattr(archives, "unpack", lambda *args: unpacked.append(args[1]) or real(*args))
    files, refused = seen(raw, tmp_path)
    assert unpacked == ["2.zip"]
    assert files == {f"{number}/x.png": IMAGES[number] for number in range(3)}
    assert refused.keys() == {f"{number}.zip: ../bad" for number in range(3)}


def test_refused_members_count_as_bad_inputs(raw: Path, tmp_path: Path) -> None:
    put(raw / "a.zip", zip_bytes({"a.png": IMAGES[0], "../b.png": IMAGES[1]}))
    spec = PreprocessOptions(recipe=ImageFolder(modality="xray"), max_bad_fraction=0.4)
    with pytest.raises(BadInput, match="1 of 2 inputs cannot be used") as caught:
        preprocess(spec, raw, tmp_path / "out" / "dataset", LocalRun(tmp_path / "run"))
    assert caught.value.where == "a.zip: ../b.png"
    report = json.loads((tmp_path / "run" / "artifacts" / "report.json").read_text())
    assert [entry["path"] for entry in report["bad_files"]] == ["a.zip: ../b.png"]
    assert not (tmp_path / "out" / UNPACKED).exists()
