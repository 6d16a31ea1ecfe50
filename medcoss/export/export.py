"""An `export` job: a trained model becomes a version in Triton's model repository."""

import math
import shutil
from pathlib import Path

import numpy as np

from medcoss.export.graph import largest_difference, run_torch, write_onnx
from medcoss.export.signature import Arrays, Signature, served
from medcoss.export.triton_config import Backend, config_pbtxt
from medcoss.models.registry import load_model
from medcoss.run import BadInput, RunContext, Stopped
from medcoss.specs import ExportSpec
from medcoss.specs.records import DeploymentInfo, ModelInfo

STEPS = 4
TRITON_MODEL = Path(__file__).with_name("triton_model.py")


def export(
    spec: ExportSpec, model_dir: Path, output_dir: Path, backend: Backend, version: int, context: RunContext
) -> DeploymentInfo:
    """Write `output_dir/<name>/` for Triton and `output_dir/golden.npz` with one input and PyTorch's answer.

    The folder holds `config.pbtxt`, `<version>/model.onnx`, for the Python backend
    `<version>/model.py`, and for text `vocab.txt`. Raises BadInput when the modality is not clear or when
    ONNX Runtime's answers differ from PyTorch's by more than `spec.tolerance`; Stopped when asked to stop.
    """
    _step(context, 0, "reading the model")
    module, info = load_model(model_dir)
    module, signature = served(spec, module, info)
    module.eval()
    model_folder = output_dir / spec.name
    version_folder = model_folder / str(version)
    version_folder.mkdir(parents=True, exist_ok=True)

    _step(context, 1, "writing the ONNX graph")
    graph = version_folder / "model.onnx"
    write_onnx(module, signature, graph)

    _step(context, 2, "comparing ONNX Runtime with PyTorch")
    difference = largest_difference(module, signature, graph)
    context.metrics(0, {"max_difference": difference if math.isfinite(difference) else -1.0})
    if not difference <= spec.tolerance:
        raise BadInput(
            f"the ONNX graph's answers differ from PyTorch's by {difference:.3g}, more than {spec.tolerance:.3g}; "
            "allow more, or train the model again if its outputs are not finite",
            "/spec/tolerance",
        )

    _step(context, 3, "writing Triton's files")
    inputs = signature.samples(1, seed=0)
    expected = run_torch(module, signature, inputs)
    _write_repository(spec, signature, expected, backend, model_folder, version_folder, model_dir)
    np.savez(output_dir / "golden.npz", **inputs, **{f"expected_{name}": v for name, v in expected.items()})
    context.progress(STEPS, STEPS, f"version {version} of {spec.name}, largest difference {difference:.2g}")
    return _deployment(spec, info, signature, version, difference)


def _step(context: RunContext, done: int, what: str) -> None:
    if context.should_stop():
        raise Stopped
    context.progress(done, STEPS, what)


def _write_repository(
    spec: ExportSpec,
    signature: Signature,
    expected: Arrays,
    backend: Backend,
    model_folder: Path,
    version_folder: Path,
    model_dir: Path,
) -> None:
    shapes = {name: values.shape[1:] for name, values in expected.items()}
    config = config_pbtxt(spec.name, signature, shapes, backend, spec.max_batch_size)
    (model_folder / "config.pbtxt").write_text(config, encoding="utf-8")
    if backend == "python":
        shutil.copyfile(TRITON_MODEL, version_folder / "model.py")
    if signature.vocabulary:
        shutil.copyfile(model_dir / "vocab.txt", model_folder / "vocab.txt")


def _deployment(
    spec: ExportSpec, info: ModelInfo, signature: Signature, version: int, difference: float
) -> DeploymentInfo:
    return DeploymentInfo(
        name=spec.name,
        task=info.task,
        modality=signature.modality,
        kind=signature.kind,
        triton_model=spec.name,
        version=version,
        classes=info.classes,
        sample_shape=list(signature.sample_shape),
        recipe=signature.recipe,
        input_names=signature.input_names,
        output_names=signature.output_names,
        max_difference=difference,
    )
