"""Careful users: they submit with idempotency keys, try again when nobody answers, and note what they expect."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

from benchmarks._chaos_jobs import TEMPLATES, Ids, Story, broken, endless
from medcoss.client import ApiError, Client, Dataset, Job, ServerUnreachable
from medcoss.client.transport import PAUSES_S

T = TypeVar("T")
POLL_S = 0.7
TIMEOUT_S = 15.0
# doubled with every failure of a job, which here has many
BACKOFF_S = 0.2
# problems that pass: the platform says so itself
PASSING = frozenset({429, 502, 503, 504})


@dataclass(frozen=True)
class Expected:
    """How a job has to end: its state, the typed reason of a failure, and the template that it repeats."""

    key: str
    state: str
    template: str | None = None
    reason: str | None = None


@dataclass
class Diary:
    """What users have been told and what they expect, by job; and what was wrong on their way."""

    expected: dict[str, Expected] = field(default_factory=dict)
    complaints: list[str] = field(default_factory=list)
    again: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def complain(self, text: str) -> None:
        """Note what must not happen."""
        with self.lock:
            self.complaints.append(text)


class User:
    """One user of one story after another. `ids` are the inputs that everybody shares."""

    def __init__(self, url: str, key: str, ids: Ids, diary: Diary, prefix: str, over: threading.Event) -> None:
        self.client = Client(url, key, timeout_s=TIMEOUT_S)
        self.ids, self.diary, self.prefix, self.over = ids, diary, prefix, over

    def live(self, story: Story) -> None:
        """Go through a story, to the end of its jobs."""
        act: Callable[[Story], None] = getattr(self, "_" + story.kind.replace(" ", "_"))
        try:
            act(story)
        except Gone:
            return
        except Exception as error:  # noqa: BLE001 - whatever a user meets is part of the result
            self.diary.complain(f"story {story.number} ({story.kind}) ended with {type(error).__name__}: {error}")

    def patiently(self, call: Callable[[], T]) -> T:
        """Call until there is an answer. Raises the problem in it, if that does not pass; Gone when all is over."""
        while True:
            try:
                return call()
            except ServerUnreachable:
                pass
            except ApiError as error:
                if error.status >= 500 and error.status not in PASSING:
                    self.diary.complain(f"the control plane answered {error.status}: {error} ({error.request_id})")
                elif error.status not in PASSING:
                    raise
            self.diary.again += 1
            self.rest(PAUSES_S[-1])

    def rest(self, seconds: float) -> None:
        """Do nothing for a while. Raises Gone when all is over."""
        if self.over.wait(seconds):
            raise Gone

    def submit(self, story: Story, part: str, kind: str, spec: dict[str, Any], expected: tuple[str, str | None,
               str | None], depends_on: tuple[str, ...] = ()) -> Job:  # fmt: skip
        """Submit under a key of the story, and once more under the same key: it has to be the same job."""
        key = f"{self.prefix}-{story.number}-{part}".replace(" ", "-")

        def call() -> Job:
            return self.client.jobs.submit(
                kind, spec, name=key, depends_on=depends_on, idempotency_key=key, backoff_s=BACKOFF_S
            )  # fmt: skip

        job = self.patiently(call)
        with self.diary.lock:
            self.diary.expected[job.id] = Expected(key, *expected)
        repeated = self.patiently(call)
        if repeated.id != job.id:
            self.diary.complain(f"key {key} made two jobs: {job.id} and {repeated.id}")
        return job

    def known(self, story: Story, template: str, ids: Ids, part: str = "job", depends_on: tuple[str, ...] = ()) -> Job:
        """Submit a job of a template that has to succeed."""
        found = TEMPLATES[template]
        return self.submit(story, part, found.kind, found.spec(ids), ("succeeded", template, None), depends_on)

    def watch(self, job: Job, *states: str) -> Job:
        """The job once it has ended or is in one of the states."""
        while True:
            now = self.patiently(lambda: self.client.jobs.get(job.id))
            if now.ended or now.state in states:
                return now
            self.rest(POLL_S)

    def order(self, what: Callable[[str], Job], job: Job) -> bool:
        """Cancel, pause or resume; False when the job has ended."""
        try:
            self.patiently(lambda: what(job.id))
        except ApiError as error:
            if error.status != 409:
                raise
            return False
        return True

    def _plain(self, story: Story) -> None:
        self.watch(self.known(story, story.template, self.ids))

    def _paused(self, story: Story) -> None:
        """Paused at some moment, and resumed later."""
        job = self.known(story, story.template, self.ids)
        self.rest(story.after_s)
        if self.order(self.client.jobs.pause, job) and not self.watch(job, "paused").ended:
            self.rest(story.pause_s)
            self.order(self.client.jobs.resume, job)
        self.watch(job)

    def _set_aside(self, story: Story) -> None:
        """Paused, and cancelled instead of resumed: whatever it was before, it must not succeed."""
        job = self.submit(story, "job", "pretrain", endless(self.ids), ("cancelled", None, None))
        self.rest(story.after_s)
        self.order(self.client.jobs.pause, job)
        self.watch(job, "paused")
        self.order(self.client.jobs.cancel, job)
        self.watch(job)

    def _cancelled(self, story: Story) -> None:
        job = self.submit(story, "job", "pretrain", endless(self.ids), ("cancelled", None, None))
        self.rest(story.after_s)
        self.order(self.client.jobs.cancel, job)
        self.watch(job)

    def _wrong_data(self, story: Story) -> None:
        self.watch(self.submit(story, "job", "preprocess", broken(self.ids), ("failed", None, "data")))

    def _doomed(self, story: Story) -> None:
        """A job that waits for one that fails, and one that waits for that."""
        first = self.submit(story, "first", "preprocess", broken(self.ids), ("failed", None, "data"))
        template = TEMPLATES[story.template]
        before = first
        for part in ("second", "third"):
            expected = ("failed", None, "dependency")
            try:
                before = self.submit(story, part, template.kind, template.spec(self.ids), expected, (before.id,))
            except ApiError as error:
                if error.status != 409:
                    raise
                # it has failed already: refused, as it should be
                break
        self.watch(first)
        self.watch(before)

    def _dependent(self, story: Story) -> None:
        """Three jobs submitted at once, each waiting for the one before."""
        before: tuple[str, ...] = ()
        job = None
        for part in ("first", "second", "third"):
            job = self.known(story, story.template, self.ids, part, before)
            before = (job.id,)
        assert job is not None
        self.watch(job)

    def _stages(self, story: Story) -> None:
        """Continual pre-training step by step, each step on what the ones before have made."""
        ids = {name: value for name, value in self.ids.items() if name.startswith("raw")}
        before: tuple[str, ...] = ()
        for name in TEMPLATES:
            job = self.watch(self.known(story, name, ids, name, before))
            if job.state != "succeeded":
                return
            ids[name], before = job.outputs.get(TEMPLATES[name].resource, ""), (job.id,)


class Gone(Exception):
    """The run is over; users leave."""


class Crowd:
    """Users side by side, who take one story after another until `closing`."""

    def __init__(self, count: int, make: Callable[[], User], stories: Iterator[Story]) -> None:
        self.closing = threading.Event()
        self._stories, self._lock = stories, threading.Lock()
        self.begun, self.ended = 0, 0
        self._threads = [threading.Thread(target=self._live, args=(make(),), daemon=True) for _ in range(count)]
        for thread in self._threads:
            thread.start()

    def _live(self, user: User) -> None:
        while not self.closing.is_set():
            with self._lock:
                story = next(self._stories)
                self.begun += 1
            user.live(story)
            with self._lock:
                self.ended += 1

    @property
    def gone(self) -> bool:
        """True once everybody has left."""
        return not any(thread.is_alive() for thread in self._threads)


def upload(user: User, folder: Any, name: str, modality: str) -> Dataset:
    """A raw dataset, before there are faults."""
    return user.client.datasets.upload(folder, name=name, modality=modality)


def reference(user: User, names: tuple[str, ...], tick: Callable[[], None], bound_s: float) -> None:
    """Run every template once, undisturbed, and note what it has made in the user's `ids`.

    Raises RuntimeError when one does not succeed in time.
    """
    for number, name in enumerate(names):
        job = user.known(Story(-number, "reference", name, 0, 0), name, user.ids)
        until = time.monotonic() + bound_s
        while not (now := user.client.jobs.get(job.id)).ended:
            if time.monotonic() > until:
                raise RuntimeError(f"the undisturbed {name} is {now.state} after {bound_s:g} s")
            tick()
            time.sleep(0.1)
        if now.state != "succeeded":
            raise RuntimeError(f"the undisturbed {name} has {now.state}: {now.error}")
        user.ids[name] = now.outputs.get(TEMPLATES[name].resource, job.id)
