"""A job that is watched: a bar with time left and the newest numbers, or lines where there is no terminal."""

from types import TracebackType

from rich.console import Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from medcoss.client import Client, Job, JobProgress, Metric, Progress
from medcoss.client.waiting import patiently
from services.cli.output import err, figure, seconds, state

LINE_EVERY = 0.1
SHOWN_METRICS = 6


def watch(client: Client, job_id: str) -> Job:
    """Show a job until it ends, on standard error; its last state, whatever that is."""
    console = err()
    display = _Live() if console.is_terminal else _Lines()
    try:
        with display:
            job = _follow(client, job_id, display)
    except KeyboardInterrupt:
        console.print(Text(f"no longer watching; {job_id} goes on"), soft_wrap=True)
        raise
    console.print(ending(job), soft_wrap=True)
    return job


def _follow(client: Client, job_id: str, display: "_Live | _Lines") -> Job:
    job = client.jobs.get(job_id)
    display.update(job)
    for report in client.jobs.watch(job_id, include=("metrics", "progress")):
        if isinstance(report, Metric):
            display.count(report)
        elif isinstance(report, JobProgress):
            if (report.state, report.attempt) != (job.state, job.attempt):
                # it also says why it waits
                job = patiently(lambda: client.jobs.get(job_id))
            elif report.total and report.fraction is not None:
                now = Progress.model_validate(report.model_dump(include=set(Progress.model_fields)))
                job = job.model_copy(update={"progress": now})
        display.update(job)
    return patiently(lambda: client.jobs.get(job_id))


def ending(job: Job) -> Text:
    """How a job ended, in one line."""
    line = Text(f"{job.id} ({job.kind}) ")
    line.append_text(state(job.state))
    if job.duration_s is not None:
        line.append(f" after {seconds(job.duration_s)}")
    if job.state == "failed" and job.error:
        line.append(f": {job.error.get('title', '')}: {job.error.get('detail', '')}")
        line.append("".join(f"\n  try: {advice}" for advice in job.error.get("advice", [])), style="dim")
    elif job.outputs:
        line.append(": " + ", ".join(f"{resource} {name}" for resource, name in job.outputs.items()))
    return line


class _Lines:
    """A line for every new state and every tenth of the way."""

    def __init__(self) -> None:
        self._state, self._told = "", -1.0

    def update(self, job: Job) -> None:
        """Tell what is new."""
        fraction = job.progress.fraction if job.progress else 0.0
        if job.ended or (job.state == self._state and fraction - self._told < LINE_EVERY):
            return
        self._state, self._told = job.state, fraction
        err().print(Text(f"{job.id} {job.state}{_where(job)}"), soft_wrap=True)

    def count(self, metric: Metric) -> None:
        """Numbers are not told."""

    def __enter__(self) -> "_Lines":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:  # fmt: skip
        """Nothing to tidy."""


class _Live:
    """A bar that moves; it disappears at the end."""

    def __init__(self) -> None:
        self._metrics: dict[str, float] = {}
        self._live = Live(console=err(), transient=True, refresh_per_second=4)

    def update(self, job: Job) -> None:
        """Draw the present state."""
        self._live.update(self._picture(job))

    def count(self, metric: Metric) -> None:
        """Show the newest numbers with the next picture."""
        self._metrics = {"step": float(metric.step)} | metric.values

    def _picture(self, job: Job) -> Group:
        head = Text(f"{job.kind} {job.name}  " if job.name != job.kind else f"{job.kind}  ", style="bold")
        head.append_text(state(job.state))
        head.append(f"  attempt {job.attempt} of {job.max_attempts}" if job.attempt > 1 else "", style="dim")
        line = Table.grid(expand=True, padding=(0, 1))
        line.add_column(ratio=1)
        line.add_column(no_wrap=True)
        fraction = job.progress.fraction if job.progress else 0.0
        line.add_row(ProgressBar(total=1.0, completed=fraction, pulse=job.progress is None), _where(job).strip(" ,:"))
        numbers = [f"{name} {figure(value)}" for name, value in list(self._metrics.items())[: SHOWN_METRICS + 1]]
        return Group(head, line, Text("   ".join(numbers), style="dim", overflow="ellipsis", no_wrap=True))

    def __enter__(self) -> "_Live":
        self._live.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:  # fmt: skip
        self._live.__exit__(kind, error, trace)


def _where(job: Job) -> str:
    """How far a job is, with a separator before it; why it waits when it does."""
    if job.state != "running" or job.progress is None:
        return f": {job.reason}" if job.reason else ""
    left = seconds(job.progress.eta_s)
    words = [f"{job.progress.fraction:.0%}", f"{job.progress.done}/{job.progress.total}"]
    words += [job.progress.message] if job.progress.message else []
    words += [f"{left} left"] if left else []
    return " " + ", ".join(words)
