"""What uploads and downloads share: many files at once, second tries, progress, an end at the first failure."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import httpx

from medcoss.client.errors import ServerUnreachable, TransferFailed

T = TypeVar("T")

THREADS = 4
CHUNK = 1 << 20
PAUSES_S = (0.3, 1.0, 3.0, 6.0)
READ_TIMEOUT_S = 300.0
JOIN_S = 0.1
GRACE_S = 2.0
TRANSIENT = frozenset({408, 429, 500, 502, 503, 504})


@dataclass(frozen=True)
class TransferProgress:
    """How far a transfer is. `stage` is hashing, uploading or downloading; sizes in bytes.

    `resumed` of the bytes that are `done` were there before: they tell nothing of the speed.
    """

    stage: str
    done: int
    total: int
    file: str
    files_done: int = 0
    files: int = 0
    resumed: int = 0


Notify = Callable[[TransferProgress], None]


class Aborted(Exception):
    """Another file of the same transfer has failed, or the caller gave up."""


class Tracker:
    """Counts the bytes and files of one stage and tells who wants to know; also carries the order to stop."""

    def __init__(
        self, stage: str, sizes: Iterable[tuple[str, int]], notify: Notify | None, stop: threading.Event
    ) -> None:
        """`sizes` are the paths of all files with their sizes."""
        self._stage, self._notify, self._stop = stage, notify, stop
        # bytes to go, by file
        self._left = dict(sizes)
        self._files, self._total = len(self._left), sum(self._left.values())
        self._files_done = sum(size == 0 for size in self._left.values())
        self._done = self._resumed = 0
        self._lock = threading.Lock()

    def add(self, count: int, file: str) -> None:
        """Count bytes of a file; negative ones take back what is sent again. Raises Aborted after `stop`."""
        if self._stop.is_set():
            raise Aborted
        with self._lock:
            self._count(count, file)

    def there(self, count: int, file: str) -> None:
        """Count bytes of a file that need not be sent."""
        with self._lock:
            self._resumed += count
            self._count(count, file)

    def _count(self, count: int, file: str) -> None:
        before, after = self._left[file], self._left[file] - count
        self._left[file] = after
        self._files_done += (before > 0 and after <= 0) - (before <= 0 and after > 0)
        self._done += count
        if self._notify is not None:
            self._notify(
                TransferProgress(
                    self._stage, self._done, self._total, file, self._files_done, self._files, self._resumed
                )
            )

    def pause(self, seconds: float) -> None:
        """Wait before another try. Raises Aborted when it is over."""
        if self._stop.wait(seconds):
            raise Aborted


def persistently(what: str, attempt: Callable[[], T], tracker: Tracker, pauses_s: Sequence[float] = PAUSES_S) -> T:
    """The result of `attempt`, tried again after transient failures, with these pauses between.

    Raises TransferFailed naming `what`, ServerUnreachable.
    """
    for pause in (*pauses_s, None):
        try:
            return attempt()
        except httpx.HTTPStatusError as error:
            status = error.response.status_code
            # what has changed on the way is sent again
            damaged = status == 400 and "BadDigest" in error.response.text
            if not (status in TRANSIENT or damaged) or pause is None:
                advice = "; its URL has expired: start again" if status == 403 else ""
                raise TransferFailed(f"{what}: the object store answered {status}{advice}") from error
        except ServerUnreachable:
            if pause is None:
                raise
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


def side_by_side(tasks: Sequence[Callable[[], T]], threads: int, stop: threading.Event) -> list[T]:
    """Run tasks in several threads; their results in order.

    The first failure - or Ctrl-C - sets `stop`, gives the others a moment to see it, and is raised.
    """
    queue = deque(enumerate(tasks))
    results: dict[int, T] = {}
    failures: list[BaseException] = []

    def work() -> None:
        while not stop.is_set():
            try:
                number, task = queue.popleft()
            except IndexError:
                return
            try:
                results[number] = task()
            except BaseException as error:  # noqa: BLE001 - it is raised in the caller's thread
                failures.append(error)
                stop.set()

    # daemons: a connection that hangs must not keep the program from ending
    workers = [threading.Thread(target=work, daemon=True) for _ in range(min(threads, len(queue)))]
    for worker in workers:
        worker.start()
    try:
        while not stop.is_set() and (alive := [worker for worker in workers if worker.is_alive()]):
            alive[0].join(JOIN_S)
    except BaseException:
        stop.set()
        _join(workers)
        raise
    _join(workers)
    if failures:
        raise next((error for error in failures if not isinstance(error, Aborted)), failures[0])
    return [results[number] for number in range(len(results))]


def _join(workers: list[threading.Thread]) -> None:
    deadline = time.monotonic() + GRACE_S
    for worker in workers:
        worker.join(max(0.0, deadline - time.monotonic()))
