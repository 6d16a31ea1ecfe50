"""Jobs: submit, wait, read what they report."""

import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Unpack

from medcoss.client import streams
from medcoss.client.download import Wanted, download
from medcoss.client.errors import JobCancelled, JobFailed, UnexpectedAnswer
from medcoss.client.filters import JobFilters, params
from medcoss.client.job_records import (
    Artifact,
    Batch,
    Change,
    Event,
    Job,
    JobKind,
    JobOptions,
    JobProgress,
    Level,
    LogLine,
    Metric,
)
from medcoss.client.labels import retag
from medcoss.client.paging import pages, parts, rows
from medcoss.client.preflight import BatchPreflight, Preflight
from medcoss.client.transfer import Notify
from medcoss.client.transport import Connections, Transport
from medcoss.client.waiting import LONGEST_POLL_S, until_ended
from medcoss.specs import Spec

BATCH_TIMEOUT_S = 300.0
# inside the class, `list` is a method
Artifacts = list[Artifact]
Paths = list[Path]
Report = Event | Metric | LogLine | JobProgress
_REPORTS: dict[str, type[Report]] = {"event": Event, "metric": Metric, "log": LogLine, "progress": JobProgress}
PARTS = ("events", "metrics", "logs", "progress")


class Jobs:
    """`client.jobs`."""

    def __init__(self, transport: Transport, connections: Connections) -> None:
        self._transport, self._connections = transport, connections

    def submit(
        self,
        kind: str,
        spec: Spec | dict[str, Any],
        *,
        name: str | None = None,
        project: str | None = None,
        priority: int = 0,
        max_attempts: int | None = None,
        depends_on: Iterable[str] = (),
        nodes: int | None = None,
        gpus: int | None = None,
        memory_bytes: int | None = None,
        time_limit_s: float | None = None,
        backoff_s: float | None = None,
        notes: str = "",
        tags: Iterable[str] = (),
        idempotency_key: str | None = None,
    ) -> Job:
        """Submit a job. `project` is its name or id, by default the key's only one, or else `default`;
        `depends_on` are ids of jobs that must have succeeded first.

        `gpus` and `memory_bytes` are what the worker must have, or each of the `nodes` machines that a training runs on
        together; `time_limit_s` is what all attempts may take
        together, `backoff_s` the pause after a first failure.

        A lost connection is safe: the request carries a key, by default a new one for every call, under which
        the server makes one job only. Raises ApiError naming each wrong field.
        """
        body = _body(
            kind, spec, name=name, project=project, priority=priority, max_attempts=max_attempts,
            depends_on=depends_on, nodes=nodes, gpus=gpus, memory_bytes=memory_bytes, time_limit_s=time_limit_s,
            backoff_s=backoff_s, notes=notes, tags=tags,
        )  # fmt: skip
        response = self._transport.call("POST", "/v1/jobs", json=body, headers=_key(idempotency_key), once=True)
        return self._transport.read(Job, response)

    def submit_many(self, jobs: Iterable[dict[str, Any]], *, project: str | None = None, all_or_nothing: bool = True,
                    idempotency_key: str | None = None) -> Batch:  # fmt: skip
        """Submit many jobs in one request: all of them, or none. Each is `kind`, `spec` (a dictionary or a Spec) and
        what else the API takes; a `ref` is a name that others of the batch may have in their `depends_on`.

        Without `all_or_nothing` those that are wrong, or need a wrong one, are left out: `errors` names them.
        Raises ApiError naming each wrong field as `/jobs/3/spec/...`.
        """
        body = {
            "project": project, "all_or_nothing": all_or_nothing,
            "jobs": [{name: _plain(value) for name, value in job.items()} for job in jobs],
        }  # fmt: skip
        response = self._transport.call(
            "POST", "/v1/jobs:batch", json=body, headers=_key(idempotency_key), once=True, timeout_s=BATCH_TIMEOUT_S
        )
        return self._transport.read(Batch, response)

    def validate(self, kind: str, spec: Spec | dict[str, Any], **options: Unpack[JobOptions]) -> Preflight:
        """What would come of a job, without submitting it: what is wrong with it, how many samples, batches and steps
        it takes, how much memory, time and storage, and what it would wait for. `options` are those of `submit`.
        """
        body = _body(kind, spec, **options)
        response = self._transport.call("POST", "/v1/jobs:validate", json=body, idempotent=True)
        return self._transport.read(Preflight, response)

    def validate_many(self, jobs: Iterable[dict[str, Any]], *, project: str | None = None) -> BatchPreflight:
        """What would come of the jobs of a batch, each and together, without submitting them."""
        body = {"project": project, "jobs": [{name: _plain(value) for name, value in job.items()} for job in jobs]}
        response = self._transport.call(
            "POST", "/v1/jobs:validate-batch", json=body, idempotent=True, timeout_s=BATCH_TIMEOUT_S
        )
        return self._transport.read(BatchPreflight, response)

    def get(self, job_id: str) -> Job:
        """One job."""
        return self._transport.parse(Job, self._transport.get(f"/v1/jobs/{job_id}"))

    def list(self, **filters: Unpack[JobFilters]) -> Iterator[Job]:
        """Jobs, newest first unless `sort` says otherwise."""
        return pages(self._transport, "/v1/jobs", Job, params(filters, JobFilters))

    def select(self, *fields: str, **filters: Unpack[JobFilters]) -> Iterator[dict[str, Any]]:
        """Only these fields of jobs: light, where `list` brings specs and results along."""
        return parts(self._transport, "/v1/jobs", fields, params(filters, JobFilters))

    def change(self, job_id: str, *, name: str | None = None, notes: str | None = None,
               tags: Iterable[str] | None = None, priority: int | None = None, time_limit_s: float | None = None,
               if_match: str | None = None) -> Job:  # fmt: skip
        """Another name, other notes, these tags and no others; another priority or time limit (s) of a job that has
        not ended.
        """
        body = {
            "name": name,
            "notes": notes,
            "tags": None if tags is None else [*tags],
            "priority": priority,
            "time_limit_s": time_limit_s,
        }
        return self._transport.change(Job, f"/v1/jobs/{job_id}", body, if_match)

    def tag(self, job_id: str, *add: str, remove: Iterable[str] = ()) -> Job:
        """Give a job tags, and take others away."""
        return retag(self._transport, Job, f"/v1/jobs/{job_id}", add, remove)

    def wait(self, job_id: str, timeout: float | None = None, on_update: Callable[[Job], None] | None = None) -> Job:
        """The job once it has succeeded; `on_update` gets it whenever it has changed. `timeout` in seconds.

        A server that is away for a while is waited for. Raises JobFailed with the reason, JobCancelled, or
        TimeoutError; the job itself goes on in that case.
        """
        return _succeeded(until_ended(lambda: self.get(job_id), f"job {job_id}", timeout, on_update))

    def cancel(self, job_id: str) -> Job:
        """Cancel a job; a running one writes a checkpoint and ends within moments."""
        return self._transport.read(Job, self._transport.call("POST", f"/v1/jobs/{job_id}/cancel", once=True))

    def pause(self, job_id: str) -> Job:
        """Set a job aside; a running one writes a checkpoint and stops within moments."""
        return self._transport.read(Job, self._transport.call("POST", f"/v1/jobs/{job_id}/pause", once=True))

    def resume(self, job_id: str) -> Job:
        """Queue a paused job again; it goes on from its last checkpoint."""
        return self._transport.read(Job, self._transport.call("POST", f"/v1/jobs/{job_id}/resume", once=True))

    def delete(self, job_id: str) -> None:
        """Remove a job that has ended, with all that it has reported; what it made stays."""
        self._transport.call("DELETE", f"/v1/jobs/{job_id}")

    def metrics(self, job_id: str, after: int = 0) -> Iterator[Metric]:
        """Metric rows in order, those behind the row number `after` (its `seq`)."""
        return rows(self._transport, f"/v1/jobs/{job_id}/metrics", Metric, after)

    def logs(self, job_id: str, after: int = 0, *, follow: bool = False, contains: str | None = None,
             level: Level | None = None) -> Iterator[LogLine]:  # fmt: skip
        """Log lines in order; with `follow` also those to come, until the job ends. Only those that hold the text
        `contains`, without regard to case, and those of a level or above, where they are given.
        """
        if follow:
            lines = (row for row in self._watch(job_id, ("logs",), after) if isinstance(row, LogLine))
            return (line for line in lines if line.holds(contains, level))
        wanted = {"contains": contains, "level": level}
        return rows(self._transport, f"/v1/jobs/{job_id}/logs", LogLine, after, wanted)

    def watch(self, job_id: str, include: Iterable[str] = PARTS) -> Iterator[Report]:
        """What a job has reported and what comes, each row once and each kind in its order, until the job has ended.

        `include` chooses from `events`, `metrics`, `logs` and `progress`; of progress only the newest is told. It is a
        stream of the server, which is connected again whenever it breaks; where there is none, the server is asked
        again and again. Raises ApiError when there is no such job or the key no longer opens it.
        """
        return self._watch(job_id, tuple(include), 0)

    def _watch(self, job_id: str, include: tuple[str, ...], log_after: int) -> Iterator[Report]:
        seen = {"event": 0, "metric": 0, "log": log_after}
        path, wanted = f"/v1/jobs/{job_id}/stream", {"include": ",".join(include)}
        try:
            for sent in streams.follow(self._transport, path, wanted, f"e0.m0.l{log_after}"):
                if sent.name in _REPORTS:
                    report = self._transport.parse(_REPORTS[sent.name], sent.data)
                    seen |= {} if isinstance(report, JobProgress) else {sent.name: report.seq}
                    yield report
        except streams.NoStream:
            # the job is missing, or the stream is
            yield from self._poll(self.get(job_id), include, seen)

    def _poll(self, job: Job, include: tuple[str, ...], seen: dict[str, int]) -> Iterator[Report]:
        told = None
        lists: dict[str, Callable[[str, int], Iterator[Event | Metric | LogLine]]] = {
            "event": self.events, "metric": self.metrics, "log": self.logs,
        }  # fmt: skip
        while True:
            for name, ask in lists.items():
                for row in ask(job.id, seen[name]) if f"{name}s" in include else ():
                    seen[name] = row.seq
                    yield row
            progress = _progress(job)
            if "progress" in include and progress != told:
                told = progress
                yield progress
            # asked before the rows: what was written up to its end has been told
            if job.ended:
                return
            time.sleep(LONGEST_POLL_S / 2)
            job = self.get(job.id)

    def changes(self, *, project: str | None = None, job_id: str | None = None, kind: str | None = None,
                after: int | None = None) -> Iterator[Change]:  # fmt: skip
        """State changes of all jobs that the key sees, from now on or behind the row `after`; it does not end."""
        asked = {"project": project, "job": job_id, "kind": kind, "after": after}
        try:
            for sent in streams.follow(self._transport, "/v1/events", asked):
                if sent.name == "event":
                    yield self._transport.parse(Change, sent.data)
        except streams.NoStream:
            raise UnexpectedAnswer(f"{self._transport.server} tells no changes; is it an older version?") from None

    def events(self, job_id: str, after: int = 0) -> Iterator[Event]:
        """State changes in order."""
        return rows(self._transport, f"/v1/jobs/{job_id}/events", Event, after)

    def artifacts(self, job_id: str) -> Artifacts:
        """Files that the job kept."""
        return [*pages(self._transport, f"/v1/jobs/{job_id}/artifacts", Artifact)]

    def download_artifacts(self, job_id: str, folder: Path | str, *, progress: Notify | None = None) -> Paths:
        """Fetch the files that the job kept into `folder`; returns their paths."""
        wanted = [Wanted(a.name, a.size, None, a.url) for a in self.artifacts(job_id)]
        return download(self._connections, wanted, Path(folder), progress)

    def kinds(self) -> Iterator[JobKind]:
        """The kinds of jobs."""
        return pages(self._transport, "/v1/job-kinds", JobKind)

    def schema(self, kind: str) -> dict[str, Any]:
        """JSON schema of a kind's spec, with descriptions, units and bounds."""
        return dict(self._transport.get(f"/v1/job-kinds/{kind}/schema"))

    def defaults(self, kind: str) -> dict[str, Any]:
        """Values of the fields that may be left out."""
        return dict(self._transport.get(f"/v1/job-kinds/{kind}/defaults"))


