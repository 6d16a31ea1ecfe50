"""The object store and the local cache, on a real S3."""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx
import pytest
from minio.error import MinioException
from prometheus_client import REGISTRY
from urllib3.exceptions import HTTPError

from medcoss.run import Stopped
from medcoss.specs.records import FileEntry
from services.core.cache import LocalCache, NoRoom
from services.core.settings import Settings
from services.core.storage import DamagedFile, ObjectStore
from services.embedded.servers import free_port

CONTENT = {"meta.json": b"{}", "sub/images.b2nd": bytes(range(256)) * 40, "sub/ü mit Leer#zeichen?.txt": b"x"}


@pytest.fixture
def store(settings: Settings) -> ObjectStore:
    return ObjectStore(settings)


def written(folder: Path, content: dict[str, bytes] = CONTENT) -> Path:
    for name, data in content.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


@pytest.fixture
def files(store: ObjectStore, tmp_path: Path) -> list[FileEntry]:
    """What CONTENT is under the prefix `d`."""
    return store.upload_dir("d", written(tmp_path / "source"))


def content(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_what_is_stored_comes_back(store: ObjectStore, files: list[FileEntry], tmp_path: Path) -> None:
    assert {f.path: f.size for f in files} == {name: len(data) for name, data in CONTENT.items()}
    store.download("d", files, tmp_path / "target")
    assert content(tmp_path / "target") == CONTENT
    assert store.sizes("d/") == {f"d/{name}": len(data) for name, data in CONTENT.items()}
    assert store.size("d/meta.json") == 2
    assert store.size("d/other.json") is None
    with pytest.raises(FileNotFoundError):
        store.get_bytes("d/other.json")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (b"!" + CONTENT["sub/images.b2nd"][1:], "other content"),
        (CONTENT["sub/images.b2nd"][:-1], "has 10239 bytes, recorded are 10240"),
        (None, "is missing"),
    ],
    ids=["changed", "cut off", "missing"],
)
def test_a_damaged_file_is_named(
    store: ObjectStore, files: list[FileEntry], tmp_path: Path, damage: bytes | None, said: str
) -> None:
    if damage is None:
        store._client.remove_object(store.bucket, "d/sub/images.b2nd")
    else:
        store.put_bytes("d/sub/images.b2nd", damage)
    with pytest.raises(DamagedFile, match=said) as caught:
        store.download("d", files, tmp_path / "target")
    assert str(caught.value).startswith("sub/images.b2nd:")


@pytest.mark.parametrize("path", ["../escaped", "/etc/escaped", "a/../../escaped"])
def test_no_record_writes_outside_of_its_folder(store: ObjectStore, tmp_path: Path, path: str) -> None:
    with pytest.raises(DamagedFile, match="not a path inside"):
        store.download("d", [FileEntry(path=path, size=0, sha256="0" * 64)], tmp_path / "target")
    assert not list(tmp_path.rglob("escaped"))


def test_a_download_stops_when_asked(store: ObjectStore, files: list[FileEntry], tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        store.download("d", files, tmp_path / "target", lambda: True)


def test_presigned_urls_open_one_object_for_a_while(store: ObjectStore) -> None:
    url = store.presign_put("raw/a b.png", 60)
    assert httpx.put(url, content=b"pixels").status_code == 200
    assert httpx.get(store.presign_get("raw/a b.png", 60)).content == b"pixels"
    assert httpx.put(url.replace("a%20b.png", "other.png"), content=b"pixels").status_code == 403
    assert httpx.get(url).status_code == 403, "a URL to PUT does not let anyone GET"
    brief = store.presign_get("raw/a b.png", 1)
    deadline = time.monotonic() + 10
    while httpx.get(brief).status_code == 200 and time.monotonic() < deadline:
        time.sleep(0.2)
    assert httpx.get(brief).status_code == 403


def test_removal_needs_a_whole_folder_and_comes_in_portions(store: ObjectStore) -> None:
    for number in range(5):
        store.put_bytes(f"d/{number}", b"x")
    store.put_bytes("d2/kept", b"x")
    with pytest.raises(ValueError, match="slash"):
        store.remove_prefix("d")
    assert not store.remove_some("d/", 3)
    assert len(store.list_keys("d/")) == 2
    assert store.remove_some("d/", 3)
    assert store.list_keys("") == ["d2/kept"]


def test_a_store_that_is_away_is_noticed_soon(make_settings: Callable[..., Settings]) -> None:
    away = ObjectStore(make_settings(s3_endpoint=f"127.0.0.1:{free_port()}"))
    began = time.monotonic()
    with pytest.raises((HTTPError, MinioException)):
        away.healthy()
    assert time.monotonic() - began < 5


def test_calls_that_the_store_fails_are_counted(make_settings: Callable[..., Settings]) -> None:
    class Failing(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(500)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    def failures() -> float:
        return REGISTRY.get_sample_value("medcoss_s3_errors_total", {"operation": "get"}) or 0.0

    before = failures()
    with HTTPServer(("127.0.0.1", 0), Failing) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        store = ObjectStore(make_settings(s3_endpoint=f"127.0.0.1:{server.server_port}"), retries=0)
        with pytest.raises((MinioException, HTTPError)):
            store.get_bytes("a")
        server.shutdown()
        thread.join()
    assert failures() == before + 1
    with pytest.raises(HTTPError):
        ObjectStore(make_settings(s3_endpoint=f"127.0.0.1:{free_port()}"), retries=0).get_bytes("a")
    assert failures() == before + 2


def test_a_bucket_that_is_there_is_no_error(make_settings: Callable[..., Settings]) -> None:
    store = ObjectStore(make_settings())
    assert not store.healthy()
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda _: store.ensure_bucket(), range(3)))
    assert store.healthy()


