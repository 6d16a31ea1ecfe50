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
    """A bar a stage, in bytes and with the time that is left, on standard error; nothing where that is no terminal."""
    console = err()
    columns = (
        TextColumn("{task.description:<11}"), BarColumn(bar_width=None), DownloadColumn(binary_units=True),
        TransferSpeedColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        stages: dict[str, TaskID] = {}

        def notify(now: TransferProgress) -> None:
            if now.stage not in stages:
                stages[now.stage] = progress.add_task(now.stage, total=now.total)
            progress.update(stages[now.stage], completed=now.done)

        yield notify
