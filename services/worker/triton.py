"""Triton's model repository: adding a model, checking its answers, taking it out again."""

import io
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from geventhttpclient.response import HTTPParseError
from minio.error import MinioException
from numpy.typing import NDArray
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput, InferResult
from tritonclient.utils import InferenceServerException, np_to_triton_dtype
from urllib3.exceptions import HTTPError

from medcoss.run import BadInput
from medcoss.specs.records import GOLDEN, DeploymentInfo
from services.core.settings import Settings
from services.core.storage import ObjectStore
from services.worker.errors import TritonRefused

TIMEOUT_S = 300
# what a server or a store that does not answer is known by, beside OSError
AWAY = (HTTPParseError, MinioException, HTTPError)


class TritonRepository:
    """The repository in the object store and, where Triton reads a folder, on disk."""

    def __init__(self, settings: Settings, store: ObjectStore) -> None:
        self.store, self.folder = store, settings.triton_model_dir
        self.client = InferenceServerClient(settings.triton_url, network_timeout=TIMEOUT_S, connection_timeout=30)

    def add(self, model: Path) -> None:
        """Store the model folder, whose name is new, and load it. Raises TritonRefused."""
        self.store.upload_dir(f"triton/{model.name}", model)
        if self.folder is not None:
            # copied beside and moved, so that Triton never sees half a model
            with self._partial(model.name) as partial:
                shutil.copytree(model, partial)
        self._load(model.name)

    def restore(self, name: str) -> None:
        """Load a stored model again; what its folder lacks comes from the object store. Raises TritonRefused, also
        when nothing is stored, and OSError when Triton is away.
        """
        stored = self.store.list_keys(f"triton/{name}/")
        if not stored:
            raise TritonRefused("the files of the served model are missing in the object store")
        if self.folder is not None and not (self.folder / name).is_dir():
            with self._partial(name) as partial:
                for key in stored:
                    path = partial / key.removeprefix(f"triton/{name}/")
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(self.store.get_bytes(key))
        self._load(name)

    def loaded(self) -> dict[str, str]:
        """The state of every model that Triton knows, `READY` for those that it serves. OSError when it is away."""
        try:
            return {entry["name"]: entry.get("state", "") for entry in self.client.get_model_repository_index()}
        except InferenceServerException as error:
            raise OSError(f"Triton does not tell what it serves: {error.message()}") from error

    @contextmanager
    def _partial(self, name: str) -> Iterator[Path]:
        """A folder that becomes the model's when it is whole."""
        assert self.folder is not None
        partial = self.folder.parent / f".{name}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        yield partial
        partial.rename(self.folder / name)

    def _load(self, name: str) -> None:
        try:
            self.client.load_model(name)
        except InferenceServerException as error:
            raise TritonRefused(f"Triton cannot load the model: {error.message()}") from error

    def remove(self, name: str) -> None:
        """Take a model out of Triton and of the repository."""
        self.withdraw(name)
        self.store.remove_prefix(f"triton/{name}/")

    def withdraw(self, name: str) -> None:
        """Take a model out of Triton and of its folder; the object store keeps it. OSError when Triton is away."""
        try:
            self.client.unload_model(name)
        except InferenceServerException as error:
            # a model that never loaded cannot be unloaded
            if not any(words in str(error.message()) for words in ("not loaded", "unknown model", "not found")):
                raise OSError(f"Triton does not unload the model: {error.message()}") from error
        if self.folder is not None:
            shutil.rmtree(self.folder / name, ignore_errors=True)
            shutil.rmtree(self.folder.parent / f".{name}.partial", ignore_errors=True)

    def check(self, info: DeploymentInfo) -> float:
        """Compare the answers to the golden inputs that are stored with a model; 0 where an old export stored none."""
        try:
            golden = self.store.get_bytes(f"triton/{info.triton_model}/{GOLDEN}")
        except FileNotFoundError:
            return 0.0
        return self.compare(info, io.BytesIO(golden), info.tolerance)

    def compare(self, info: DeploymentInfo, golden: Path | BinaryIO, tolerance: float) -> float:
        """Largest difference between Triton's and PyTorch's answers to the stored inputs.

        Raises BadInput when it is above `tolerance`.
        """
        arrays = dict(np.load(golden))
        inputs = []
        for name in info.input_names:
            tensor = InferInput(name, list(arrays[name].shape), np_to_triton_dtype(arrays[name].dtype))
            tensor.set_data_from_numpy(arrays[name])
            inputs.append(tensor)
        outputs = [InferRequestedOutput(name) for name in info.output_names]
        try:
            answer = self.client.infer(info.triton_model, inputs, outputs=outputs)
        except InferenceServerException as error:
            raise TritonRefused(f"Triton cannot run the model: {error.message()}") from error
        difference = 0.0
        for name in info.output_names:
            found = _output(answer, name)
            if not np.isfinite(found).all():
                raise TritonRefused(f"Triton's output '{name}' is not finite")
            difference = max(difference, float(np.abs(found - arrays[f"expected_{name}"]).max()))
        if difference > tolerance:
            raise BadInput(
                f"Triton's answers differ from PyTorch's by {difference:.2e}, allowed is {tolerance:.0e}", "tolerance"
            )
        return difference


def _output(answer: InferResult, name: str) -> NDArray[Any]:
    try:
        found = answer.as_numpy(name)
    except ValueError as error:
        raise TritonRefused(f"Triton's output '{name}' is not of the shape that it says") from error
    if found is None:
        raise TritonRefused(f"Triton's output '{name}' is missing")
    return np.asarray(found)
