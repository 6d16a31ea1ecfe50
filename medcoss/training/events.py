"""TensorBoard event files of a run."""

import time
from pathlib import Path

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary

from medcoss.run import RunContext


class Events:
    """One file of scalars, `tensorboard/events.out.tfevents.<first step>`, kept with the run as an artifact.

    A run that goes on after `first` steps starts a new file, which TensorBoard shows in the place of
    what an earlier file has of later steps.
    """

    def __init__(self, folder: Path, first: int, context: RunContext) -> None:
        self._folder, self._context = folder, context
        self._name = f"tensorboard/events.out.tfevents.{first:09d}"
        # without the queue of tensorboardX's SummaryWriter, whose flush leaves the newest rows behind
        self._writer = EventsWriter(str(folder / "events"))
        if first:
            self._write(Event(step=first + 1, session_log=SessionLog(status=SessionLog.START)))

    def _write(self, event: Event) -> None:
        event.wall_time = time.time()
        self._writer.write_event(event)

    def add(self, step: int, values: dict[str, float]) -> None:
        """Take a row of metrics."""
        scalars = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        self._write(Event(step=step, summary=Summary(value=scalars)))

    def keep(self) -> None:
        """Store what there is so far as an artifact; a later file of the name takes its place."""
        self._writer.flush()
        (path,) = self._folder.glob("events.out.tfevents.*")
        self._context.artifact(path, self._name, "application/octet-stream")

    def close(self) -> None:
        """Write no more."""
        self._writer.close()
