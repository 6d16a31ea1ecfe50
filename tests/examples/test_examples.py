"""The examples and the lines of docs/library.md run as they stand, and leave what they say."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from medcoss.data.shards import ShardReader
from medcoss.models.registry import load_model, read_info
from medcoss.phantoms import reports, xray

REPOSITORY = Path(__file__).resolve().parents[2]
EXAMPLES = REPOSITORY / "examples"


def run(name: str, *arguments: object, fails: bool = False) -> str:
    """What an example prints, as a user would start it in a shell: stdout, or stderr when it fails."""
    command = [sys.executable, str(EXAMPLES / name), *map(str, arguments)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    assert (done.returncode != 0) == fails, done.stderr
    return done.stderr if fails else done.stdout


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of all examples, after the one that makes what the others take."""
    folder = tmp_path_factory.mktemp("examples") / "output"
    printed = run("build_buffer.py", folder)
    assert "the encoder knows xray\n" in printed
    assert "stage 2: the encoder knows xray, report\n" in printed
    return folder


def test_pretrain(out: Path) -> None:
    # the run is there, of the example that needed it: the same line hands it back
    assert "the encoder knows xray" in run("pretrain.py", out)
    module, info = load_model(out / "encoder" / "model")
    assert (info.task, info.size, info.modalities) == ("encoder", "tiny", ["xray"])
    assert sum(p.numel() for p in module.parameters()) > 1e6
    rows = [json.loads(row) for row in (out / "encoder" / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["step"] == 20
    assert rows[-1]["loss/xray"] < rows[0]["loss/xray"]
    assert (out / "encoder" / "artifacts" / "reconstruction_xray.png").is_file()
    assert "has max_steps 20, not 21" in run("pretrain.py", out, "--steps", 21, fails=True)


def test_build_buffer(out: Path) -> None:
    whole, kept = ShardReader(out / "xray" / "dataset"), ShardReader(out / "buffer" / "dataset")
    assert kept.info.role == "buffer"
    chosen = {row.source for row in kept.rows}
    assert len(chosen) == len(kept) == kept.info.samples
    assert chosen < {row.source for row in whole.rows if row.split == "train"}
    assert read_info(out / "encoder2" / "model").modalities == ["xray", "report"]
    assert "distill/xray" in (out / "encoder2" / "metrics.jsonl").read_text()


def test_finetune(out: Path) -> None:
    printed = run("finetune.py", out)
    assert "classification of xray: effusion, normal, pneumonia" in printed
    info = read_info(out / "classification" / "model")
    assert f"val/accuracy     {info.metrics['val/accuracy']:.3f}" in printed
    told = json.loads((out / "classification" / "options.json").read_text())
    assert told["inputs"]["init_model"] == str(out / "encoder" / "model")


def test_embed(out: Path) -> None:
    printed = run("embed.py", out)
    rows = np.load(out / "embeddings.npy")
    assert (rows.shape, rows.dtype) == ((12, 192), np.float32)
    assert np.isfinite(rows).all()
    assert len(np.unique(rows.round(5), axis=0)) == 12
    assert printed.count(" is most like ") == 12


def test_the_page_about_the_library_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                         capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    page = (REPOSITORY / "docs" / "library.md").read_text()
    for item in [*xray.items(seed=0)[::6], *reports.items(seed=0)]:
        item.write(tmp_path / "sample-data")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```", page, re.M | re.S)
    assert len(blocks) >= 7
    names: dict[str, object] = {}
    for block in blocks:
        exec(block, names)  # the page is ours
    (tree,) = re.findall(r"^```\nwork/encoder/\n(.*?)^```", page, re.M | re.S)
    told = {line.split()[0].rstrip("/") for line in tree.splitlines()}
    # checkpoints come with time or when the run is stopped, parts are of prepare
    made = {p.name for p in Path("work/encoder").iterdir() if not p.name.startswith(".")}
    assert made | {"checkpoints", "parts"} == told
    said = re.findall(r"print\(error\)  # (.*)", page)
    assert said == [capsys.readouterr().out.splitlines()[-1]]
    assert names["rows"].shape == (len(names["files"]), 192)  # type: ignore[attr-defined,arg-type]
    assert Path("work/encoder/model/model.safetensors").stat().st_size > 1e6


def test_every_example_is_on_the_page_and_short() -> None:
    listed = (EXAMPLES / "README.md").read_text()
    scripts = sorted(EXAMPLES.glob("*.py"))
    assert [p.name for p in scripts] == ["build_buffer.py", "embed.py", "finetune.py", "pretrain.py"]
    for script in scripts:
        assert f"`python examples/{script.name}`" in listed
        assert len(script.read_text().splitlines()) < 60
