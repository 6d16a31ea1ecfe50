"""What a served model is compared with PyTorch on, and how Triton is told to run it."""

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from google.protobuf import text_format

from medcoss.data.shards import ShardReader
from medcoss.data.tokenizer import Tokenizer
from medcoss.export.export import export
from medcoss.export.golden import golden_inputs
from medcoss.export.signature import Signature
from medcoss.export.triton_config import Backend, config_pbtxt
from medcoss.modalities import Kind
from medcoss.run import BadInput, LocalRun
from tests.medcoss.export.small_models import VOCABULARY, write_model
from tests.medcoss.export.test_export import run_graph, spec
from tests.medcoss.training.small import reports, volumes, xrays


def test_half_precision_on_samples_of_the_models_dataset(tmp_path: Path) -> None:
    model = write_model(tmp_path / "model", "classification", ["xray"], ["a", "b"])
    dataset = xrays(tmp_path / "dataset", 6, (64, 64))
    chosen = spec(precision="fp16", max_batch_size=2)
    info = export(chosen, model, tmp_path / "out", "onnxruntime", 1, LocalRun(tmp_path / "run"), dataset)
    assert (info.golden, info.precision, info.tolerance) == ("dataset", "fp16", 0.02)
    assert info.max_difference is not None and 1e-5 < info.max_difference < 0.02
    with np.load(tmp_path / "out" / "served" / "golden.npz") as stored:
        images, expected = stored["image"], stored["expected_logits"]
    reader = ShardReader(dataset)
    assert np.array_equal(images, np.stack([reader.image(0), reader.image(len(reader) - 1)]))
    graph = tmp_path / "out" / "served" / "1" / "model.onnx"
    found = run_graph(graph, {"image": images})["logits"]
    assert found.dtype == np.float32 and found == pytest.approx(expected, abs=0.02)
    kept = onnx.load(str(graph))
    halves = sum(tensor.data_type == onnx.TensorProto.FLOAT16 for tensor in kept.graph.initializer)
    assert halves > len(kept.graph.initializer) / 2
    assert kept.opset_import[0].version == info.opset == 21


def test_inputs_of_reports_and_of_the_middle_of_volumes(tmp_path: Path) -> None:
    vocabulary = tmp_path / "vocab.txt"
    vocabulary.write_text("\n".join(VOCABULARY) + "\n")
    text = Signature("encoder", "report", Kind.TEXT, (112,), {}, len(VOCABULARY))
    dataset = reports(tmp_path / "reports", 9)
    found, source = golden_inputs(text, dataset, vocabulary, 8)
    expected = Tokenizer(vocabulary).encode(ShardReader(dataset).text(0))
    assert (source, found["input_ids"].shape, found["input_ids"].dtype) == ("dataset", (4, 112), np.int64)
    assert np.array_equal(found["input_ids"][0], expected.ids)
    assert np.array_equal(found["attention_mask"][0], expected.attention)

    whole = ShardReader(volumes(tmp_path / "volumes", 3))
    depth, height, width = whole.image(0).shape[1:]
    window = Signature("encoder", "mr", Kind.VOLUME3D, (1, depth, height, width - 4), {})
    cut, source = golden_inputs(window, whole.root, vocabulary, 1)
    assert source == "dataset" and np.array_equal(cut["image"][0], whole.image(0)[..., 2:-2])
    larger = Signature("encoder", "mr", Kind.VOLUME3D, (1, depth + 1, height, width), {})
    assert golden_inputs(larger, whole.root, vocabulary, 1)[1] == "random"


def parsed(config: str) -> Any:
    """A configuration as Triton's own definition of it reads the text; what that does not know is an error."""
    # its package wants gRPC, of which nothing is needed here
    package = importlib.util.find_spec("tritonclient")
    assert package is not None and package.origin is not None
    definition = Path(package.origin).parent / "grpc" / "model_config_pb2.py"
    spec_of = importlib.util.spec_from_file_location("model_config_pb2", definition)
    assert spec_of is not None and spec_of.loader is not None
    module = importlib.util.module_from_spec(spec_of)
    spec_of.loader.exec_module(module)
    return text_format.Parse(config, module.ModelConfig())


def test_tensorrt_is_told_to_triton_and_refused_where_there_is_none(tmp_path: Path) -> None:
    image = Signature("classification", "xray", Kind.IMAGE2D, (3, 64, 64), {})
    chosen = spec(accelerator="tensorrt", precision="fp16", max_batch_size=16, queue_delay_us=100)
    config = parsed(config_pbtxt(chosen, image, {"logits": (2,), "embedding": (48,)}, "onnxruntime"))
    assert (config.name, config.backend, config.max_batch_size) == ("served", "onnxruntime", 16)
    (accelerator,) = config.optimization.execution_accelerators.gpu_execution_accelerator
    # the keys of Triton's ONNX Runtime backend
    assert accelerator.name == "tensorrt"
    assert dict(accelerator.parameters) == {"precision_mode": "FP16", "max_workspace_size_bytes": str(2**30)}
    (group,) = config.instance_group
    assert (group.count, group.kind) == (2, group.KIND_GPU)
    assert config.dynamic_batching.max_queue_delay_microseconds == 100
    assert [(one.batch_size, one.inputs["image"].zero_data) for one in config.model_warmup] == [(1, True), (16, True)]
    with pytest.raises(BadInput, match="has no 'tensorrt'"):
        export(chosen, tmp_path / "model", tmp_path / "out", "python", 1, LocalRun(tmp_path))


@pytest.mark.parametrize(("backend", "kind"), [("onnxruntime", "KIND_AUTO"), ("python", "KIND_CPU")])
def test_triton_reads_the_configuration_of_every_kind_of_input(backend: Backend, kind: str) -> None:
    signatures = {
        "TYPE_INT64": Signature("encoder", "report", Kind.TEXT, (112,), {}, 100),
        "TYPE_FP32": Signature("segmentation", "ct", Kind.VOLUME3D, (1, 16, 32, 48), {}),
    }
    for data_type, signature in signatures.items():
        shapes = {signature.output_names[0]: (2, *signature.sample_shape[1:])}
        config = parsed(config_pbtxt(spec(), signature, shapes, backend))
        assert [one.name for one in config.input] == signature.input_names
        for one in config.input:
            assert (
                one.DESCRIPTOR.fields_by_name["data_type"].enum_type.values_by_number[one.data_type].name == data_type
            )
            assert tuple(one.dims) == signature.sample_shape
        assert [(one.name, tuple(one.dims)) for one in config.output] == [*shapes.items()]
        (group,) = config.instance_group
        assert group.kind == getattr(group, kind) and config.backend == backend
        assert config.version_policy.HasField("all") and config.HasField("dynamic_batching")
        assert config.parameters["intra_op_thread_count"].string_value == "0"
        assert not config.optimization.HasField("execution_accelerators")
        assert {name for one in config.model_warmup for name in one.inputs} == {*signature.input_names}
