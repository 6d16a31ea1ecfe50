"""The progress bar of uploads and downloads."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from medcoss.client import Notify, TransferProgress
from services.cli.output import err


@contextmanager
def transfer_bar() -> Iterator[Notify]:
    """A bar a stage, in files and bytes and with the time that is left, on standard error; nothing where that is no
    terminal.
    """
    console = err()
    columns = (
        TextColumn("{task.description:<11}"), BarColumn(bar_width=None),
        TextColumn("{task.fields[files]} files"), DownloadColumn(binary_units=True), TransferSpeedColumn(),
        TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        stages: dict[str, TaskID] = {}
        resumed: dict[str, int] = {}

        def notify(now: TransferProgress) -> None:
            files = f"{now.files_done}/{now.files}"
            if now.stage not in stages:
                stages[now.stage] = progress.add_task(now.stage, total=now.total, files=files)
            if now.resumed != resumed.get(now.stage, 0):
                # what was there before tells nothing of the speed
                resumed[now.stage] = now.resumed
                progress.reset(stages[now.stage], completed=now.done, files=files)
            else:
                progress.update(stages[now.stage], completed=now.done, files=files)

        yield notify
