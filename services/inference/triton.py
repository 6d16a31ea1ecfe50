"""Asking Triton: batches that it accepts, several of them on their way at once."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import Any, TypeVar

import numpy as np
import structlog
import tritonclient.http as triton
from geventhttpclient.response import HTTPParseError
from numpy.typing import NDArray
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from services.core import tracing
from services.core.errors import MedcossError, TimedOut, Unavailable
from services.inference.watch import Watch

Arrays = dict[str, NDArray[Any]]
Answer = TypeVar("Answer")

IN_FLIGHT, IN_FLIGHT_OF_ONE = 8, 4
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
        except (TimedOut, Unavailable):
            return False

    def infer(self, model: str, version: int, inputs: Arrays, outputs: list[str], watch: Watch | None = None) -> Arrays:
        """Outputs for `inputs` whose first axis is the batch, of any length from 1.

        Raises Unavailable when Triton does not answer or does not serve the version, TimedOut when it takes too long;
        GivenUp between two batches when nobody waits any more.
        """
        watch = watch or Watch()
        size = self.batch_size(model, version)
        count = len(next(iter(inputs.values())))
        if count <= size:
            watch.step("infer", 0, count)
            # without a detour over another thread
            return self._infer(model, version, inputs, outputs)
        parts = ({name: array[i : i + size] for name, array in inputs.items()} for i in range(0, count, size))
        answers = list(self.stream(model, version, parts, outputs, count, watch))
        return {name: np.concatenate([answer[name] for answer in answers]) for name in outputs}

    def stream(
        self, model: str, version: int, batches: Iterable[Arrays], outputs: list[str], total: int, watch: Watch
    ) -> Iterator[Arrays]:
        """The answers to `batches`, none larger than `batch_size`, in their order; `total` samples are told as steps.

        A few are on their way at once, and those of others come between. Raises what `infer` does; then, and when the
        iterator is closed, no more are sent.
        """
        waiting: deque[Future[Arrays]] = deque()
        done = 0
        try:
            watch.step("infer", 0, total)
            for answer in self._answers(model, version, batches, outputs, waiting):
                done += len(answer[outputs[0]])
                watch.step("infer", done, total)
                yield answer
        finally:
            for future in waiting:
                future.cancel()

    def _answers(
        self, model: str, version: int, batches: Iterable[Arrays], outputs: list[str], waiting: deque[Future[Arrays]]
    ) -> Iterator[Arrays]:
        for batch in batches:
            if len(waiting) == IN_FLIGHT_OF_ONE:
                yield waiting.popleft().result()
            # in a copy of the caller's context: log lines keep the request id
            waiting.append(self._pool.submit(copy_context().run, self._infer, model, version, batch, outputs))
        while waiting:
            yield waiting.popleft().result()

    def batch_size(self, model: str, version: int) -> int:
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
        # Triton writes the spans of the request to the same trace, where tracing is on there
        request_id = str(structlog.contextvars.get_contextvars().get("request_id", ""))
        with tracing.span("triton infer", model=model, version=version, batch=int(tensors[0].shape()[0])):
            found = tracing.traceparent()
            headers = {"traceparent": found} if found else None
            result = self._ask(
                lambda client: client.infer(model, tensors, str(version), wanted, request_id, headers=headers)
            )
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
        began = time.monotonic()
        try:
            try:
                return call(self._client(fresh=False))
            except TimeoutError:
                # asked again, it would take as long
                raise
            except (OSError, HTTPParseError):
                return call(self._client(fresh=True))
        except TimeoutError as error:
            # an answer that still comes must not be taken for that to the next question
            self._client(fresh=True)
            log.warning("triton takes too long", url=self.url)
            if time.monotonic() - began < ANSWER_TIMEOUT_S:
                raise Unavailable("the model server does not answer; try again in a few seconds") from error
            raise TimedOut("the model server takes too long; try again when less is going on") from error
        except (OSError, HTTPParseError, RuntimeError) as error:
            log.warning("triton does not answer", url=self.url, error=repr(error))
            raise Unavailable("the model server does not answer; try again in a few seconds") from error
        except InferenceServerException as error:
            message = str(error.message())
            log.warning("triton refused", error=message)
            if any(words in message.lower() for words in _NOT_YET):
                raise Unavailable("the model is not loaded at the moment; try again in a few seconds") from error
            raise MedcossError("the model server could not run the model; its log says why") from error