class Counting(ObjectStore):
    """A real store that counts downloads."""

    downloads = 0

    def download(self, *arguments: object, **named: object) -> None:
        self.downloads += 1
        super().download(*arguments, **named)  # type: ignore[arg-type]


@pytest.fixture
def cache(settings: Settings, tmp_path: Path) -> LocalCache:
    return LocalCache(tmp_path / "cache", 100_000, Counting(settings))


def test_many_want_the_same_and_one_fetches(cache: LocalCache, files: list[FileEntry]) -> None:
    def use(_: int) -> dict[str, bytes]:
        with cache.fetch("ds_1", "d", files) as folder:
            return content(folder)

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(use, range(8))) == [CONTENT] * 8
    assert cache.store.downloads == 1  # type: ignore[attr-defined]


def test_a_folder_in_use_makes_nobody_wait(cache: LocalCache, files: list[FileEntry]) -> None:
    """A training holds its dataset for days; another must be able to begin, also in the same process."""
    entered = threading.Event()

    def second() -> None:
        with cache.fetch("ds_1", "d", files):
            entered.set()

    with cache.fetch("ds_1", "d", files), cache.fetch("ds_1", "d", files):
        thread = threading.Thread(target=second, daemon=True)
        thread.start()
        assert entered.wait(10)
    thread.join()


def test_who_waited_for_a_download_does_not_wait_for_its_user(cache: LocalCache, files: list[FileEntry]) -> None:
    """Processes that train together fetch the same dataset, and each of them waits for all others."""
    for turn in range(10):
        together = threading.Barrier(3)

        def use(record: str, together: threading.Barrier = together) -> dict[str, bytes]:
            together.wait(20)
            with cache.fetch(record, "d", files) as folder:
                together.wait(20)
                return content(folder)

        with ThreadPoolExecutor(3) as pool:
            assert list(pool.map(use, [f"ds_{turn}"] * 3)) == [CONTENT] * 3


def test_a_damaged_record_leaves_nothing_in_the_cache(
    cache: LocalCache, files: list[FileEntry], store: ObjectStore
) -> None:
    store.put_bytes("d/meta.json", b"[]")
    with pytest.raises(DamagedFile), cache.fetch("ds_1", "d", files):
        pytest.fail("it was handed out")
    assert content(cache.root / "records") == {}
    assert not list(cache.partial.iterdir())
    store.put_bytes("d/meta.json", CONTENT["meta.json"])
    with cache.fetch("ds_1", "d", files) as folder:
        assert content(folder) == CONTENT


def stored(store: ObjectStore, tmp_path: Path, name: str, size: int) -> list[FileEntry]:
    return store.upload_dir(name, written(tmp_path / name, {"data": os.urandom(size)}))


