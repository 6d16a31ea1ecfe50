"""The TrainJob of an attempt, as Kubeflow Trainer takes it (trainer.kubeflow.org/v1alpha1)."""

from typing import Any

from services.core.attempts import Claim
from services.core.settings import Settings
from services.worker.machines.cluster import CONTAINER
from services.worker.machines.names import ATTEMPT, FENCE, JOB, RUNTIME, folder_of, name_of

ANCESTOR = "trainer.kubeflow.org/trainjob-ancestor-step"


def train_job(claim: Claim, settings: Settings, runtime: dict[str, Any]) -> dict[str, Any]:
    """The TrainJob of a claim. What a container of `runtime` asks for is asked for again, as it would be replaced."""
    gpus = claim.gpus_each or 0
    resources = _resources(runtime)
    asked = {settings.machines_gpu_resource: str(gpus)} if gpus else {}
    asked |= {"memory": str(claim.memory_bytes)} if claim.memory_bytes else {}
    each = {
        "requests": {**resources.get("requests", {}), **asked},
        "limits": {**resources.get("limits", {}), **asked},
    }
    return {
        "apiVersion": "trainer.kubeflow.org/v1alpha1",
        "kind": "TrainJob",
        "metadata": {
            "name": name_of(claim.job_id, claim.fence),
            "labels": {
                **settings.machines_labels,
                "app.kubernetes.io/managed-by": "medcoss",
                JOB: claim.job_id, FENCE: str(claim.fence), RUNTIME: settings.machines_runtime,
            },
        },
        "spec": {
            "runtimeRef": {
                "apiGroup": "trainer.kubeflow.org", "kind": "TrainingRuntime", "name": settings.machines_runtime,
            },
            "trainer": {
                "numNodes": claim.nodes,
                "numProcPerNode": max(gpus, 1),
                "resourcesPerNode": {kind: values for kind, values in each.items() if values},
                "env": [
                    {"name": ATTEMPT, "value": folder_of(claim.job_id, claim.fence)},
                    {"name": "MEDCOSS_WORKER_GPUS", "value": str(gpus)},
                ],
            },
        },
    }  # fmt: skip


def _resources(runtime: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What the training container of a TrainingRuntime asks for."""
    for job in runtime["spec"]["template"]["spec"]["replicatedJobs"]:
        labels = job["template"].get("metadata", {}).get("labels", {})
        if labels.get(ANCESTOR) != "trainer":
            continue
        for container in job["template"]["spec"]["template"]["spec"]["containers"]:
            if container["name"] == CONTAINER:
                found: dict[str, dict[str, Any]] = container.get("resources", {})
                return found
    return {}
