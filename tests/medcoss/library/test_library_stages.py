"""The library's functions on folders: what they write, hand back, refuse and resume."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

import medcoss
from medcoss import build_buffer, finetune, prepare, pretrain
from medcoss.data.shards import ShardReader
from medcoss.run import BadInput, Stopped
from medcoss.specs.records import DatasetInfo, ModelInfo
from medcoss.specs.training import PretrainOptions

SHORT: dict[str, Any] = {"size": "tiny", "batch_size": 4, "max_steps": 4, "log_every": 2, "quiet": True}


def tree(root: Path) -> set[str]:
    """Names in an output folder, hidden ones left out."""
    return {p.name for p in root.iterdir() if not p.name.startswith(".")}


def weights(root: Path) -> dict[str, np.ndarray]:
    return load_file(root / "model" / "model.safetensors")


@pytest.fixture(scope="module")
def encoder(folder: Path, stripes: Path) -> Path:
    pretrain(stripes, folder / "encoder", **SHORT)
    return folder / "encoder"


def test_the_package_stays_light_until_a_function_is_called() -> None:
    code = (
        "import sys, medcoss; assert 'pretrain' in dir(medcoss)\n"
        "assert not {'numpy', 'torch', 'pydantic'} & set(sys.modules)\n"
        "from medcoss import prepare, pretrain, build_buffer, finetune, embed\n"
        "assert 'torch' not in sys.modules and callable(embed)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="module 'medcoss' has no attribute 'pretrian'"):
        medcoss.pretrian  # noqa: B018


def test_a_stage_writes_its_tree_and_the_resolved_options(encoder: Path, stripes: Path) -> None:
    assert tree(encoder) == {"options.json", "model", "artifacts", "metrics.jsonl", "log.txt"}
    told = json.loads((encoder / "options.json").read_text())
    assert told["function"] == "pretrain"
    assert told["medcoss"] == medcoss.__version__
    assert told["inputs"] == {"data": str(stripes), "init_model": None, "rehearsal": [], "vocabulary": None}
    given = {n: v for n, v in SHORT.items() if n != "quiet"}
    assert told["options"] == PretrainOptions(**given).model_dump(mode="json")
    rows = [json.loads(row) for row in (encoder / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [2, 4]
    assert all(row["loss/xray"] > 0 for row in rows)
    assert (encoder / "artifacts" / "reconstruction_xray.png").is_file()


def test_outputs_are_the_next_calls_inputs(folder: Path, images: Path, sentences: Path) -> None:
    prepared = prepare(images, folder / "prepared", size=(32, 32), labels="folders", quiet=True)
    assert isinstance(prepared, DatasetInfo)
    assert (prepared.samples, prepared.classes) == (12, ["left", "right"])
    assert tree(folder / "prepared") == {"options.json", "dataset", "artifacts"}
    assert json.loads((folder / "prepared" / "artifacts" / "report.json").read_text())["samples"] == 12
    pretrain(folder / "prepared", folder / "first", **SHORT)
    kept = build_buffer(folder / "first", folder / "prepared", folder / "buffer", buffer_fraction=0.5, quiet=True)
    assert kept.role == "buffer"
    assert len(ShardReader(folder / "buffer" / "dataset")) == kept.samples == 6
    more = {"init_model": folder / "first", "rehearsal": [folder / "buffer"], "vocabulary_size": 256}
    second = pretrain(sentences, folder / "second", **more, **SHORT)
    assert isinstance(second, ModelInfo)
    assert second.modalities == ["xray", "report"]
    assert any("distill/xray" in row for row in (folder / "second" / "metrics.jsonl").read_text().splitlines())
    classifier = finetune(folder / "prepared", folder / "cls", "classification", init_model=folder / "second", **SHORT)
    assert (classifier.task, classifier.classes) == ("classification", ["left", "right"])
    assert (folder / "cls" / "model" / "model.safetensors").is_file()


def test_a_recipe_is_chosen_by_name_and_its_fields_are_options(folder: Path) -> None:
    raw = folder / "tables"
    raw.mkdir()
    rows = [f"{i},The lungs are clear,No acute disease,{'ab'[i % 2]}" for i in range(9)]
    (raw / "a.csv").write_text("\n".join(["study_id,findings,impression,kind", *rows]))
    info = prepare(raw, folder / "texts", recipe="openi_reports", label_column="kind", seed=3, quiet=True)
    assert (info.modality, info.samples, info.classes) == ("report", 9, ["a", "b"])
    told = json.loads((folder / "texts" / "options.json").read_text())["options"]
    assert (told["seed"], told["recipe"]["name"], told["recipe"]["label_column"]) == (3, "openi_reports", "kind")


def test_an_occupied_folder_is_refused_with_the_ways_out(encoder: Path, stripes: Path, folder: Path) -> None:
    before = weights(encoder)
    with pytest.raises(BadInput, match=r"out: .*encoder holds a finished run of pretrain; resume=True hands it back, "
                                       r"overwrite=True replaces it, or choose another folder"):  # fmt: skip
        pretrain(stripes, encoder, **SHORT)
    with pytest.raises(BadInput, match="holds a finished run of pretrain; overwrite=True replaces it, or choose"):
        finetune(stripes, encoder, "classification", resume=True, **SHORT)
    own = folder / "own"
    own.mkdir()
    (own / "thesis.txt").write_text("years of work")
    for more in ({}, {"resume": True}, {"overwrite": True}):
        with pytest.raises(BadInput, match=r"own is not empty and holds no run of medcoss \(no readable options"):
            pretrain(stripes, own, **more, **SHORT)
    assert tree(own) == {"thesis.txt"}
    with pytest.raises(BadInput, match=r"thesis\.txt is a file; expected a folder to write to"):
        pretrain(stripes, own / "thesis.txt", **SHORT)
    with pytest.raises(BadInput, match="resume: resume goes on with what is there, overwrite replaces it; give one"):
        pretrain(stripes, encoder, resume=True, overwrite=True, **SHORT)
    assert all(np.array_equal(before[name], value) for name, value in weights(encoder).items())


def test_an_input_is_never_overwritten(folder: Path, images: Path) -> None:
    prepare(images, folder / "safe", size=(32, 32), quiet=True)
    with pytest.raises(BadInput, match=r"out: the input .*safe/dataset lies in the folder that is written; choose an"):
        pretrain(folder / "safe", folder / "safe", overwrite=True, **SHORT)
    assert len(ShardReader(folder / "safe" / "dataset")) == 12


def test_overwrite_starts_again_and_leaves_other_files_alone(stripes: Path, folder: Path) -> None:
    out = folder / "again"
    pretrain(stripes, out, **SHORT)
    (out / "notes.txt").write_text("mine")
    pretrain(stripes, out, overwrite=True, seed=1, **SHORT)
    assert json.loads((out / "options.json").read_text())["options"]["seed"] == 1
    assert len((out / "metrics.jsonl").read_text().splitlines()) == 2
    assert (out / "notes.txt").read_text() == "mine"


def test_a_failed_call_may_be_repeated(stripes: Path, sentences: Path, folder: Path) -> None:
    out = folder / "repeated"
    with pytest.raises(BadInput, match="the dataset has no masks"):
        finetune(stripes, out, "segmentation", **SHORT)
    assert tree(out) == {"options.json"}
    assert finetune(stripes, out, "classification", **SHORT).task == "classification"


def test_a_finished_run_is_handed_back(encoder: Path, stripes: Path) -> None:
    changed = (encoder / "model" / "model.safetensors").stat().st_mtime_ns
    info = pretrain(stripes, encoder, resume=True, **SHORT)
    assert (info.stage, info.modalities) == (1, ["xray"])
    assert (encoder / "model" / "model.safetensors").stat().st_mtime_ns == changed
    with pytest.raises(BadInput, match=r"resume: the run in .*encoder has max_steps 4, not 5; give the same to "
                                       r"go on with it, overwrite=True to start again, or choose another"):  # fmt: skip
        pretrain(stripes, encoder, resume=True, **(SHORT | {"max_steps": 5}))


def test_two_runs_do_not_share_a_folder(stripes: Path, folder: Path) -> None:
    import fcntl

    out = folder / "busy"
    out.mkdir()
    with (out / ".lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        with pytest.raises(BadInput, match=r"out: another run is writing to .*busy; wait for it or choose another"):
            pretrain(stripes, out, **SHORT)


def interrupt_after(monkeypatch: pytest.MonkeyPatch, step: int, number: int) -> None:
    """A signal comes while the numbers of `step` are written."""
    from medcoss.library.session import Session

    metrics = Session.metrics

    def interrupted(session: Session, at: int, values: dict[str, float]) -> None:
        metrics(session, at, values)
        if at == step:
            os.kill(os.getpid(), number)

    monkeypatch.setattr(Session, "metrics", interrupted)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_goes_on_to_the_same_weights(
    stripes: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    more = SHORT | {"max_steps": 7, "drop_path": 0.2}
    whole, out = folder / f"whole{number}", folder / f"cut{number}"
    pretrain(stripes, whole, **more)
    before = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patch:
        interrupt_after(patch, 4, number)
        with pytest.raises(Stopped, match=r"stopped at 5 of 7; call pretrain once more with resume=True to go on"):
            pretrain(stripes, out, **more)
    assert signal.getsignal(signal.SIGINT) is before
    assert tree(out) == {"options.json", "checkpoints", "artifacts", "metrics.jsonl", "log.txt"}
    with pytest.raises(BadInput, match="holds an interrupted run of pretrain; resume=True goes on with it, overwrite"):
        pretrain(stripes, out, **more)
    with pytest.raises(BadInput, match=r"init_model: the run in .* has not finished; go on with it first \(resume"):
        finetune(stripes, folder / "early", "classification", init_model=out, **SHORT)
    # a run that was killed has numbers of steps that its checkpoint does not know, the last line cut
    with (out / "metrics.jsonl").open("a") as handle:
        handle.write('{"step": 6, "loss/xray": 9.0}\n{"step": 7, "lo')
    pretrain(stripes, out, resume=True, log_every=1, **{n: v for n, v in more.items() if n != "log_every"})
    assert all(np.array_equal(value, weights(out)[name]) for name, value in weights(whole).items())
    rows = [json.loads(row) for row in (out / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [2, 4, 6, 7]


def test_a_buffer_goes_on_from_the_features_it_has(
    encoder: Path, stripes: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from medcoss.library.session import Session

    monkeypatch.setattr(Session, "should_stop", lambda session: session.done > 0)
    with pytest.raises(Stopped, match="call build_buffer once more with resume=True to go on"):
        build_buffer(encoder, stripes, folder / "halted", batch_size=4, quiet=True)
    monkeypatch.undo()
    info = build_buffer(encoder, stripes, folder / "halted", resume=True, batch_size=4, quiet=True)
    assert info.role == "buffer"
    assert "resumed with the features of 4 samples" in (folder / "halted" / "log.txt").read_text()


def test_only_the_first_process_reports(
    stripes: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from medcoss.library.display import Display
    from medcoss.library.session import Session

    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    session = Session(folder / "silent", Display("pretrain", quiet=True))
    session.log("a line")
    session.metrics(1, {"loss": 1.0})
    session.artifact(stripes / "meta.json", "meta.json", "application/json")
    assert not (folder / "silent").exists()
    assert capsys.readouterr() == ("", "")
    with pytest.raises(BadInput, match="prepare runs in one process; call it in a script of its own, without torchrun"):
        prepare(stripes, folder / "silent")
