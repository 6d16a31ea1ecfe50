"""What an attempt on several machines is called: in the cluster, in its pods, in the object store."""

from services.core.checkpoints import prefix_of

JOB, FENCE, RUNTIME = "medcoss/job", "medcoss/fence", "medcoss/runtime"
# where a pod finds its attempt in the object store, and where the main one puts its result
ATTEMPT = "MEDCOSS_ATTEMPT"


def name_of(job_id: str, fence: int) -> str:
    """A name of its own for each attempt; that of a pod is longer and must be no longer than a host name."""
    return f"medcoss-{job_id.removeprefix('job_').replace('_', '-').lower()}-{fence}"


def folder_of(job_id: str, fence: int) -> str:
    """Where attempt and result lie in the object store; they go with the checkpoints of a job."""
    return f"{prefix_of(job_id)}/attempts/{fence:06d}"
