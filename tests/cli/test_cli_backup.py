"""`medcoss backup` and `medcoss restore`."""

import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from services.core.db import Database
from services.core.settings import get_settings
from services.core.storage import ObjectStore
from services.core.tables import Dataset
from services.embedded.state import locked
from tests.cli.conftest import Done
from tests.medcoss.client.control_plane import ControlPlane


def text(shown: str) -> str:
    return " ".join(shown.split())


@pytest.fixture
def deployed(plane: ControlPlane, environment: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The variables that lead the services to their database and object store."""
    settings = plane.settings
    for name, value in {
        "DATABASE_URL": settings.database_url, "S3_ENDPOINT": settings.s3_endpoint, "S3_BUCKET": settings.s3_bucket,
        "S3_ACCESS_KEY": settings.s3_access_key.get_secret_value(),
        "S3_SECRET_KEY": settings.s3_secret_key.get_secret_value(),
    }.items():  # fmt: skip
        environment.setenv(f"MEDCOSS_{name}", value)
    get_settings.cache_clear()
    return environment


def test_what_was_backed_up_comes_back_elsewhere(
    medcoss: Callable[..., Done], deployed: pytest.MonkeyPatch, raw: str, tmp_path: Path
) -> None:
    kept = tmp_path / "kept"
    done = medcoss("backup", kept, "--objects")
    assert done.code == 0, done.err
    assert "rows" in text(done.out) and "copied yes" in text(done.out)
    again = medcoss("backup", kept)
    assert again.code == 1 and "is there already; name a new folder" in text(again.err)

    used = medcoss("restore", kept)
    assert used.code == 1 and "in use" in text(used.err) and "--replace" in text(used.err)
    deployed.setenv("MEDCOSS_DATABASE_URL", f"sqlite:///{tmp_path / 'new.db'}")
    deployed.setenv("MEDCOSS_S3_BUCKET", f"test-{uuid.uuid4().hex[:12]}")
    get_settings.cache_clear()
    back = medcoss("restore", kept, "--json")
    assert back.json["objects"]["wrong"] == 0 and back.json["objects"]["stored"] >= 1
    settings = get_settings()
    with Database(settings.database_url).reading() as session:
        row = session.get_one(Dataset, raw)
    assert ObjectStore(settings).get_bytes(f"{row.prefix}/a.png") == b"x"
    ObjectStore(settings).remove_prefix("datasets/")
    deployed.setenv("MEDCOSS_DATABASE_URL", f"sqlite:///{tmp_path / 'lost.db'}")
    get_settings.cache_clear()
    for copy in (kept / "objects").rglob("*"):
        if copy.is_file():
            copy.unlink()
    lost = medcoss("restore", kept)
    assert lost.code == 1 and f"(dataset {raw}): is missing" in text(lost.err), "something is lost"
    assert medcoss("restore", tmp_path).code == 1
    get_settings.cache_clear()


def test_a_data_folder_is_backed_up_and_restored_while_no_platform_runs(
    medcoss: Callable[..., Done], deployed: pytest.MonkeyPatch, raw: str, tmp_path: Path
) -> None:
    """A deployed platform moves into a data folder."""
    assert medcoss("backup", tmp_path / "deployed", "--objects").code == 0
    (tmp_path / "damaged").mkdir()
    refused = medcoss("restore", tmp_path / "damaged", "--data-dir", tmp_path / "new" / "folder")
    assert refused.code == 1 and "is no backup" in text(refused.err)
    assert not (tmp_path / "new").exists(), "a refused restore leaves nothing that it made"
    nothing = medcoss("backup", tmp_path / "x", "--data-dir", tmp_path / "first")
    assert nothing.code == 1 and "holds no platform" in text(nothing.err)
    done = medcoss("restore", tmp_path / "deployed", "--data-dir", tmp_path / "first")
    assert done.code == 0, done.err
    done = medcoss("backup", tmp_path / "moved", "--data-dir", tmp_path / "first")
    assert done.code == 0 and "no, only listed" in text(done.out), done.err
    with locked(tmp_path / "first"):
        busy = medcoss("restore", tmp_path / "moved", "--data-dir", tmp_path / "first")
    assert busy.code == 1 and "stop it first" in text(busy.err)
