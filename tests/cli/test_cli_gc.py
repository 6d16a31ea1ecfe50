"""`medcoss gc`."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from medcoss.client import Client
from services.core.storage import ObjectStore
from services.worker.collector import Collector
from tests.cli.conftest import Done
from tests.medcoss.client.control_plane import ADMIN_KEY, KEY, ControlPlane, control_plane


@pytest.fixture(scope="session")
def plane(s3: dict[str, str], redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A control plane of its own: a collector looks at all that there is, also at what other tests have left."""
    with control_plane(s3, redis_url, tmp_path_factory.mktemp("plane")) as running:
        yield running


@pytest.fixture
def collector(plane: ControlPlane, environment: pytest.MonkeyPatch) -> Iterator[None]:
    """The sweeper's process, as far as garbage is concerned."""
    environment.setenv("MEDCOSS_KEY", ADMIN_KEY)
    ended = threading.Event()
    database = plane.database
    work = Collector(database, ObjectStore(plane.settings), lambda _: None)

    def sweep() -> None:
        while not ended.wait(0.05):
            work.kick()

    thread = threading.Thread(target=sweep)
    thread.start()
    yield
    ended.set()
    thread.join()
    database.engine.dispose()


def test_what_nobody_owns_is_told_and_removed_only_when_asked(
    medcoss: Callable[..., Done], plane: ControlPlane, collector: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ObjectStore(plane.settings)
    stray = "datasets/ds_stray/raw/a"
    store.put_bytes(stray, b"xyz")
    told = medcoss("gc")
    assert told.code == 0, told.err
    text = " ".join(told.out.split())
    assert "nothing (dry run)" in text and "young 1 3 B" in text and "nothing found" in text, "it has just been stored"
    # whatever age it has now is enough
    monkeypatch.setattr(plane.settings, "gc_grace_s", 0.0)
    told = medcoss("gc", "--json", "--max-fraction", "1")
    assert [(f["kind"], f["prefix"]) for f in told.json["findings"]] == [("orphan", "datasets/ds_stray/")]
    assert store.size(stray) == 3
    done = medcoss("gc", "--delete", "--max-fraction", "1")
    assert done.code == 0 and "1 objects, 3 B" in " ".join(done.out.split()), done.err
    assert store.size(stray) is None

    (tmp_path / "a.png").write_bytes(b"x")
    with Client(plane.url, KEY) as client:
        raw = client.datasets.upload(tmp_path, name="x-rays", modality="xray").id
    kept = next(key for key in store.list_keys("") if key.startswith(f"datasets/{raw}/"))
    content = store.get_bytes(kept)
    store.remove([kept])
    lost = medcoss("gc")
    assert lost.code == 1 and "missing" in lost.out and raw in lost.out, "something is lost"
    store.put_bytes(kept, content)


def test_a_run_waits_for_its_turn_and_can_be_followed_in_python(plane: ControlPlane, collector: None) -> None:
    with Client(plane.url, ADMIN_KEY) as client:
        seen: list[str] = []
        run = client.gc.wait(client.gc.start().id, notify=lambda run: seen.append(run.state), timeout_s=60)
        assert run.state == "succeeded" and run.ended and seen[-1] == "succeeded"
        assert next(client.gc.list()).id == run.id
        assert list(client.gc.findings(run.id)) == []
