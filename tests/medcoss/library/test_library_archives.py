"""What an interrupted `prepare` has unpacked is there when it goes on, and gone when it is done."""

import zipfile
from pathlib import Path

import numpy as np
import pytest

from medcoss import prepare
from medcoss.data.shards import ShardReader
from medcoss.library.session import Session
from medcoss.preprocess import archives
from medcoss.run import Stopped
from tests.medcoss.preprocess.files import image_bytes


def test_archives_are_unpacked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw, out = tmp_path / "raw", tmp_path / "out"
    raw.mkdir()
    for number in range(3):
        with zipfile.ZipFile(raw / f"{number}.zip", "w") as made:
            made.writestr(f"{number}.png", image_bytes(np.full((32, 32), number, np.uint8)))
    unpacked: list[str] = []
    real = archives.unpack
    monkeypatch.setattr(archives, "unpack", lambda *args: unpacked.append(args[1]) or real(*args))
    with monkeypatch.context() as patch:
        patch.setattr(Session, "should_stop", lambda _: any(out.glob("unpacked/*.json")))
        with pytest.raises(Stopped, match="resume=True"):
            prepare(raw, out, size=(32, 32), quiet=True)
    unpacked.clear()
    prepare(raw, out, size=(32, 32), quiet=True, resume=True)
    assert unpacked == ["1.zip", "2.zip"]
    assert len(ShardReader(out / "dataset")) == 3
    assert not (out / "unpacked").exists()
