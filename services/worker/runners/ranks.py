"""The processes of a training that runs on several GPUs."""

import os

from medcoss.training.distributed import Ranks
from services.worker.context import WorkerRun


def join_ranks(context: WorkerRun) -> Ranks:
    """Meet the others of the attempt, or be alone. Done before data is fetched, each notices when another is gone.

    A worker that offers GPUs which PyTorch does not find trains on its CPUs, and says so.
    """
    ranks = Ranks.join()
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given and ranks.main and ranks.device.type == "cpu":
        context.log(f"the job was given the GPUs {given}, but PyTorch finds none: it trains on CPUs", "warning")
    return ranks
