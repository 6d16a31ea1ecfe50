"""`medcoss jobs scores`: what the trainings of a job have reached, and how it spreads."""

from typing import Annotated

import typer

from medcoss.client import Client, Runs
from services.cli.connection import Json, connected
from services.cli.output import CliError, Columns, figure, number, show, table, wrapped

SOURCES = ("held_out", "test", "val", "train")


def shown(runs: Runs, name: str | None) -> list[str]:
    """The scores with this name, or else those of the most telling source that there is."""
    there = list(dict.fromkeys(score for group in runs.groups for score in group.metrics))
    if name is not None:
        return [score for score in there if score == name or score.split("/", 1)[-1] == name]
    for source in SOURCES:
        mine = [score for score in there if score.startswith(f"{source}/") and score.count("/") == 1]
        if mine:
            return mine
    return there


@connected
def scores(
    client: Client,
    job_id: Annotated[str, typer.Argument(metavar="ID", help="Job of several trainings, e.g. job_01abc...")],
    name: Annotated[str | None, typer.Option("--name", help="Only this score, e.g. f1 or test/f1.")] = None,
    each: Annotated[bool, typer.Option("--runs", help="Every training instead of their means.")] = False,
    as_json: Json = False,
) -> None:
    """The scores of several seeds, folds or encoders: mean ± standard deviation of the trainings."""
    job = client.jobs.get(job_id)
    runs = job.runs
    if runs is None:
        if job.ended:
            detail = (
                f"job {job_id} has no several trainings: it is no compare job, and no finetune job with seeds or folds"
            )
            raise CliError(detail)
        raise CliError(f"job {job_id} is {job.state}; its scores are there when it has succeeded")
    names = shown(runs, name)
    if each:
        head: Columns = [number("run"), "encoder", number("seed"), number("fold"), "model", *map(number, names)]
        rows = [
            (str(r.run), r.encoder or "", str(r.seed), "" if r.fold is None else str(r.fold), r.model_id,
             *(figure(r.metrics[n]) if n in r.metrics else "" for n in names))
            for r in runs.runs
        ]  # fmt: skip
        show(runs.runs, as_json, table(head, rows))
        return
    columns: Columns = [wrapped("encoder"), "size", number("runs"), *map(number, names)]
    lines = [
        (g.encoder or "", g.size, str(g.runs), *(str(g.metrics[n]) if n in g.metrics else "" for n in names))
        for g in runs.groups
    ]  # fmt: skip
    show(runs.groups, as_json, table(columns, lines))