def test_the_least_recently_used_goes_and_what_is_in_use_stays(
    cache: LocalCache, store: ObjectStore, tmp_path: Path
) -> None:
    records = {name: stored(store, tmp_path, name, 40_000) for name in ("ds_1", "ds_2", "ds_3", "ds_4")}

    def fetched(name: str) -> None:
        with cache.fetch(name, name, records[name]):
            pass

    def kept() -> set[str]:
        return {p.name for p in cache.folders.iterdir()}

    for name in ("ds_1", "ds_2"):
        fetched(name)
        os.utime(cache.folders / name, (0, int(name[-1])))
    fetched("ds_3")
    assert kept() == {"ds_2", "ds_3"}, "the cap of 100,000 bytes holds two"
    with cache.fetch("ds_2", "ds_2", records["ds_2"]) as folder:
        os.utime(folder, (0, 0))
        fetched("ds_4")
        assert kept() == {"ds_2", "ds_4"}, "ds_2 is older, but in use"
        assert len(content(folder)["data"]) == 40_000


def test_a_record_larger_than_the_cache_is_refused(cache: LocalCache) -> None:
    entry = FileEntry(path="data", size=100_001, sha256="0" * 64)
    with pytest.raises(NoRoom, match="MEDCOSS_CACHE_MAX_BYTES"), cache.fetch("ds_1", "d", [entry]):
        pytest.fail("it was handed out")


def test_an_outline_has_the_content_of_what_was_brought_alone(
    cache: LocalCache, store: ObjectStore, tmp_path: Path
) -> None:
    """So a record that is larger than the cache may be can be read piece by piece."""
    data = {"a/1": os.urandom(60_000), "a/2": os.urandom(60_000), "b": os.urandom(10_000)}
    files = store.upload_dir("d", written(tmp_path / "d", data))
    other = stored(store, tmp_path, "ds_2", 50_000)
    with cache.fetch("ds_2", "ds_2", other):
        pass
    with cache.outline("ds_1", "job_1-1", "d", files) as (folder, bring):
        assert bring is not None
        assert {path: len(found) for path, found in content(folder).items()} == {p: len(d) for p, d in data.items()}
        bring(["b", "nowhere"])
        assert (cache.folders / "ds_2").exists(), "10,000 bytes fit beside it"
        bring(["b", "a/2"])
        assert {path for path, found in content(folder).items() if found == data[path]} == {"b", "a/2"}
        assert cache.store.downloads == 3  # type: ignore[attr-defined]
        assert not (cache.folders / "ds_2").exists()
        with pytest.raises(NoRoom, match="130,000 bytes of ds_1-job_1-1 are needed"):
            bring(["a/1"])
    assert not folder.exists()
    assert not (cache.folders / "ds_1").exists()
    with cache.outline("ds_3", "job_1-1", "ds_2", other) as (folder, bring):
        assert bring is not None
        bring(["data"])
        assert content(folder) == content(cache.folders / "ds_3"), "who needs most of it fetches it for all"
    with cache.fetch("ds_2", "ds_2", other) as whole, cache.outline("ds_2", "job_1-1", "ds_2", other) as found:
        assert found == (whole, None), "what is here whole is used"


def _hold(root: Path, settings: Settings, files: list[FileEntry], ready: object) -> None:
    cache = LocalCache(root, 100_000, ObjectStore(settings))
    (cache.partial / "ds_9").mkdir()
    with cache._lock("ds_9", 2), cache.fetch("ds_1", "d", files):
        ready.set()  # type: ignore[attr-defined]
        signal.pause()


def test_what_a_killed_process_has_left_is_cleared(
    cache: LocalCache, settings: Settings, files: list[FileEntry], store: ObjectStore, tmp_path: Path
) -> None:
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    process = context.Process(target=_hold, args=(cache.root, settings, files, ready))
    process.start()
    assert ready.wait(30)
    large = stored(store, tmp_path, "ds_2", 95_000)
    with cache.fetch("ds_2", "ds_2", large):
        assert (cache.partial / "ds_9").exists(), "another process is fetching it"
        assert (cache.folders / "ds_1").exists(), "another process uses it"
    process.kill()
    process.join()
    with cache.fetch("ds_3", "ds_3", stored(store, tmp_path, "ds_3", 95_000)):
        assert not (cache.partial / "ds_9").exists()
        assert {p.name for p in cache.folders.iterdir()} == {"ds_3"}


def test_scratch_stays_for_its_owner_until_room_is_needed(cache: LocalCache, files: list[FileEntry]) -> None:
    with cache.scratch("job_1-unpacked") as folder:
        assert folder is not None
        written(folder)
        with cache.scratch("job_1-unpacked") as second:
            assert second is None, "it is in use"
        with cache.fetch("in-use", "d", files):
            assert content(folder) == CONTENT, "room is not made of what is in use"
    with cache.scratch("job_1-unpacked") as again:
        assert again is not None and content(again) == CONTENT
    with cache.fetch("another", "d", files):
        assert not folder.exists()
