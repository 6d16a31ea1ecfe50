"""Exported graphs answer as the PyTorch models do, at any batch size."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from medcoss.export.export import export
from medcoss.models.registry import encoder_for, load_model
from medcoss.run import BadInput, LocalRun, Stopped
from medcoss.specs import ExportSpec
from medcoss.specs.records import DeploymentInfo
from tests.medcoss.export.small_models import write_model

MODEL_ID = "mdl_0123456789abcdef"


def spec(**values: object) -> ExportSpec:
    return ExportSpec(**({"model": MODEL_ID, "name": "served"} | values))


def run_graph(path: Path, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs), strict=True))


def golden_agrees(output: Path, info: DeploymentInfo) -> dict[str, np.ndarray]:
    """The golden arrays, after comparing them with the graph on disk."""
    with np.load(output / info.triton_model / "golden.npz") as arrays:
        golden = dict(arrays)
    found = run_graph(
        output / info.triton_model / str(info.version) / "model.onnx", {name: golden[name] for name in info.input_names}
    )
    assert list(found) == info.output_names
    for name, values in found.items():
        assert values == pytest.approx(golden[f"expected_{name}"], abs=1e-4)
    return golden


def test_classifier(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", "classification", ["xray"], ["a", "b", "c"])
    run = LocalRun(tmp_path / "run")
    info = export(spec(), folder, tmp_path / "out", "python", 3, run)
    assert (info.task, info.modality, info.version, info.classes) == ("classification", "xray", 3, ["a", "b", "c"])
    assert (info.input_names, info.output_names) == (["image"], ["logits", "embedding"])
    assert info.sample_shape == [3, 64, 64]
    assert 0 <= info.max_difference < 1e-4
    golden = golden_agrees(tmp_path / "out", info)
    assert golden["image"].shape == (1, 3, 64, 64)
    assert golden["expected_embedding"].shape == (1, 48)
    assert (tmp_path / "out" / "served" / "3" / "model.py").is_file()
    assert run.done == (4, 4)

    module, _ = load_model(folder)
    images = np.random.default_rng(5).random((7, 3, 64, 64), dtype=np.float32)
    with torch.inference_mode():
        logits, embedding = module(torch.from_numpy(images))
    found = run_graph(tmp_path / "out" / "served" / "3" / "model.onnx", {"image": images})
    assert found["logits"] == pytest.approx(logits.numpy(), abs=1e-4)
    assert found["embedding"] == pytest.approx(embedding.numpy(), abs=1e-4)
    assert np.ptp(found["logits"], axis=0).max() > 1e-3, "the samples of a batch have answers of their own"


def test_volume_segmenter(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", "segmentation", ["xray", "mr"], ["atrium", "wall"])
    info = export(spec(max_batch_size=4), folder, tmp_path / "out", "onnxruntime", 1, LocalRun(tmp_path / "run"))
    assert (info.modality, info.sample_shape, info.output_names) == ("mr", [1, 16, 32, 48], ["logits"])
    golden = golden_agrees(tmp_path / "out", info)
    assert golden["expected_logits"].shape == (1, 2, 16, 32, 48)
    config = (tmp_path / "out" / "served" / "config.pbtxt").read_text()
    assert 'backend: "onnxruntime"' in config
    assert "max_batch_size: 4" in config
    assert "dims: [ 2, 16, 32, 48 ]" in config
    assert not (tmp_path / "out" / "served" / "1" / "model.py").exists()


def test_text_encoder_among_several_modalities(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", "encoder", ["report", "xray"])
    info = export(spec(modality="report"), folder, tmp_path / "out", "python", 1, LocalRun(tmp_path / "run"))
    assert (info.modality, info.kind, info.sample_shape) == ("report", "text", [112])
    assert info.input_names == ["input_ids", "attention_mask"]
    assert info.recipe["name"] == "openi_reports"
    golden_agrees(tmp_path / "out", info)
    assert (tmp_path / "out" / "served" / "vocab.txt").read_bytes() == (folder / "vocab.txt").read_bytes()

    module, model_info = load_model(folder)
    ids = np.zeros((2, 112), np.int64)
    ids[0, :5], ids[1, :90] = [2, 7, 8, 9, 3], np.arange(5, 95)
    attention = (ids != 0).astype(np.int64)
    with torch.inference_mode():
        expected = encoder_for(module, model_info, "report")(torch.from_numpy(ids), torch.from_numpy(attention))
    found = run_graph(tmp_path / "out" / "served" / "1" / "model.onnx", {"input_ids": ids, "attention_mask": attention})
    assert found["embedding"] == pytest.approx(expected.numpy(), abs=1e-4)


def test_encoder_of_several_modalities_must_be_told_which(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", "encoder", ["xray", "mr"])
    with pytest.raises(BadInput, match=r"several modalities \(xray, mr\)") as caught:
        export(spec(), folder, tmp_path / "out", "python", 1, LocalRun(tmp_path))
    assert caught.value.where == "/spec/modality"
    with pytest.raises(BadInput, match="learnt xray, mr, not 'ct'") as caught:
        export(spec(modality="ct"), folder, tmp_path / "out", "python", 1, LocalRun(tmp_path))
    assert caught.value.where == "/spec/modality"
    assert not (tmp_path / "out").exists()


def test_classifier_of_another_modality(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", "classification", ["mr", "xray"], ["a", "b"])
    with pytest.raises(BadInput, match="reads xray, not 'mr'"):
        export(spec(modality="mr"), folder, tmp_path / "out", "python", 1, LocalRun(tmp_path))


def test_difference_above_the_tolerance(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", "encoder", ["xray"])
    with pytest.raises(BadInput, match="differ from PyTorch's by") as caught:
        export(spec(tolerance=1e-12), folder, tmp_path / "out", "python", 1, LocalRun(tmp_path))
    assert caught.value.where == "/spec/tolerance"


def test_asked_to_stop(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", "encoder", ["xray"])
    with pytest.raises(Stopped):
        export(spec(), folder, tmp_path / "out", "python", 1, LocalRun(tmp_path, stop_requested=True))
