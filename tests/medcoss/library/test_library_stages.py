"""The library's functions on folders: what they write, hand back, refuse and resume."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file

import medcoss
from medcoss import build_buffer, finetune, prepare, pretrain
from medcoss.data import fingerprints
from medcoss.data.fingerprints import fingerprint
from medcoss.data.shards import ShardReader
from medcoss.data.tokenizer import SPECIAL
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
    nothing = {"init_model": None, "rehearsal": [], "joint": [], "vocabulary": None, "measured_on": []}
    assert told["sha256"] == {"data": fingerprint(stripes), **nothing}
    assert told["inputs"] == {"data": str(stripes), **nothing}
    given = {n: v for n, v in SHORT.items() if n != "quiet"}
    assert told["options"] == PretrainOptions(**given).model_dump(mode="json")
    rows = [json.loads(row) for row in (encoder / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [2, 4]
    assert all(row["loss/xray"] > 0 for row in rows)
    assert (encoder / "artifacts" / "reconstruction_xray.png").is_file()


def test_outputs_are_the_next_calls_inputs(folder: Path, images: Path, sentences: Path) -> None:
    # a number is a patient: without a pattern, a warning stands in log.txt
    known = {"labels": "folders", "patient_pattern": "([0-9]+)[.]png$"}
    prepared = prepare(images, folder / "prepared", size=(32, 32), quiet=True, **known)
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


def interrupted(stops: pytest.MonkeyPatch, call: Callable[[], Any]) -> None:
    """A call that is stopped after its first step."""
    from medcoss.library.session import Session

    with stops.context() as patch:
        patch.setattr(Session, "should_stop", lambda session: session.done > 0)
        with pytest.raises(Stopped):
            call()


def dark(images: Path, folder: Path) -> Path:
    """Other images under the same names."""
    for path in images.rglob("*.png"):
        target = folder / path.relative_to(images)
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.asarray(Image.open(path)) // 2).save(target)
    return folder


def test_a_run_goes_on_only_with_what_it_began_with(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small, out = {"size": (32, 32), "quiet": True}, tmp_path / "out"
    prepare(images, tmp_path / "data", **small)
    interrupted(monkeypatch, lambda: pretrain(tmp_path / "data", out, **SHORT))
    prepare(dark(images, tmp_path / "dark"), tmp_path / "data", overwrite=True, **small)
    with pytest.raises(BadInput) as refusal:
        pretrain(tmp_path / "data", out, resume=True, **SHORT)
    assert str(refusal.value) == (
        f"data: {tmp_path}/data/dataset does not hold what the run in {out} began with; give that to go on with it, "
        "overwrite=True to start again, or choose another folder"
    )
    # what it began with may lie elsewhere
    prepare(images, tmp_path / "moved", **small)
    assert pretrain(tmp_path / "moved", out, resume=True, **SHORT).stage == 1
    prepare(tmp_path / "dark", tmp_path / "other", **small)
    with pytest.raises(BadInput, match=r"data: .*/other/dataset does not hold .* began with, .*/data/dataset; give"):
        pretrain(tmp_path / "other", out, resume=True, **SHORT)


def test_another_encoder_or_vocabulary_in_the_same_place_is_another_input(
    encoder: Path, stripes: Path, sentences: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(encoder / "model", tmp_path / "model")
    words = tmp_path / "words.txt"
    words.write_text("\n".join([*SPECIAL, "the", "lungs"]))

    def call(**more: Any) -> ModelInfo:
        more |= {"init_model": tmp_path / "model", "rehearsal": [stripes], "vocabulary": words}
        return pretrain(sentences, tmp_path / "out", **more, **SHORT)

    interrupted(monkeypatch, call)
    words.write_text("\n".join([*SPECIAL, "the", "heart"]))
    with pytest.raises(BadInput, match=r"vocabulary: .*words\.txt does not hold what the run in .* began with; give"):
        call(resume=True)
    words.write_text("\n".join([*SPECIAL, "the", "lungs"]))
    tensors = load_file(tmp_path / "model" / "model.safetensors")
    save_file({name: value * 2 for name, value in tensors.items()}, tmp_path / "model" / "model.safetensors")
    with pytest.raises(BadInput, match=r"init_model: .*/model does not hold what the run in"):
        call(resume=True)
    shutil.copytree(encoder / "model", tmp_path / "model", dirs_exist_ok=True)
    assert call(resume=True).modalities == ["xray", "report"]


def test_runs_of_earlier_versions_are_compared_by_path(encoder: Path, stripes: Path, tmp_path: Path) -> None:
    shutil.copytree(encoder, tmp_path / "old")
    told = json.loads((tmp_path / "old" / "options.json").read_text())
    del told["sha256"]
    (tmp_path / "old" / "options.json").write_text(json.dumps(told))
    assert pretrain(stripes, tmp_path / "old", resume=True, **SHORT).stage == 1
    shutil.copytree(stripes, tmp_path / "copy")
    with pytest.raises(BadInput, match=r"resume: the run in .*old has data '.*', not '.*copy'; give the same"):
        pretrain(tmp_path / "copy", tmp_path / "old", resume=True, **SHORT)


def test_large_images_are_known_by_their_size_and_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fingerprints, "_PARTS", 3)
    monkeypatch.setattr(fingerprints, "_PART", 4)
    content = bytes(range(40))
    (tmp_path / "meta.json").write_text("{}")

    def found(images: bytes) -> str | None:
        (tmp_path / "images.b2nd").write_bytes(images)
        return fingerprint(tmp_path)

    same = found(content)
    assert same == found(content)
    for place in (0, 3, 18, 21, 36, 39):
        assert found(content[:place] + b"x" + content[place + 1 :]) != same
    assert found(content + b"x") != same
    assert fingerprint(tmp_path / "nowhere") is None


def test_errors_name_the_argument(folder: Path, images: Path, stripes: Path, tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    with pytest.raises(BadInput, match=r"^raw: the dataset holds no PNG"):
        prepare(tmp_path / "raw", tmp_path / "a", quiet=True)
    with pytest.raises(BadInput, match=r"^data: the dataset has no masks"):
        finetune(stripes, tmp_path / "b", "segmentation", **SHORT)


def test_what_the_model_decides_is_not_an_option(encoder: Path, stripes: Path, tmp_path: Path) -> None:
    quick = {n: v for n, v in SHORT.items() if n != "size"} | {"max_steps": 1}
    pretrain(stripes, tmp_path / "a", init_model=encoder, **quick)
    assert "ignored" not in (tmp_path / "a" / "log.txt").read_text()
    more = {"size": "base", "positions": "flat", "attention": "bidirectional"}
    pretrain(stripes, tmp_path / "b", init_model=encoder, **more, **quick)
    told = (tmp_path / "b" / "log.txt").read_text()
    assert "warning: size='base' is ignored: init_model has size 'tiny'" in told
    assert "warning: positions='flat' is ignored: init_model has positions 'grid'" in told
    assert "attention=" not in told
    finetune(stripes, tmp_path / "c", "classification", init_model=encoder, size="base", **quick)
    assert "warning: size='base' is ignored" in (tmp_path / "c" / "log.txt").read_text()


def test_a_buffer_counts_once_and_is_no_source_of_buffers(encoder: Path, stripes: Path, tmp_path: Path) -> None:
    build_buffer(encoder, stripes, tmp_path / "buffer", buffer_fraction=0.5, quiet=True)
    with pytest.raises(BadInput, match=r"^data: this is a rehearsal buffer itself; give the prepared dataset that it"):
        build_buffer(encoder, tmp_path / "buffer", tmp_path / "second", quiet=True)
    twice = [tmp_path / "buffer", tmp_path / "buffer" / "dataset"]
    with pytest.raises(BadInput, match=r"^rehearsal: the same buffer is given twice, its samples would count twice"):
        pretrain(stripes, tmp_path / "out", init_model=encoder, rehearsal=twice, **SHORT)


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
