"""CPU threads of training processes."""

import torch

from services.worker.context import WorkerRun


def limit_threads(context: WorkerRun) -> None:
    """Use as many CPU threads as the settings say."""
    if context.settings.threads:
        torch.set_num_threads(context.settings.threads)
