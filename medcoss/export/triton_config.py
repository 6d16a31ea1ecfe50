"""The `config.pbtxt` with which Triton serves an exported model."""

from typing import Literal

from medcoss.export.signature import Signature
from medcoss.modalities import Kind

Backend = Literal["python", "onnxruntime"]
QUEUE_DELAY_US = 2000


def config_pbtxt(
    name: str, signature: Signature, output_shapes: dict[str, tuple[int, ...]], backend: Backend, max_batch_size: int
) -> str:
    """Triton's model configuration as text.

    `output_shapes` are one sample's, without the batch axis. Requests that wait together are
    batched; every version folder is served; one blank sample is run before a version counts
    as loaded. Zero threads mean one for every core that the server may use.
    """
    input_type = "TYPE_INT64" if signature.kind is Kind.TEXT else "TYPE_FP32"
    inputs = [(input_name, input_type, signature.sample_shape) for input_name in signature.input_names]
    outputs = [(output_name, "TYPE_FP32", output_shapes[output_name]) for output_name in signature.output_names]
    # the Python backend runs the graph on the CPU; ONNX Runtime takes a GPU where there is one
    device = "KIND_CPU" if backend == "python" else "KIND_AUTO"
    return "\n".join(
        [
            f'name: "{name}"',
            f'backend: "{backend}"',
            f"max_batch_size: {max_batch_size}",
            *(_tensor("input", *tensor) for tensor in inputs),
            *(_tensor("output", *tensor) for tensor in outputs),
            f"dynamic_batching {{ max_queue_delay_microseconds: {QUEUE_DELAY_US} }}",
            f"instance_group [ {{ count: 1, kind: {device} }} ]",
            "version_policy { all { } }",
            'parameters { key: "intra_op_thread_count" value { string_value: "0" } }',
            _warm_up(inputs),
            "",
        ]
    )


def _dims(shape: tuple[int, ...]) -> str:
    return f"[ {', '.join(map(str, shape))} ]"


def _tensor(field: str, name: str, data_type: str, shape: tuple[int, ...]) -> str:
    return f'{field} [ {{ name: "{name}", data_type: {data_type}, dims: {_dims(shape)} }} ]'


def _warm_up(inputs: list[tuple[str, str, tuple[int, ...]]]) -> str:
    """One sample of zeros: random integers would be no word pieces."""
    entries = " ".join(
        f'inputs {{ key: "{name}" value {{ data_type: {data_type}, dims: {_dims(shape)}, zero_data: true }} }}'
        for name, data_type, shape in inputs
    )
    return f'model_warmup [ {{ name: "blank", batch_size: 1, {entries} }} ]'
