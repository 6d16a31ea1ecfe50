"""`medcoss models import` and `export-checkpoint` against a control plane with a real worker."""

import builtins
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from medcoss.models.published import read_checkpoint
from services.worker.supervisor import Supervisor
from tests.cli.conftest import Done
from tests.medcoss.client.control_plane import control_plane
from tests.medcoss.models.checkpoints import filled, medcoss_shapes, saved, vocabulary

Medcoss = Callable[..., Done]


@pytest.fixture(scope="module")
def working(s3: dict[str, str], redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a platform of its own, whose worker runs what is queued."""
    folder = tmp_path_factory.mktemp("working")
    stop = threading.Event()
    with control_plane(s3, redis_url, folder) as plane:
        quick = {"cache_dir": folder / "cache", "heartbeat_s": 0.1, "threads": 1}
        settings = plane.settings.model_copy(update=quick)

        def work() -> None:
            supervisor = Supervisor(settings, stop)
            while not stop.wait(0.05):
                supervisor.run_next()
            supervisor.database.engine.dispose()

        thread = threading.Thread(target=work)
        thread.start()
        yield plane.url
        stop.set()
        thread.join(60)


@pytest.fixture(autouse=True)
def there(environment: pytest.MonkeyPatch, working: str) -> None:
    environment.setenv("MEDCOSS_SERVER", working)


def test_a_checkpoint_comes_in_and_goes_out(medcoss: Medcoss, tmp_path: Path) -> None:
    file = saved(tmp_path / "MedCoSS (last).pth", filled(medcoss_shapes()))
    words = vocabulary(tmp_path / "biobert-vocab.txt")
    done = medcoss("models", "import", file, "--vocabulary", words, "--modality", "report", "--modality", "xray")
    assert done.code == 0, done.err
    model_id = done.out.strip()
    model = medcoss("models", "show", model_id, "--json").json
    assert (model["name"], model["modalities"], model["stage"]) == ("MedCoSS-last", ["report", "xray"], 2)
    assert model["config"]["attention"] == "published"
    assert f"model {model_id}" in done.err
    back = tmp_path / "back.pth"
    done = medcoss("models", "export-checkpoint", model_id, back)
    assert (done.code, done.out.strip()) == (0, str(back))
    assert f"{len(medcoss_shapes())} tensors, size custom" in done.err
    before, after = read_checkpoint(file), read_checkpoint(back)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not list(tmp_path.glob(".medcoss*"))
    again = medcoss("models", "export-checkpoint", model_id, back)
    assert (again.code, "back.pth exists; remove it or choose another name" in again.err) == (1, True)


def test_a_file_that_is_none_is_refused_by_the_job(medcoss: Medcoss, tmp_path: Path) -> None:
    (tmp_path / "notes.pth").write_text("no checkpoint")
    done = medcoss("models", "import", tmp_path / "notes.pth")
    assert (done.code, done.out) == (1, "")
    assert "notes.pth: this is no checkpoint of PyTorch, or it is cut short; fetch the file again" in done.err


@pytest.mark.parametrize(
    ("options", "code", "complaint"),
    [
        (["--modality", "xrey"], 1, "unknown modality 'xrey'; expected one of report, xray"),
        (["--name", "no spaces"], 1, "output_name: "),
        (["--format", "clip"], 2, "'clip' is not one of 'auto', 'medcoss', 'uniperceiver'"),
        (["--vocabulary", "missing.txt"], 2, "does not exist"),
    ],
)
def test_wrong_options_are_named_before_anything_is_sent(
    medcoss: Medcoss, tmp_path: Path, options: list[str], code: int, complaint: str
) -> None:
    (tmp_path / "a.pth").write_bytes(b"x")
    done = medcoss("models", "import", tmp_path / "a.pth", *options)
    assert (done.code, done.out) == (code, "")
    # long messages are framed and broken into lines
    assert complaint in " ".join(done.err.replace("│", " ").split())
    assert "uploaded" not in done.err


def test_exporting_needs_torch(medcoss: Medcoss, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name == "medcoss.models":
            raise ModuleNotFoundError("No module named 'torch'", name="torch")
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    done = medcoss("models", "export-checkpoint", "mdl_00000000", tmp_path / "a.pth")
    assert (done.code, done.out) == (1, "")
    assert "writing a checkpoint needs torch, which is not installed here; install medcoss[train]" in done.err
    nowhere = medcoss("models", "export-checkpoint", "mdl_00000000", tmp_path / "no" / "a.pth")
    assert "there is no folder" in nowhere.err
