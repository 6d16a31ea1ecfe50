"""PyTorch module to ONNX, and the proof that both give the same numbers."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from onnxruntime.transformers.float16 import convert_float_to_float16
from torch import nn

from medcoss.export.signature import Arrays, Signature

# the newest that ONNX Runtime of the Triton container knows as a whole
OPSET = 21


def write_onnx(module: nn.Module, signature: Signature, path: Path) -> None:
    """Trace `module` with a free batch size and write one self-contained ONNX file."""
    # a batch of one would be traced as a constant
    example = tuple(torch.from_numpy(array) for array in signature.samples(2, seed=0).values())
    inputs = tuple({0: torch.export.Dim.DYNAMIC} for _ in example)
    with torch.no_grad():
        # captured here: torch.onnx.export would try the non-strict way first, which takes the batch for a constant
        captured = torch.export.export(
            module,
            example,
            # the shapes follow the structure of the arguments
            dynamic_shapes=(inputs,) if _takes_variadic(module) else inputs,
            strict=True,
        )
    program = torch.onnx.export(captured, dynamo=True, opset_version=OPSET, verbose=False)
    graph = program.model.graph
    # inner values are numbered first: one of them may have the name that an output is to get
    for number, value in enumerate(value for node in graph for value in node.outputs):
        value.name = f"value_{number}"
    for names, values in ((signature.input_names, graph.inputs), (signature.output_names, graph.outputs)):
        for name, value in zip(names, values, strict=True):
            value.name = name
    program.save(str(path), external_data=False)


def _takes_variadic(module: nn.Module) -> bool:
    """True when forward is declared with `*inputs`."""
    return bool(module.forward.__code__.co_flags & 0x04)


def run_torch(module: nn.Module, signature: Signature, inputs: Arrays) -> Arrays:
    """Outputs of the PyTorch module by name."""
    with torch.inference_mode():
        found = module(*(torch.from_numpy(inputs[name]) for name in signature.input_names))
    tensors = found if isinstance(found, tuple) else (found,)
    return {name: t.numpy() for name, t in zip(signature.output_names, tensors, strict=True)}


def to_half(path: Path) -> None:
    """Have the ONNX file compute in numbers of 16 bits; its inputs and outputs stay as they are."""
    onnx.save(convert_float_to_float16(onnx.load(str(path)), keep_io_types=True), str(path))


def largest_difference(module: nn.Module, signature: Signature, path: Path, golden: Arrays) -> float:
    """Largest absolute difference of any output value on random batches of 1 and 3 and on `golden`; infinite when
    shapes differ.
    """
    given = [*(signature.samples(batch, seed=batch) for batch in (1, 3)), golden]
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    worst = 0.0
    for inputs in given:
        expected = run_torch(module, signature, inputs)
        found = dict(zip(signature.output_names, session.run(signature.output_names, inputs), strict=True))
        for name, values in expected.items():
            if values.shape != found[name].shape:
                return float("inf")
            difference = np.abs(values - found[name]).max()
            worst = max(worst, float(difference) if np.isfinite(difference) else float("inf"))
    return worst
