"""`medcoss workers`."""

from typing import Annotated

import typer

from medcoss.client import Client, Worker
from services.cli.connection import Json, connected
from services.cli.output import Columns, identifier, number, short_moment, show, size, state, table, wrapped


@connected
def workers(
    client: Client,
    worker_state: Annotated[
        str | None, typer.Option("--state", help="Only those that are idle, running, draining or gone.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Who is there to run jobs: what each worker offers and does."""
    found = list(client.workers.list(state=worker_state))
    columns: Columns = [identifier("worker"), "state", "job", wrapped("GPUs"), number("memory"), number("CPUs"), "seen"]
    rows = [
        (w.name, state(w.state), w.job_id, _gpus(w), size(w.memory_bytes) if w.memory_bytes else None, str(w.cpus),
         short_moment(w.seen_at))
        for w in found
    ]  # fmt: skip
    show(found, as_json, table(columns, rows, extra=2))


def _gpus(worker: Worker) -> str:
    """Number and model of its GPUs, and how busy they are; of one that has jobs run on several machines, these."""
    if worker.nodes is not None:
        return f"{worker.nodes} machines with {worker.gpus or 'none'} each"
    if not worker.gpus:
        return "none"
    words = [f"{worker.gpus} {worker.gpu_model or ''}".strip()]
    words += [f"{worker.gpu_utilisation:.0%} busy"] if worker.gpu_utilisation is not None else []
    words += [f"{size(worker.gpu_memory_used_bytes)} used"] if worker.gpu_memory_used_bytes is not None else []
    return ", ".join(words)
