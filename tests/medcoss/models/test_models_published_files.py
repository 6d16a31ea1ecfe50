"""Files of published checkpoints: every way to write one, nothing in a file is executed, what is wrong is named."""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from medcoss.models.published import export_checkpoint, read_checkpoint
from medcoss.models.published_file import file_in
from medcoss.run import BadInput
from tests.medcoss.models.checkpoints import Tensors, equal, filled, imported, medcoss_shapes, refusal, saved


@pytest.fixture(scope="module")
def whole() -> Tensors:
    return filled(medcoss_shapes())


@pytest.mark.parametrize("kind", ["bare", "older", "safetensors", "half"])
def test_other_ways_to_write_the_same_tensors(tmp_path: Path, whole: Tensors, kind: str) -> None:
    file = tmp_path / ("a.safetensors" if kind == "safetensors" else "a.pth")
    if kind == "safetensors":
        save_file(whole, file)
    elif kind == "older":
        torch.save({"model": whole}, file, _use_new_zipfile_serialization=False)
    elif kind == "half":
        torch.save({"model": {name: tensor.half() for name, tensor in whole.items()}}, file)
    else:
        torch.save(whole, file)
    folder, _, _ = imported(file)
    export_checkpoint(folder, tmp_path / "back.pth")
    expected = {name: tensor.half().float() for name, tensor in whole.items()} if kind == "half" else whole
    assert equal(read_checkpoint(tmp_path / "back.pth"), expected)


def test_tensors_that_share_their_memory(tmp_path: Path, whole: Tensors) -> None:
    shared = dict(whole)
    for part in ("weight", "bias"):
        shared[f"token_embed.embeddings_norm.{part}"] = shared[f"video_embed.embeddings_norm.{part}"]
    folder, _, _ = imported(saved(tmp_path / "a.pth", shared))
    export_checkpoint(folder, tmp_path / "back.pth")
    assert equal(read_checkpoint(tmp_path / "back.pth"), shared)


class Foreign:
    """A class of somebody's own; loading one executes its code."""

    ran = False

    def __reduce__(self) -> tuple[Any, ...]:
        return (_execute, ())


def _execute() -> None:
    Foreign.ran = True


@pytest.mark.parametrize("zipped", [True, False])
def test_objects_of_other_classes_are_not_loaded(tmp_path: Path, whole: Tensors, zipped: bool) -> None:
    file = tmp_path / "a.pth"
    torch.save({"model": whole, "args": Foreign()}, file, _use_new_zipfile_serialization=zipped)
    assert refusal(file) == (
        f"a.pth: this holds objects of {__name__}._execute, which are not loaded because that can execute code; save "
        "its tensors alone: torch.save({'model': model.state_dict()}, ...)"
    )
    assert not Foreign.ran
    torch.save({"model": nn.Linear(2, 2)}, file, _use_new_zipfile_serialization=zipped)
    assert "this holds objects of torch.nn.modules.linear.Linear, which are not loaded" in refusal(file)


def test_arguments_of_a_run_do_no_harm(tmp_path: Path, whole: Tensors) -> None:
    numbers = {"lr": np.float64(3e-4), "seed": np.int64(1), "eps": np.float32(1), "pin": np.bool_(True)}
    arguments = argparse.Namespace(output=Path("/out"), device=torch.device("cpu"), **numbers)
    file = saved(tmp_path / "a.pth", whole, args=arguments, scaler={"scale": np.float64(1)})
    assert equal(read_checkpoint(file), whole)


@pytest.mark.parametrize("zipped", [True, False])
def test_files_that_are_cut_short(tmp_path: Path, whole: Tensors, zipped: bool) -> None:
    file = tmp_path / "a.pth"
    torch.save({"model": whole}, file, _use_new_zipfile_serialization=zipped)
    content = file.read_bytes()
    for length in (0, 1, 100, len(content) // 2, len(content) - 30):
        file.write_bytes(content[:length])
        assert refusal(file) == (
            "a.pth: this is no checkpoint of PyTorch, or it is cut short; fetch the file again"
        ), length  # fmt: skip


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ([1, 2], "a.pth: this holds a list; expected tensors by name"),
        ({"model": [torch.zeros(2)]}, "a.pth: 'model' is a list; expected tensors by name"),
        ({}, "a.pth: this holds nothing beside tensors"),
        ({"model": {"a": torch.zeros(2), "b": 3}}, "a.pth: this holds b beside tensors"),
        ({"state_dict": {"a": torch.zeros(2)}, "epoch": 3}, "a.pth: this holds state_dict, epoch beside tensors"),
    ],
)
def test_files_that_hold_something_else(tmp_path: Path, content: Any, complaint: str) -> None:
    torch.save(content, tmp_path / "a.pth")
    assert refusal(tmp_path / "a.pth").startswith(complaint)


def test_a_safetensors_file_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(b"x" * 100)
    assert refusal(tmp_path / "a.safetensors").startswith("a.safetensors: this is no whole safetensors file")


def test_the_checkpoint_of_a_dataset(tmp_path: Path) -> None:
    for name in ("sub/a.pth", "vocab.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert file_in(tmp_path, None, "file") == tmp_path / "sub/a.pth"
    assert file_in(tmp_path, "vocab.txt", "vocabulary") == tmp_path / "vocab.txt"
    with pytest.raises(BadInput, match=r"file: there is no a.pth in the dataset, which holds sub/a.pth, vocab.txt"):
        file_in(tmp_path, "a.pth", "file")
    (tmp_path / "b.PT").write_bytes(b"")
    with pytest.raises(BadInput, match="file: 2 checkpoints found; expected one, or its path in the dataset, which"):
        file_in(tmp_path, None, "file")
