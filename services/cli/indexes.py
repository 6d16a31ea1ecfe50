"""`medcoss indexes`: studies found by the nearness of their embeddings."""

from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Group
from rich.text import Text

from medcoss.client import Client, Index
from medcoss.client.filters import IndexFilters
from services.cli.connection import Fields, InProject, Json, Limit, Project, Sort, connected
from services.cli.output import (
    Columns,
    chosen,
    details,
    figure,
    number,
    say,
    short_moment,
    show,
    size,
    table,
    wrapped,
)
from services.cli.transfers import transfer_bar

app = typer.Typer(name="indexes", help="Build indexes of embeddings and search them.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="INDEX", help="Name of the index, e.g. chest-search.")]
Wait = Annotated[bool, typer.Option("--wait", help="Wait until it is built.")]


def _only(name: str, words: str) -> Any:
    return typer.Option(f"--{name}", metavar=name.upper(), help=f"Only studies {words}; repeatable.")


@app.command("create")
@connected
def create(
    client: Client,
    name: Annotated[str, typer.Argument(metavar="INDEX", help="What to call it.")],
    encoder: Annotated[str, typer.Option("--encoder", metavar="MODEL", help="Model, or an alias: @production.")],
    dataset: Annotated[list[str], typer.Option("--dataset", metavar="ID", help="Prepared dataset; repeatable.")],
    level: Annotated[str, typer.Option("--level", help="A vector a study, or a sample (of volumes a tile).")] = "study",
    search: Annotated[str, typer.Option("--search", help="auto, exact or approximate.")] = "auto",
    projection: Annotated[int, typer.Option("--projection", help="Most studies in the 2-D projection.")] = 20_000,
    batch_size: Annotated[int, typer.Option("--batch-size", help="Samples that the encoder sees at once.")] = 32,
    description: Annotated[str, typer.Option("--description", help="For people.")] = "",
    wait: Wait = False,
    project: Project = None,
    as_json: Json = False,
) -> None:
    """Embed datasets and make them searchable; with an alias, again whenever it moves."""
    made = client.indexes.create(
        name, encoder, dataset, level=level, search=search, projection=projection, batch_size=batch_size,
        description=description, project=project,
    )  # fmt: skip
    _shown(client.indexes.wait(name, project=project) if wait else made, as_json)


def _shown(found: Index, as_json: bool) -> None:
    about = {
        name: getattr(found, name)
        for name in ("id", "name", "description", "state", "encoder", "model_id", "version", "level", "search",
                     "vectors", "width", "projected", "built_at", "trouble", "created_by", "created_at")
    } | {"size": None if found.total_bytes is None else size(found.total_bytes),
         "datasets": ", ".join(found.datasets), "modalities": ", ".join(found.modalities or []) or None}  # fmt: skip
    if found.build is not None:
        done = "" if found.build.fraction is None else f", {found.build.fraction:.0%}"
        about["build"] = f"{found.build.job_id} ({found.build.state}{done}) of {found.build.model_id}"
        about["error"] = found.build.error
    show(found, as_json, details(about))


@app.command("list")
@connected
def list_indexes(
    client: Client,
    encoder: Annotated[
        str | None, typer.Option("--encoder", metavar="MODEL", help="Only those of this model or alias.")
    ] = None,
    sort: Sort = None,
    fields: Fields = None,
    project: InProject = None,
    limit: Limit = 50,
    as_json: Json = False,
) -> None:
    """Indexes, newest first."""
    filters: IndexFilters = {"encoder": encoder, "sort": sort, "project": project}
    if fields is not None:
        chosen(islice(client.indexes.select(fields, **filters), limit or None), fields, as_json)
        return
    found = list(islice(client.indexes.list(**filters), limit or None))
    columns: Columns = ["name", "state", "encoder", number("version"), number("vectors"), "search", "created"]
    rows = [
        (i.name, i.state, i.encoder, str(i.version), None if i.vectors is None else str(i.vectors), i.search,
         short_moment(i.created_at))
        for i in found
    ]  # fmt: skip
    show(found, as_json, table(columns, rows, extra=1))


@app.command("show")
@connected
def show_index(client: Client, name: Name, project: InProject = None, as_json: Json = False) -> None:
    """One index: what answers now, and what is being built."""
    _shown(client.indexes.get(name, project=project), as_json)


@app.command("search")
@connected
def search(
    client: Client,
    name: Name,
    file: Annotated[Path | None, typer.Argument(metavar="FILE", help="PNG, JPEG, TIFF, DICOM or NIfTI.")] = None,
    text: Annotated[str | None, typer.Option("--text", help="A report, instead of a file.")] = None,
    sample: Annotated[
        str | None, typer.Option("--sample", metavar="DATASET/ID", help="A study that the index holds.")
    ] = None,
    k: Annotated[int, typer.Option("-k", min=1, max=1000, help="Most studies in the answer.")] = 10,
    exact: Annotated[bool, typer.Option("--exact", help="Compare with every vector.")] = False,
    dataset: Annotated[list[str] | None, _only("dataset", "of this dataset")] = None,
    modality: Annotated[list[str] | None, _only("modality", "of this modality")] = None,
    split: Annotated[list[str] | None, _only("split", "of this split")] = None,
    label: Annotated[list[str] | None, _only("label", "of this class")] = None,
    patient: Annotated[list[str] | None, _only("patient", "of this patient, by the keyed hash")] = None,
    reads: Annotated[
        str | None, typer.Option("--input", metavar="MODALITY", help="What the file is, where several are possible.")
    ] = None,
    project: InProject = None,
    as_json: Json = False,
) -> None:
    """The studies nearest to a file, a report or a stored study."""
    if sum(one is not None for one in (file, text, sample)) != 1:
        raise typer.BadParameter("give one of a FILE, --text and --sample")
    stored = None
    if sample is not None:
        owner, _, inside = sample.partition("/")
        stored = (owner, inside)
    filters: dict[str, Any] = {
        "dataset": dataset,
        "modality": modality,
        "split": split,
        "label": label,
        "patient": patient,
    }
    found = client.indexes.search(
        name, file if file is not None else text, sample=stored, k=k, exact=exact, input=reads, project=project,
        **{key: value for key, value in filters.items() if value},
    )  # fmt: skip
    columns: Columns = [number("score"), "dataset", wrapped("source"), "label", "split", "modality"]
    rows = [(figure(s.score), s.dataset, s.source, s.label, s.split, s.modality) for s in found.items]
    took = Text(f"{found.search} among {found.among} studies of version {found.version}, "
                f"{found.timing_ms.total:.0f} ms", style="dim")  # fmt: skip
    show(found, as_json, Group(table(columns, rows), took))


@app.command("download")
@connected
def download(
    client: Client,
    name: Name,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where to put the files.")],
    only: Annotated[
        str | None, typer.Option("--only", metavar="START", help="Only files that begin so, e.g. projection.")
    ] = None,
    project: InProject = None,
    as_json: Json = False,
) -> None:
    """Fetch vectors, studies and the 2-D projection (Parquet, JSON, PNG), each file verified."""
    with transfer_bar() as notify:
        target = client.indexes.download(name, folder, only=only, project=project, progress=notify)
    show({"folder": str(target)}, as_json, str(target))


@app.command("rebuild")
@connected
def rebuild(client: Client, name: Name, wait: Wait = False, project: InProject = None, as_json: Json = False) -> None:
    """Embed everything again, e.g. after a build has failed."""
    made = client.indexes.rebuild(name, project=project)
    _shown(client.indexes.wait(name, project=project) if wait else made, as_json)


@app.command("delete")
@connected
def delete(client: Client, name: Name, project: InProject = None) -> None:
    """Delete an index with its vectors."""
    client.indexes.delete(name, project=project)
    say(f"deleted {name}")
