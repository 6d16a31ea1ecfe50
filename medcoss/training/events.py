"""TensorBoard event files of a run."""

from pathlib import Path

from tensorboardX import SummaryWriter

from medcoss.run import RunContext


class Events:
    """One file of scalars, `tensorboard/events.out.tfevents.<first step>`, kept with the run as an artifact.

    A run that goes on after `first` steps starts a new file, which TensorBoard shows in the place of
    what an earlier file has of later steps.
    """

    def __init__(self, folder: Path, first: int, context: RunContext) -> None:
        self._folder, self._context = folder, context
        self._name = f"tensorboard/events.out.tfevents.{first:09d}"
        self._writer = SummaryWriter(str(folder), purge_step=first or None)

    def add(self, step: int, values: dict[str, float]) -> None:
        """Take a row of metrics."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def keep(self) -> None:
        """Store what there is so far as an artifact; a later file of the name takes its place."""
        self._writer.flush()
        (path,) = self._folder.glob("events.out.tfevents.*")
        self._context.artifact(path, self._name, "application/octet-stream")

    def close(self) -> None:
        """Write no more."""
        self._writer.close()
