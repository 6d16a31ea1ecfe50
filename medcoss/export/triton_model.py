"""Runs `model.onnx` beside this file with ONNX Runtime, inside Triton's Python backend.

Triton copies of this file stand alone: nothing of medcoss is imported.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import triton_python_backend_utils as pb_utils


def _report_unraisable(problem: Any) -> None:
    """Report what cannot be raised, but for one complaint at every answer.

    The backend takes over NumPy's capsules under a name that NumPy does not expect when it lets go of them.
    """
    if "PyCapsule_GetPointer called with incorrect name" not in str(problem.exc_value):
        sys.__unraisablehook__(problem)


class TritonPythonModel:
    """One instance of one model version."""

    def initialize(self, args: dict[str, str]) -> None:
        """Open the graph; the configuration says how many threads it may use, 0 for all cores."""
        sys.unraisablehook = _report_unraisable
        config = json.loads(args["model_config"])
        threads = int(config["parameters"]["intra_op_thread_count"]["string_value"])
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or len(os.sched_getaffinity(0))
        # an idle model leaves the cores to the others
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self.inputs = [entry["name"] for entry in config["input"]]
        self.outputs = [entry["name"] for entry in config["output"]]
        self.session = onnxruntime.InferenceSession(
            str(Path(__file__).with_name("model.onnx")), options, providers=["CPUExecutionProvider"]
        )

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer all waiting requests with one run of the graph.

        Tensors pass as DLPack: a backend that was built before NumPy 2 misreads NumPy's own arrays.
        """
        batches = [
            {name: np.from_dlpack(pb_utils.get_input_tensor_by_name(request, name)) for name in self.inputs}
            for request in requests
        ]
        sizes = [len(batch[self.inputs[0]]) for batch in batches]
        joined = {name: np.concatenate([batch[name] for batch in batches]) for name in self.inputs}
        try:
            found = self.session.run(self.outputs, joined)
        except Exception as error:  # noqa: BLE001 - ONNX Runtime raises many types; each request must get an answer
            failure = pb_utils.TritonError(f"{type(error).__name__}: {error}")
            return [pb_utils.InferenceResponse(error=failure) for _ in requests]
        ends = np.cumsum(sizes)[:-1]
        parts = [np.split(values, ends) for values in found]
        return [
            pb_utils.InferenceResponse(
                [pb_utils.Tensor.from_dlpack(name, part[i]) for name, part in zip(self.outputs, parts, strict=True)]
            )
            for i in range(len(requests))
        ]
