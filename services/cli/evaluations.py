"""`medcoss evaluations`: scores of models, side by side."""

from itertools import islice
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from medcoss.client import Client, Comparison
from medcoss.client.filters import EvaluationFilters
from services.cli.connection import Fields, InProject, Json, Limit, Sort, connected
from services.cli.output import (
    Columns,
    chosen,
    details,
    figure,
    identifier,
    number,
    say,
    short_moment,
    show,
    table,
)
from services.cli.stages import forgetting_tables
from services.cli.transfers import transfer_bar

app = typer.Typer(name="evaluations", help="Look at scores of models and compare them.", no_args_is_help=True)

Id = Annotated[str, typer.Argument(metavar="ID", help="Evaluation, e.g. evl_01abc...")]


def _some(name: str, words: str) -> typer.models.OptionInfo:
    return typer.Option(f"--{name}", metavar=name.upper(), help=words)  # type: ignore[no-any-return]


@app.command("list")
@connected
def list_evaluations(
    client: Client,
    dataset: Annotated[str | None, _some("dataset", "Only those on this dataset.")] = None,
    model: Annotated[str | None, _some("model", "Only those of this model.")] = None,
    encoder: Annotated[str | None, _some("encoder", "Only those of models fine-tuned from this one.")] = None,
    task: Annotated[str | None, _some("task", "Only classification, segmentation or forgetting.")] = None,
    split: Annotated[str | None, _some("split", "Only those on train, val, test or held_out (a fold).")] = None,
    job: Annotated[str | None, _some("job", "Only those that this job made.")] = None,
    sort: Sort = None,
    fields: Fields = None,
    project: InProject = None,
    limit: Limit = 50,
    as_json: Json = False,
) -> None:
    """Evaluations, newest first; --sort=-score is the best first."""
    filters: EvaluationFilters = {
        "dataset": dataset, "model": model, "encoder": encoder, "task": task, "split": split, "job": job, "sort": sort,
        "project": project,
    }  # fmt: skip
    if fields is not None:
        chosen(islice(client.evaluations.select(fields, **filters), limit or None), fields, as_json)
        return
    found = list(islice(client.evaluations.list(**filters), limit or None))
    columns: Columns = [identifier(), "model", number("seed"), "dataset", "split", "metric", number("score"), "created"]
    rows = [
        (e.id, e.model_name, _count(e.seed), e.dataset_name, e.split, e.headline, figure(e.score),
         short_moment(e.created_at))
        for e in found
    ]  # fmt: skip
    show(found, as_json, table(columns, rows, extra=1))


def _count(value: int | None) -> str | None:
    return None if value is None else str(value)


def _ends(interval: tuple[float, float] | None) -> str | None:
    return None if interval is None else f"{figure(interval[0])} to {figure(interval[1])}"


@app.command("show")
@connected
def show_evaluation(client: Client, evaluation_id: Id, as_json: Json = False) -> None:
    """One evaluation: its scores with 95 % intervals, and those of each class."""
    found = client.evaluations.get(evaluation_id)
    about = {
        name: getattr(found, name)
        for name in ("id", "name", "task", "model_id", "model_name", "encoder_id", "dataset_id", "dataset_name",
                     "split", "seed", "fold", "job_id", "created_at")
    }  # fmt: skip
    scores: Columns = ["score", number("value"), "95 % interval"]
    rows = [(name, figure(value), _ends(found.intervals.get(name))) for name, value in found.metrics.items()]
    parts: list[RenderableType] = [details(about), Text(), table(scores, rows)]
    if found.per_class:
        names = list(found.per_class[0])
        columns: Columns = [name if name == "class" else number(name) for name in names]
        cells = [[_cell(row.get(name)) for name in names] for row in found.per_class]
        parts += [Text(), table(columns, cells)]
    if found.forgetting is not None:
        parts += [Text(), *forgetting_tables(found.forgetting)]
    show(found, as_json, Group(*parts))


def _cell(value: str | int | float | None) -> str | None:
    return figure(value) if isinstance(value, float) else value if value is None else str(value)


@app.command("compare")
@connected
def compare(
    client: Client,
    ids: Annotated[list[str], typer.Argument(metavar="ID...", help="Evaluations, the one to compare with first.")],
    metric: Annotated[
        list[str] | None, typer.Option("--metric", metavar="M", help="Only this score, e.g. dice/liver; repeatable.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Scores of several models on one split, and their differences to the first with a paired bootstrap."""
    found = client.evaluations.compare(ids[0], *ids[1:])
    show(found, as_json, _compared(found, metric))
    for evaluation, why in found.unpaired.items():
        say(f"{evaluation} is not paired with {found.baseline}: {why}")


def _compared(found: Comparison, wanted: list[str] | None) -> Group:
    """A table for each score; without a wish, scores of single classes are left out."""
    models = {one.id: one for one in found.evaluations}
    columns: Columns = [identifier(), "model", number("seed"), number("score"), "95 % interval", number("difference"),
                        "95 % interval", number("p")]  # fmt: skip
    parts: list[RenderableType] = []
    for metric in found.metrics:
        if metric.name not in wanted if wanted else "/" in metric.name:
            continue
        rows = [
            (
                value.evaluation, models[value.evaluation].model_name, _count(models[value.evaluation].seed),
                None if value.value is None else figure(value.value), _ends(value.interval),
                None if value.difference is None else f"{value.difference:+.4g}", _ends(value.difference_interval),
                None if value.p is None else f"{value.p:.3f}",
            )
            for value in metric.values
        ]  # fmt: skip
        parts += [Text(f"{metric.name} ({metric.better} is better)", style="bold"), table(columns, rows), Text()]
    return Group(*parts)


@app.command("download")
@connected
def download(
    client: Client,
    evaluation_id: Id,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where to put the files.")],
    as_json: Json = False,
) -> None:
    """Fetch the pictures and the scores of the cases, each file verified."""
    with transfer_bar() as notify:
        target = client.evaluations.download(evaluation_id, folder, progress=notify)
    show({"folder": str(target)}, as_json, str(target))


@app.command("delete")
@connected
def delete(client: Client, evaluation_id: Id) -> None:
    """Delete an evaluation with its pictures."""
    client.evaluations.delete(evaluation_id)
    say(f"deleted {evaluation_id}")
