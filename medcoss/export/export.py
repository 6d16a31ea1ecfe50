"""An `export` job: a trained model becomes a version in Triton's model repository."""

import math
import shutil
from pathlib import Path
from typing import Literal

from medcoss.export import golden
from medcoss.export.graph import OPSET, largest_difference, run_torch, to_half, write_onnx
from medcoss.export.signature import Arrays, Signature, served
from medcoss.export.triton_config import Backend, config_pbtxt
from medcoss.models.registry import load_model
from medcoss.run import BadInput, RunContext, Stopped
from medcoss.specs import ExportSpec
from medcoss.specs.records import GOLDEN, DeploymentInfo, ModelInfo

STEPS = 4
TRITON_MODEL = Path(__file__).with_name("triton_model.py")


def export(
    spec: ExportSpec, model_dir: Path, output_dir: Path, backend: Backend, version: int, context: RunContext,
    dataset: Path | None = None,
) -> DeploymentInfo:  # fmt: skip
    """Write `output_dir/<name>/` for Triton.

    The folder holds `config.pbtxt`, `<version>/model.onnx`, for the Python backend `<version>/model.py`, for text
    `vocab.txt`, and `golden.npz`: inputs, of samples of the prepared `dataset` where it is given, and PyTorch's
    outputs. Raises BadInput when the modality is not clear, when the backend has no such accelerator, or when ONNX
    Runtime's answers differ from PyTorch's by more than the tolerance; Stopped when asked to stop.
    """
    if backend == "python" and spec.accelerator != "none":
        raise BadInput(
            f"this platform's Triton runs models on the CPU and has no '{spec.accelerator}'; export without an "
            "accelerator", "/spec/accelerator",
        )  # fmt: skip
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
    if spec.precision == "fp16":
        to_half(graph)

    _step(context, 2, "comparing ONNX Runtime with PyTorch")
    inputs, source = golden.golden_inputs(signature, dataset, model_dir / "vocab.txt", spec.max_batch_size)
    if dataset is not None and source != "dataset":
        context.log("no sample of the dataset is as large as the model's input: random inputs are compared", "warning")
    difference = largest_difference(module, signature, graph, inputs)
    context.metrics(0, {"max_difference": difference if math.isfinite(difference) else -1.0})
    if not difference <= spec.allowed_difference:
        raise BadInput(
            f"the ONNX graph's answers differ from PyTorch's by {difference:.3g}, more than "
            f"{spec.allowed_difference:.3g}; allow more, or train the model again if its outputs are not finite",
            "/spec/tolerance",
        )

    _step(context, 3, "writing Triton's files")
    expected = run_torch(module, signature, inputs)
    _write_repository(spec, signature, expected, backend, model_folder, version_folder, model_dir)
    golden.save(model_folder / GOLDEN, inputs, expected)
    context.progress(STEPS, STEPS, f"version {version} of {spec.name}, largest difference {difference:.2g}")
    return _deployment(spec, info, signature, backend, version, difference, source)


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
    config = config_pbtxt(spec, signature, shapes, backend)
    (model_folder / "config.pbtxt").write_text(config, encoding="utf-8")
    if backend == "python":
        shutil.copyfile(TRITON_MODEL, version_folder / "model.py")
    if signature.vocabulary:
        shutil.copyfile(model_dir / "vocab.txt", model_folder / "vocab.txt")


def _deployment(
    spec: ExportSpec, info: ModelInfo, signature: Signature, backend: Backend, version: int, difference: float,
    source: Literal["dataset", "random"],
) -> DeploymentInfo:  # fmt: skip
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
        # an encoder's inputs are prepared by recipes that conclude nothing
        findings=None if info.task == "encoder" else info.findings,
        postprocess=info.postprocess,
        input_names=signature.input_names,
        output_names=signature.output_names,
        max_difference=difference,
        tolerance=spec.allowed_difference,
        precision=spec.precision,
        accelerator=spec.accelerator,
        backend=backend,
        opset=OPSET,
        golden=source,
    )
