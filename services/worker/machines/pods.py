"""What the pods of a TrainJob are up to, as the API server tells."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from services.core.tables.base import now
from services.worker.machines.cluster import CONTAINER

INDEX = "batch.kubernetes.io/job-completion-index"
# a machine that does not answer so long is lost, and so is a pod that has not ended so long after its time
SILENT = timedelta(seconds=60)


@dataclass(frozen=True)
class Pod:
    """One pod: the place of its machine, whether its container has started, how it ended, and what is wrong with it.

    `exit_code` is None while it runs, and of one that is gone without telling.
    """

    index: int
    name: str
    uid: str
    started: bool = False
    exit_code: int | None = None
    out_of_memory: bool = False
    lost: str = ""
    waits: str = ""

    @property
    def over(self) -> bool:
        """True when nothing more is to come of it."""
        return self.exit_code is not None or bool(self.lost)


def pod_of(found: dict[str, Any]) -> Pod:
    """A pod as the API server describes it."""
    metadata, status = found["metadata"], found.get("status", {})
    known = {**metadata.get("annotations", {}), **metadata.get("labels", {})}
    index, name, uid = int(known.get(INDEX, 0)), str(metadata["name"]), str(metadata.get("uid", metadata["name"]))
    states = [c for c in status.get("containerStatuses", []) if c["name"] == CONTAINER]
    state = states[0].get("state", {}) if states else {}
    ended = state.get("terminated")
    if ended is not None:
        return Pod(index, name, uid, True, int(ended["exitCode"]), ended.get("reason") == "OOMKilled")
    started = "running" in state
    lost = _lost(metadata, status, started)
    return Pod(index, name, uid, started, lost=lost, waits="" if started else _waits(status, state))


def _lost(metadata: dict[str, Any], status: dict[str, Any], started: bool) -> str:
    """Why nothing more is to be expected of a pod that has not ended, empty while there is hope."""
    if status.get("phase") == "Failed":
        return str(status.get("message") or status.get("reason") or "it has failed")
    moment = now()
    if (deleted := _moment(metadata.get("deletionTimestamp"))) is not None and moment > deleted + SILENT:
        return "it did not end when it was told to; its machine is out of reach, perhaps"
    for condition in status.get("conditions", []):
        # no probe tells of our container: what runs and is not ready is on a machine that does not answer
        silent = condition.get("type") == "Ready" and condition.get("status") == "False" and started
        since = _moment(condition.get("lastTransitionTime"))
        if silent and since is not None and moment > since + SILENT:
            return f"its machine has not answered for {SILENT.seconds} s"
    return ""


def _waits(status: dict[str, Any], state: dict[str, Any]) -> str:
    """Why a container has not started."""
    waiting = state.get("waiting", {})
    if waiting.get("reason", "ContainerCreating") not in {"ContainerCreating", "PodInitializing"}:
        return f"{waiting['reason']}: {waiting.get('message', '')}".strip(": ")
    for condition in status.get("conditions", []):
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return str(condition.get("message") or condition.get("reason") or "it has no machine yet")
    return "it is being started"


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text.replace("Z", "+00:00"))
