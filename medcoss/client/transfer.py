"""What uploads and downloads share: many files at once, second tries, progress, an end at the first failure."""

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TypeVar

import httpx

from medcoss.client.errors import TransferFailed

T = TypeVar("T")

THREADS = 4
CHUNK = 1 << 20
PAUSES_S = (0.3, 1.0, 3.0, 6.0)
READ_TIMEOUT_S = 300.0
TRANSIENT = frozenset({408, 429, 500, 502, 503, 504})


@dataclass(frozen=True)
class TransferProgress:
    """How far a transfer is. `stage` is hashing, uploading or downloading; sizes in bytes."""

    stage: str
    done: int
    total: int
    file: str


Notify = Callable[[TransferProgress], None]


class Aborted(Exception):
    """Another file of the same transfer has failed, or the caller gave up."""


class Tracker:
    """Counts the bytes of one stage and tells who wants to know; also carries the order to stop."""

    def __init__(self, stage: str, total: int, notify: Notify | None, stop: threading.Event) -> None:
        self._stage, self._total, self._notify, self._stop = stage, total, notify, stop
        self._done = 0
        self._lock = threading.Lock()

    def add(self, count: int, file: str) -> None:
        """Count bytes of a file; negative ones take back what is sent again. Raises Aborted after `stop`."""
        if self._stop.is_set():
            raise Aborted
        with self._lock:
            self._done += count
            if self._notify is not None:
                self._notify(TransferProgress(self._stage, self._done, self._total, file))

    def pause(self, seconds: float) -> None:
        """Wait before another try. Raises Aborted when it is over."""
        if self._stop.wait(seconds):
            raise Aborted


def persistently(what: str, attempt: Callable[[], T], tracker: Tracker) -> T:
    """The result of `attempt`, tried again after transient failures. Raises TransferFailed naming `what`."""
    for pause in (*PAUSES_S, None):
        try:
            return attempt()
        except httpx.HTTPStatusError as error:
            status = error.response.status_code
            if status not in TRANSIENT or pause is None:
                advice = "; its URL has expired: start again" if status == 403 else ""
                raise TransferFailed(f"{what}: the object store answered {status}{advice}") from error
        except httpx.HTTPError as error:
            if pause is None:
                where = error.request.url.netloc.decode() if _has_request(error) else "its address"
                raise TransferFailed(f"{what}: the object store at {where} does not answer ({error})") from error
        tracker.pause(pause)
    raise AssertionError("the last pause is None")


def _has_request(error: httpx.HTTPError) -> bool:
    try:
        return error.request is not None
    except RuntimeError:
        return False


def side_by_side(tasks: Iterable[Callable[[], T]], threads: int, stop: threading.Event) -> list[T]:
    """Run tasks in several threads; their results in order.

    The first failure - or Ctrl-C - sets `stop`, waits until the others have seen it, and is raised.
    """
    with ThreadPoolExecutor(threads) as pool:
        futures = [pool.submit(task) for task in tasks]
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
            failed = [e for f in futures if f.done() and (e := f.exception()) is not None]
            if failed:
                raise next((e for e in failed if not isinstance(e, Aborted)), failed[0])
        except BaseException:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    return [future.result() for future in futures]
