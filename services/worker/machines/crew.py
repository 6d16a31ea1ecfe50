"""The processes of an attempt on several machines, seen by the worker that supervises it."""

import queue
import threading
import time
from collections.abc import Callable

import structlog

from services.core.attempts import Claim
from services.core.settings import Settings
from services.core.storage import ObjectStore
from services.worker.machines.cluster import Cluster, ClusterAway, ClusterRefused
from services.worker.machines.lines import LineReader
from services.worker.machines.names import JOB, RUNTIME, folder_of, name_of
from services.worker.machines.pods import Pod, pod_of
from services.worker.machines.trainjob import train_job
from services.worker.process import Reports, Said, without_folders
from services.worker.protocol import PARTED, STOPPED, ChildJob, ErrorReport, LogReport
from services.worker.team import PARTING_S

LAST_WORDS_S = 5.0
RETRY_S = 1.0
# pods that are told to end at once have gone by then, or the API server does not say so
GONE_S = 60.0
_log = structlog.get_logger()


class Crew:
    """Creates the TrainJob of a claim and speaks for its pods, as a Team does for processes; ranks are of all
    machines.
    """

    def __init__(self, job: ChildJob, settings: Settings, claim: Claim, cluster: Cluster, store: ObjectStore) -> None:
        """The TrainJob is created as soon as the API server answers."""
        self.reports: Reports = queue.Queue()
        self.lost = ""
        self._settings, self._claim, self._cluster, self._store = settings, claim, cluster, store
        self._name, self._each = name_of(claim.job_id, claim.fence), max(claim.gpus_each or 0, 1)
        self._size = (claim.nodes or 1) * self._each
        self._pods: dict[int, Pod] = {}
        self._followers: dict[str, threading.Thread] = {}
        self._failed_at: dict[int, float] = {}
        self._over_at: float | None = None
        self._removed_at: float | None = None
        self._looked = 0.0
        self._told, self._created, self._has_result, self._finished = "", False, False, False
        place = folder_of(claim.job_id, claim.fence)
        store.put_bytes(f"{place}/job.json", job.model_dump_json().encode(), "application/json")

    def ended(self) -> bool:
        """True once all pods are over and all they have said is in `reports`."""
        if time.monotonic() - self._looked >= min(self._settings.heartbeat_s, 2.0):
            self._look()
        if self._all_over():
            self.finish()
            return True
        moment = time.monotonic()
        if self._over_at is not None and moment - self._over_at > PARTING_S and self._removed_at is None:
            # one has failed or is lost, or the main one is done: the others can do nothing more
            self.kill()
        if self._removed_at is not None and moment - self._removed_at > self._settings.stop_grace_s + GONE_S:
            self.lost = self.lost or "its pods did not end when they were told to"
            self.finish()
            return True
        return False

    def _all_over(self) -> bool:
        complete = self._removed_at is not None or len(self._pods) == self._claim.nodes
        return complete and all(pod.over for pod in self._pods.values())

    def _create(self) -> None:
        cluster, settings = self._cluster, self._settings
        try:
            remove_others(cluster, settings, self._claim.job_id, but=self._name)
            cluster.create(train_job(self._claim, settings, cluster.runtime(settings.machines_runtime)))
        except ClusterRefused as error:
            self._removed_at = time.monotonic()
            self._fail(f"the cluster has refused the TrainJob: {error}")
        else:
            self._created = True
            self._tell(f"asked for {self._claim.nodes} machines: TrainJob {self._name}")

    def _look(self) -> None:
        self._looked = time.monotonic()
        try:
            if not self._created:
                self._create()
                return
            found = {pod.index: pod for pod in map(pod_of, self._cluster.pods(self._name))}
            if not found and self._removed_at is None:
                self._look_at_the_job()
        except (ClusterAway, ClusterRefused) as error:
            # what trains goes on meanwhile, and the lease is the database's
            self._tell(f"the API server of the cluster cannot be asked: {error}", "warning")
            return
        for index, known in self._pods.items():
            if index not in found and not known.over:
                end = "" if self._removed_at is not None else "its pod has gone without a word"
                found[index] = Pod(index, known.name, known.uid, known.started, lost=end or "removed")
            elif index not in found:
                found[index] = known
        self._pods = found
        for pod in found.values():
            self._follow(pod)
            self._judge(pod)
        waiting = [f"machine {pod.index + 1}: {pod.waits}" for pod in found.values() if pod.waits]
        if waiting:
            self._tell(f"{len(waiting)} of {self._claim.nodes} machines are not there yet; {'; '.join(waiting[:4])}")

    def _look_at_the_job(self) -> None:
        """Why there are no pods: they may be about to come."""
        job = self._cluster.train_job(self._name)
        if job is None:
            # somebody has removed it, or will have: as good as a drained worker
            self._removed_at = time.monotonic()
            self._tell("the TrainJob was removed by somebody else", "warning")
            return
        for condition in job.get("status", {}).get("conditions", []):
            words = f"{condition.get('reason', '')}: {condition.get('message', '')}"
            if condition.get("status") == "True" and condition.get("type") == "Failed":
                self._fail(f"Kubeflow Trainer could not run it: {words}")
                self.kill()
            elif condition.get("status") == "True":
                self._tell(f"the TrainJob is {condition.get('type', '').lower()}; {words}")

    def _judge(self, pod: Pod) -> None:
        """Note when a pod keeps the others from going on."""
        if not pod.over or self._removed_at is not None:
            return
        done = pod.index > 0 and pod.exit_code in {0, STOPPED}
        if pod.lost and not self.lost:
            self.lost = f"machine {pod.index + 1} of {self._claim.nodes} was lost: {pod.lost}"
            self._tell(self.lost, "warning")
        if pod.exit_code not in {None, 0, STOPPED, PARTED}:
            self._failed_at.setdefault(pod.index * self._each, time.monotonic())
        if not done and self._over_at is None:
            self._over_at = time.monotonic()

    def _follow(self, pod: Pod) -> None:
        if pod.uid in self._followers or not (pod.started or pod.exit_code is not None):
            return
        thread = threading.Thread(target=self._read, args=(pod,), name=f"log-{pod.name}", daemon=True)
        self._followers[pod.uid] = thread
        thread.start()

    def _read(self, pod: Pod) -> None:
        """Take in the log of a pod, over broken connections, until the pod is over and no more comes."""
        reader, last = LineReader(pod.index * self._each), 0
        while not self._finished:
            over = self._pods.get(pod.index, pod).over or self._removed_at is not None
            try:
                for line in self._cluster.log(pod.name, reader.since):
                    said = reader.read(line, time.monotonic())
                    if said is not None:
                        self._take(said)
                if reader.missed > last:
                    count, machine = reader.missed - last, pod.index + 1
                    self._tell(f"{count} reports of machine {machine} are lost with its log", "warning")
                    last = reader.missed
                if over:
                    return
            except ClusterRefused:
                return
            except ClusterAway as error:
                _log.info("log_broken", pod=pod.name, error=str(error))
            threading.Event().wait(RETRY_S)

    def _take(self, said: Said) -> None:
        if isinstance(said.entry, LogReport):
            # what a program prints can name folders
            said = Said(said.rank, LogReport(level="debug", message=without_folders(said.entry.message)), said.at)
        elif b'"type": "result"' in said.entry or b'"type":"result"' in said.entry:
            self._has_result = True
        self.reports.put(said)

    def _tell(self, message: str, level: str = "info") -> None:
        """A line for the job's log, and what it is doing; the same one not twice in a row."""
        if message == self._told:
            return
        self._told = message
        _log.info("machines", job_id=self._claim.job_id, said=message)
        self.reports.put(Said(0, LogReport(level=level, message=message), time.monotonic()))

    def _fail(self, detail: str) -> None:
        """The attempt fails for want of machines, whatever the processes may say."""
        why = ErrorReport(reason="code", detail=detail)
        self.reports.put(Said(0, why.model_dump_json().encode(), time.monotonic()))
        self._failed_at.setdefault(0, time.monotonic())

    def failing(self, rank: int, moment: float) -> None:
        """A process has told of an error, and is about to end."""
        self._failed_at.setdefault(rank, moment)
        if self._over_at is None:
            self._over_at = moment

    @property
    def failed(self) -> int | None:
        """The rank of the process that failed first; not one that was only drawn in, as it had lost the others."""
        return min(self._failed_at, key=lambda rank: (self._failed_at[rank], rank)) if self._failed_at else None

    @property
    def exit_code(self) -> int | None:
        """That of the pod which failed first, else of one that was stopped or drawn in, else of the main one."""
        if self.failed is not None:
            pod = self._pods.get(self.failed // self._each)
            return pod.exit_code if pod is not None else None
        if self.lost:
            return PARTED
        codes = [pod.exit_code for _, pod in sorted(self._pods.items())]
        if self._removed_at is not None and not self._has_result:
            return STOPPED
        return next((code for code in (STOPPED, PARTED) if code in codes), codes[0] if codes else STOPPED)

    @property
    def memory_ran_out(self) -> bool:
        """True when a pod was ended because it took more memory than it may."""
        return any(pod.out_of_memory for pod in self._pods.values())

    def name_of(self, rank: int) -> str:
        """A process for people."""
        return f"process {rank + 1} of {self._size}, on machine {rank // self._each + 1} of {self._claim.nodes}"

    def marked(self, rank: int, line: str) -> str:
        """A line of the log, with its process unless that is the main one."""
        return f"process {rank + 1}: {line}" if rank else line

    def stop(self) -> None:
        """Remove the TrainJob: each pod gets SIGTERM, they agree on a step, store one checkpoint and end."""
        self._removed_at = self._removed_at or time.monotonic()
        self._try(self._cluster.remove, self._name)

    def kill(self) -> None:
        """End all pods at once."""
        self.stop()
        for pod in self._pods.values():
            if pod.exit_code is None:
                self._try(self._cluster.end_pod, pod.name)

    def finish(self) -> None:
        """Remove what is left, and take what was said last; a result also where the log has lost it."""
        if self._finished:
            return
        self.stop()
        until = time.monotonic() + LAST_WORDS_S
        for thread in self._followers.values():
            thread.join(max(until - time.monotonic(), 0))
        self._finished = True
        main = self._pods.get(0)
        if main is not None and main.exit_code == 0 and not self._has_result:
            try:
                kept = self._store.get_bytes(f"{folder_of(self._claim.job_id, self._claim.fence)}/result.json")
            except FileNotFoundError:
                return
            self.reports.put(Said(0, kept, time.monotonic()))

    def _try(self, work: Callable[..., object], *given: str) -> None:
        try:
            work(*given)
        except (ClusterAway, ClusterRefused) as error:
            _log.warning("cluster_failed", job_id=self._claim.job_id, error=str(error))


def remove_others(cluster: Cluster, settings: Settings, job_id: str, but: str) -> None:
    """Remove the TrainJobs of earlier attempts of a job, which nobody supervises any more."""
    for found in cluster.train_jobs(f"{RUNTIME}={settings.machines_runtime},{JOB}={job_id}"):
        if found["metadata"]["name"] != but:
            cluster.remove(found["metadata"]["name"])
