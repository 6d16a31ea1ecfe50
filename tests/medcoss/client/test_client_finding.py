"""Where server and key come from, and what is said when they cannot be found."""

import http.server
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from medcoss.client import ApiError, Client, NotConfigured, ServerUnreachable, UnexpectedAnswer
from services.embedded.servers import free_port
from services.embedded.state import Running
from tests.medcoss.client.control_plane import KEY, VIEWER_KEY, ControlPlane


def write_ready_file(folder: Path, url: str, key: str = KEY) -> Path:
    folder.mkdir(exist_ok=True)
    running = Running(url=url, gateway_url="http://127.0.0.1:1", key=key, pid=1234, parts=[])
    (folder / "platform.json").write_text(running.model_dump_json())
    return folder


def works(client: Client) -> bool:
    return client.platform().version != "" and client.ready() == {"database": "ok", "redis": "ok", "s3": "ok"}


def test_the_data_folder_is_enough(plane: ControlPlane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_ready_file(tmp_path / "data", plane.url)
    assert works(Client(data_dir=folder))
    assert works(Client(data_dir=str(folder)))
    monkeypatch.setenv("MEDCOSS_DATA_DIR", str(folder))
    assert works(Client())
    monkeypatch.delenv("MEDCOSS_DATA_DIR")
    monkeypatch.chdir(tmp_path)
    folder.rename(tmp_path / ".medcoss")
    assert works(Client())


def test_a_key_in_the_environment_goes_before_the_folders(
    plane: ControlPlane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MEDCOSS_SERVER", raising=False)
    monkeypatch.setenv("MEDCOSS_DATA_DIR", str(write_ready_file(tmp_path, plane.url)))
    monkeypatch.setenv("MEDCOSS_KEY", "mk_wrong")
    with Client() as client, pytest.raises(ApiError) as caught:
        list(client.jobs.list())
    assert caught.value.status == 401


def test_the_environment_is_enough(plane: ControlPlane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MEDCOSS_SERVER", plane.url + "/")
    monkeypatch.setenv("MEDCOSS_KEY", KEY)
    assert works(Client())
    assert Client().server == plane.url
    assert Client(server="https://elsewhere.example").server == "https://elsewhere.example"


def test_a_folder_that_is_given_goes_before_the_environment(
    plane: ControlPlane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDCOSS_SERVER", "http://elsewhere.example")
    monkeypatch.setenv("MEDCOSS_KEY", "mk_wrong")
    assert works(Client(data_dir=write_ready_file(tmp_path, plane.url)))


def test_the_folders_key_stays_with_its_server(
    plane: ControlPlane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDCOSS_DATA_DIR", str(write_ready_file(tmp_path, plane.url)))
    assert works(Client(server=plane.url.replace("127.0.0.1", "localhost")))
    with pytest.raises(NotConfigured, match="no key for http://elsewhere"):
        Client(server="http://elsewhere.example")


def test_nothing_to_be_found(tmp_path: Path) -> None:
    with pytest.raises(NotConfigured, match=r"no platform runs on .*; start one with `medcoss up`"):
        Client(data_dir=tmp_path)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "platform.json").write_text("{")
    with pytest.raises(NotConfigured, match=r"platform\.json cannot be read"):
        Client(data_dir=tmp_path)


def test_a_server_that_is_away(tmp_path: Path) -> None:
    folder = write_ready_file(tmp_path, f"http://127.0.0.1:{free_port()}")
    with pytest.raises(ServerUnreachable, match=r"does not answer \(Connection refused\); process 1234"):
        list(Client(data_dir=folder).jobs.list())


def test_a_wrong_key_opens_nothing(plane: ControlPlane) -> None:
    with pytest.raises(ApiError) as caught:
        list(Client(server=plane.url, key="mk_wrong").jobs.list())
    assert caught.value.status == 401
    assert list(Client(server=plane.url, key=VIEWER_KEY).models.list(name="none")) == []
    assert list(Client(server=plane.url, key=VIEWER_KEY).deployments.list(name="none")) == []


def test_proxies_do_not_get_between(plane: ControlPlane, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.invalid:3128")
    monkeypatch.setenv("ALL_PROXY", "http://proxy.invalid:3128")
    assert works(Client(server=plane.url, key=KEY))


class _Stranger(http.server.BaseHTTPRequestHandler):
    """Another program's web server: friendly, busy twice, or broken."""

    busy = 2
    calm = 1

    def do_GET(self) -> None:
        if self.path.startswith("/v1/jobs/busy"):
            type(self).busy -= 1
            if type(self).busy >= 0:
                self.answer(503, json.dumps({"title": "Not available", "detail": "the database does not answer"}))
                return
        if self.path.startswith("/v1/jobs/often"):
            type(self).calm -= 1
            if type(self).calm >= 0:
                self.answer(429, json.dumps({"title": "Too many", "detail": "wait"}), {"Retry-After": "1"})
                return
        self.answer(502 if "broken" in self.path else 200, "<h1>hello</h1>")

    def do_POST(self) -> None:
        self.do_GET()

    def answer(self, status: int, text: str, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, format: str, *args: object) -> None:
        """Keep quiet."""


@pytest.fixture
def stranger() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Stranger)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_another_server_is_recognised(stranger: str) -> None:
    client = Client(server=stranger, key=KEY)
    with pytest.raises(UnexpectedAnswer, match="right server"):
        client.jobs.get("job_1")
    with pytest.raises(ApiError, match="hello") as caught:
        client.jobs.get("broken")
    assert caught.value.status == 502


def test_a_busy_server_is_asked_again(stranger: str) -> None:
    with pytest.raises(UnexpectedAnswer):
        Client(server=stranger, key=KEY).jobs.get("busy")
    assert _Stranger.busy == -1


def test_a_client_that_calls_too_often_waits_as_it_is_told(stranger: str) -> None:
    began = time.monotonic()
    with pytest.raises(UnexpectedAnswer):
        Client(server=stranger, key=KEY).jobs.cancel("often")
    assert _Stranger.calm == -1
    assert time.monotonic() - began >= 1


def test_importing_the_client_is_light() -> None:
    code = "import sys, medcoss.client; print([m for m in ('torch', 'numpy', 'services') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