def _progress(job: Job) -> JobProgress:
    known = job.progress.model_dump() if job.progress else {}
    return JobProgress.model_validate(known | {"state": job.state, "attempt": job.attempt})


def _body(kind: str, spec: Spec | dict[str, Any], **options: Unpack[JobOptions]) -> dict[str, Any]:
    """A request for a job; what is not given is left to the server."""
    given: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    resources = {name: given.pop(name) for name in ("nodes", "gpus", "memory_bytes") if name in given}
    body = given | {"kind": kind, "spec": _plain(spec), "resources": resources}
    body |= {name: [*given[name]] for name in ("depends_on", "tags") if name in given}
    if "backoff_s" in body:
        body["retry"] = {"backoff_s": body.pop("backoff_s")}
    return body


def _key(chosen: str | None) -> dict[str, str]:
    return {} if chosen is None else {"Idempotency-Key": chosen}


def _plain(value: Any) -> Any:
    return value.model_dump(mode="json") if isinstance(value, Spec) else value


def _succeeded(job: Job) -> Job:
    if job.state == "failed":
        error = job.error or {}
        detail = error.get("detail") or "no reason is recorded"
        raise JobFailed(f"job {job.id} ({job.kind}) failed: {error.get('title', 'Error')}: {detail}", job)
    if job.state == "cancelled":
        raise JobCancelled(f"job {job.id} ({job.kind}) was cancelled", job)
    return job
