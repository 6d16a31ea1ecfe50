"""Asking Triton: batches that it accepts, several of them on their way at once."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any, TypeVar

import numpy as np
import structlog
import tritonclient.http as triton
from geventhttpclient.response import HTTPParseError
from numpy.typing import NDArray
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from services.core.errors import MedcossError, Unavailable

Arrays = dict[str, NDArray[Any]]
Answer = TypeVar("Answer")

IN_FLIGHT = 8
CONNECT_TIMEOUT_S = 5.0
ANSWER_TIMEOUT_S = 300.0
# what Triton says of a model that is being loaded or reloaded
_NOT_YET = ("unknown model", "is not ready", "not found", "unavailable", "at least one version")

log = structlog.get_logger(__name__)


class Triton:
    """The connections to one Triton server. `url` is host:port of its HTTP endpoint."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._clients = threading.local()
        self._pool = ThreadPoolExecutor(IN_FLIGHT, thread_name_prefix="triton")
        self._batch_sizes: dict[tuple[str, int], int] = {}

    def close(self) -> None:
        """Let the threads end once their requests are answered."""
        self._pool.shutdown()

    def ready(self) -> bool:
        """True when the server answers and is ready."""
        try:
            return bool(self._ask(lambda client: client.is_server_ready()))
        except Unavailable:
            return False

    def infer(self, model: str, version: int, inputs: Arrays, outputs: list[str]) -> Arrays:
        """Outputs for `inputs` whose first axis is the batch, of any length from 1.

        Raises Unavailable when Triton does not answer or does not serve the version.
        """
        size = self._batch_size(model, version)
        count = len(next(iter(inputs.values())))
        parts = [{name: array[i : i + size] for name, array in inputs.items()} for i in range(0, count, size)]
        # each part in a copy of the caller's context: log lines keep the request id
        waiting = [self._pool.submit(copy_context().run, self._infer, model, version, part, outputs) for part in parts]
        answers = [future.result() for future in waiting]
        return {name: np.concatenate([answer[name] for answer in answers]) for name in outputs}

    def _batch_size(self, model: str, version: int) -> int:
        """The largest batch that Triton takes; a version never changes it."""
        key = (model, version)
        if key not in self._batch_sizes:
            config = self._ask(lambda client: client.get_model_config(model, str(version)))
            self._batch_sizes[key] = max(1, int(config["max_batch_size"]))
        return self._batch_sizes[key]

    def _infer(self, model: str, version: int, inputs: Arrays, outputs: list[str]) -> Arrays:
        tensors = []
        for name, array in inputs.items():
            tensor = triton.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
            tensor.set_data_from_numpy(np.ascontiguousarray(array))
            tensors.append(tensor)
        wanted = [triton.InferRequestedOutput(name, binary_data=True) for name in outputs]
        result = self._ask(lambda client: client.infer(model, tensors, str(version), wanted))
        return {name: result.as_numpy(name) for name in outputs}

    def _client(self, fresh: bool) -> triton.InferenceServerClient:
        """The calling thread's own client: one cannot be shared between threads."""
        if fresh or not hasattr(self._clients, "client"):
            self._clients.client = triton.InferenceServerClient(
                self.url, connection_timeout=CONNECT_TIMEOUT_S, network_timeout=ANSWER_TIMEOUT_S
            )
        return self._clients.client

    def _ask(self, call: Callable[[triton.InferenceServerClient], Answer]) -> Answer:
        """The answer to `call`, on a fresh connection if the first was closed behind our back."""
        try:
            try:
                return call(self._client(fresh=False))
            except (OSError, HTTPParseError):
                return call(self._client(fresh=True))
        except (OSError, HTTPParseError, RuntimeError) as error:
            log.warning("triton does not answer", url=self.url, error=repr(error))
            raise Unavailable("the model server does not answer; try again in a few seconds") from error
        except InferenceServerException as error:
            message = str(error.message())
            log.warning("triton refused", error=message)
            if any(words in message.lower() for words in _NOT_YET):
                raise Unavailable("the model is not loaded at the moment; try again in a few seconds") from error
            raise MedcossError("the model server could not run the model; its log says why") from error
