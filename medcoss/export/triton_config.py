"""The `config.pbtxt` with which Triton serves an exported model."""

from dataclasses import dataclass
from typing import Literal

from medcoss.export.signature import Signature
from medcoss.modalities import Kind
from medcoss.specs import ExportSpec

Backend = Literal["python", "onnxruntime"]
_WORKSPACE_BYTES = 2**30


@dataclass(frozen=True)
class Tensor:
    """A named input or output; `shape` is one sample's, without the batch axis."""

    name: str
    data_type: str
    shape: tuple[int, ...]

    @property
    def _dims(self) -> str:
        return f"[ {', '.join(map(str, self.shape))} ]"

    def declared(self, field: str) -> str:
        """Its entry as `input` or `output`."""
        return f'{field} [ {{ name: "{self.name}", data_type: {self.data_type}, dims: {self._dims} }} ]'

    def blank(self) -> str:
        """Zeros of its shape for a warm-up: random integers would be no word pieces."""
        value = f"{{ data_type: {self.data_type}, dims: {self._dims}, zero_data: true }}"
        return f'inputs {{ key: "{self.name}" value {value} }}'


def config_pbtxt(
    spec: ExportSpec, signature: Signature, output_shapes: dict[str, tuple[int, ...]], backend: Backend
) -> str:
    """Triton's model configuration as text.

    `output_shapes` are one sample's, without the batch axis. Requests that wait together are batched; every version
    folder is served; blank samples are run before a version counts as loaded, on ONNX Runtime the largest batch, too:
    it is then that memory is taken and engines are built. Zero threads mean one for every core that the server may use.
    """
    input_type = "TYPE_INT64" if signature.kind is Kind.TEXT else "TYPE_FP32"
    inputs = [Tensor(name, input_type, signature.sample_shape) for name in signature.input_names]
    outputs = [Tensor(name, "TYPE_FP32", output_shapes[name]) for name in signature.output_names]
    sizes = {1} if backend == "python" else {1, spec.max_batch_size}
    return "\n".join(
        [
            f'name: "{spec.name}"',
            f'backend: "{backend}"',
            f"max_batch_size: {spec.max_batch_size}",
            *(tensor.declared("input") for tensor in inputs),
            *(tensor.declared("output") for tensor in outputs),
            f"dynamic_batching {{ max_queue_delay_microseconds: {spec.queue_delay_us} }}",
            f"instance_group [ {{ count: {_instances(spec, signature, backend)}, kind: {_device(spec, backend)} }} ]",
            "version_policy { all { } }",
            'parameters { key: "intra_op_thread_count" value { string_value: "0" } }',
            *_accelerated(spec),
            *(_warm_up(inputs, size) for size in sorted(sizes)),
            "",
        ]
    )


def _device(spec: ExportSpec, backend: Backend) -> str:
    """The Python backend runs the graph on the CPU; ONNX Runtime takes a GPU where there is one, TensorRT needs it."""
    if backend == "python":
        return "KIND_CPU"
    return "KIND_GPU" if spec.accelerator == "tensorrt" else "KIND_AUTO"


def _instances(spec: ExportSpec, signature: Signature, backend: Backend) -> int:
    """Two, so that one is fed while the other computes; of volumes one: each takes memory of its own."""
    if spec.instances is not None:
        return spec.instances
    return 1 if backend == "python" or signature.kind is Kind.VOLUME3D else 2


def _accelerated(spec: ExportSpec) -> list[str]:
    if spec.accelerator == "none":
        return []
    parameters = {"precision_mode": spec.precision.upper(), "max_workspace_size_bytes": _WORKSPACE_BYTES}
    entries = " ".join(f'parameters {{ key: "{key}" value: "{value}" }}' for key, value in parameters.items())
    accelerator = f'gpu_execution_accelerator [ {{ name: "tensorrt" {entries} }} ]'
    return [f"optimization {{ execution_accelerators {{ {accelerator} }} }}"]


def _warm_up(inputs: list[Tensor], size: int) -> str:
    entries = " ".join(tensor.blank() for tensor in inputs)
    return f'model_warmup [ {{ name: "blank_{size}", batch_size: {size}, {entries} }} ]'
