"""PyTorch module to ONNX, and the proof that both give the same numbers."""

from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch import nn

from medcoss.export.signature import Arrays, Signature

OPSET = 18


def write_onnx(module: nn.Module, signature: Signature, path: Path) -> None:
    """Trace `module` with a free batch size and write one self-contained ONNX file."""
    # a batch of one would be traced as a constant
    example = tuple(torch.from_numpy(array) for array in signature.samples(2, seed=0).values())
    inputs = tuple({0: torch.export.Dim.DYNAMIC} for _ in example)
    program = torch.onnx.export(
        module,
        example,
        dynamo=True,
        # the shapes follow the structure of the arguments
        dynamic_shapes=(inputs,) if _takes_variadic(module) else inputs,
        opset_version=OPSET,
        verbose=False,
    )
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


def run_onnx(path: Path, signature: Signature, inputs: Arrays) -> Arrays:
    """Outputs of the ONNX file by name, on the CPU."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return dict(zip(signature.output_names, session.run(signature.output_names, inputs), strict=True))


def largest_difference(module: nn.Module, signature: Signature, path: Path) -> float:
    """Largest absolute difference of any output value on random batches of 1 and 3; infinite when shapes differ."""
    worst = 0.0
    for batch in (1, 3):
        inputs = signature.samples(batch, seed=batch)
        expected, found = run_torch(module, signature, inputs), run_onnx(path, signature, inputs)
        for name, values in expected.items():
            if values.shape != found[name].shape:
                return float("inf")
            difference = np.abs(values - found[name]).max()
            worst = max(worst, float(difference) if np.isfinite(difference) else float("inf"))
    return worst
