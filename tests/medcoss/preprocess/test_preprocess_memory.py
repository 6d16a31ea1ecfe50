"""What an inspection and the unpacking of archives need of memory, whatever there is to look at or to unpack."""

import io
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np

from tests.medcoss.preprocess.files import image_bytes


def peaks(what: str, raw: Path, out: Path, expected: int) -> list[float]:
    """Of a process of its own, and of its children, in MB."""
    command = [sys.executable, "-m", "tests.medcoss.preprocess.peak", what, str(raw), str(out)]
    found, *told = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    assert int(found) == expected
    return [float(peak) for peak in told]


def test_an_inspection_keeps_a_short_line_of_a_file(tmp_path: Path) -> None:
    draw, needed = np.random.default_rng(0), {}
    for count in (300, 2_400):
        folder = tmp_path / str(count)
        for number in range(count):
            path = folder / f"class{number % 4}" / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            # of noise: together they are four times what may be kept
            path.write_bytes(image_bytes(draw.integers(0, 255, (128, 128), dtype=np.uint8)))
        needed[count] = peaks("inspect", folder, tmp_path / f"out{count}", count)
    grown = [big - small for small, big in zip(needed[300], needed[2_400], strict=True)]
    assert max(grown) < 8, f"MB more for eight times the files: {needed}"


def test_unpacking_keeps_neither_members_nor_their_names(tmp_path: Path) -> None:
    for folder, members, size in (("small", 200, 2**20), ("large", 12_000, 100 * 2**20)):
        (tmp_path / folder).mkdir()
        with tarfile.open(tmp_path / folder / "a.tar", "w") as made:
            for number in range(members):
                info = tarfile.TarInfo(f"{number % 20}/{'long' * 20}{number}")
                info.size = 10
                made.addfile(info, io.BytesIO(b"0123456789"))
        with zipfile.ZipFile(tmp_path / folder / "b.zip", "w") as zipped, zipped.open("whole", "w") as member:
            for _ in range(size // 2**20):
                member.write(bytes(2**20))
    small = peaks("unpack", tmp_path / "small", tmp_path / "1", 201)
    large = peaks("unpack", tmp_path / "large", tmp_path / "2", 12_001)
    # the headers of 12,000 members are 6 MB, what is unpacked is 100 MB
    assert large[0] - small[0] < 7, f"MB more for 60 times the members and a member of 100 MB: {small}, {large}"
