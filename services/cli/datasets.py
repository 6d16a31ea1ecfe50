"""`medcoss datasets`."""

from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from medcoss.client import Client, Dataset
from medcoss.client.filters import DatasetFilters
from services.cli.connection import ByName, ByTag, Fields, InProject, Json, Limit, Project, Sort, connected
from services.cli.output import (
    CliError,
    Columns,
    chosen,
    details,
    identifier,
    number,
    say,
    short_moment,
    show,
    size,
    state,
    table,
    wrapped,
)
from services.cli.transfers import transfer_bar

app = typer.Typer(name="datasets", help="Upload, look at, fetch and delete datasets.", no_args_is_help=True)

Id = Annotated[str, typer.Argument(metavar="ID", help="Dataset, e.g. ds_01abc...")]

UploadId = Annotated[str, typer.Argument(metavar="UPLOAD", help="One of `medcoss datasets uploads`, upl_01abc...")]


def show_dataset(dataset: Dataset, as_json: bool) -> None:
    """One dataset in full."""
    entries = dataset.model_dump(exclude={"bad_files", "state"})
    entries["total_bytes"] = size(dataset.total_bytes)
    entries["created_at"] = dataset.created_at
    lines = {"id": entries.pop("id"), "name": entries.pop("name"), "state": state(dataset.state)} | entries
    lines["bad_files"] = "\n".join(f"{bad.path}: {bad.reason}" for bad in dataset.bad_files)
    show(dataset, as_json, details(lines))


@app.command("upload")
@connected
def upload(
    client: Client,
    path: Annotated[Path, typer.Argument(metavar="PATH", help="Folder or file; hidden files are left out.")],
    name: Annotated[str, typer.Option("--name", help="Name of the dataset.")],
    modality: Annotated[
        str | None, typer.Option("--modality", help="What it shows: report, xray, ct, mr or pathology.")
    ] = None,
    description: Annotated[str, typer.Option("--description", help="A few words about it.")] = "",
    tag: Annotated[list[str] | None, typer.Option("--tag", help="A tag to find it by; repeatable.")] = None,
    project: Project = None,
    threads: Annotated[int, typer.Option("--threads", min=1, max=32, help="Files or parts sent at once.")] = 4,
    part_mib: Annotated[
        int | None, typer.Option("--part-mib", min=5, max=5120, help="Size of the parts of large files; 16 and more.")
    ] = None,
    deidentify: Annotated[
        bool,
        typer.Option(help="Take identity out of DICOM headers and of the names of files before anything is sent."),
    ] = True,
    as_json: Json = False,
) -> None:
    """Upload a folder or a file as a raw dataset. After a break, the same command goes on with what has arrived."""
    try:
        with transfer_bar() as notify:
            dataset = client.datasets.upload(
                path,
                name=name,
                modality=modality,
                description=description,
                tags=tag or [],
                project=project,
                progress=notify,
                threads=threads,
                part_bytes=part_mib * 2**20 if part_mib else None,
                deidentify=deidentify,
                notice=say,
            )
    except KeyboardInterrupt as stopped:
        for note in getattr(stopped, "__notes__", []):
            say(note)
        raise
    except ValueError as error:
        raise CliError(str(error)) from error
    say(f"uploaded {dataset.file_count} files, {size(dataset.total_bytes)}")
    show(dataset, as_json, dataset.id)


@app.command("list")
@connected
def list_datasets(
    client: Client,
    role: Annotated[str | None, typer.Option("--role", help="Only raw, prepared or buffer.")] = None,
    modality: Annotated[str | None, typer.Option("--modality", help="Only this modality.")] = None,
    name: ByName = None,
    tag: ByTag = None,
    sort: Sort = None,
    fields: Fields = None,
    project: InProject = None,
    limit: Limit = 50,
    as_json: Json = False,
) -> None:
    """Datasets, newest first."""
    filters: DatasetFilters = {
        "role": role, "modality": modality, "name": name, "tag": tag, "sort": sort, "project": project,
    }  # fmt: skip
    if fields is not None:
        chosen(islice(client.datasets.select(fields, **filters), limit or None), fields, as_json)
        return
    found = list(islice(client.datasets.list(**filters), limit or None))
    columns: Columns = [identifier(), "name", "role", "modality", number("samples"), number("size"), "created"]
    rows = [
        (d.id, d.name, d.role if d.state == "ready" else d.state, d.modality,
         None if d.samples is None else str(d.samples), size(d.total_bytes), short_moment(d.created_at))
        for d in found
    ]  # fmt: skip
    show(found, as_json, table(columns, rows, extra=1))


@app.command("show")
@connected
def show_one(client: Client, dataset_id: Id, as_json: Json = False) -> None:
    """One dataset in full."""
    show_dataset(client.datasets.get(dataset_id), as_json)


@app.command("files")
@connected
def files(client: Client, dataset_id: Id, as_json: Json = False) -> None:
    """The files of a dataset."""
    found = list(client.datasets.files(dataset_id))
    rows = [(f.path, size(f.size), (f.sha256 or "")[:12]) for f in found]
    show(found, as_json, table([wrapped("path"), number("size"), "sha256"], rows))


@app.command("uploads")
@connected
def uploads(client: Client, dataset_id: Id, as_json: Json = False) -> None:
    """The large files of a dataset that arrive, or arrived lately, in parts."""
    found = list(client.uploads.list(dataset_id))
    rows = [(u.id, u.path, size(u.size), u.state, short_moment(u.expires_at)) for u in found]
    show(found, as_json, table([identifier(), wrapped("path"), number("size"), "state", "until"], rows))


@app.command("abort")
@connected
def abort(client: Client, dataset_id: Id, upload_id: UploadId) -> None:
    """Give up a large file that is on its way, so that the dataset can be completed without it."""
    client.uploads.abort(dataset_id, upload_id)
    say(f"aborted {upload_id}")


@app.command("delete")
@connected
def delete(client: Client, dataset_id: Id) -> None:
    """Delete a dataset that nothing uses."""
    client.datasets.delete(dataset_id)
    say(f"deleted {dataset_id}")


@app.command("download")
@connected
def download(
    client: Client,
    dataset_id: Id,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where to put the files.")],
    as_json: Json = False,
) -> None:
    """Fetch the files of a dataset; each is verified, what is there already is not fetched again."""
    with transfer_bar() as notify:
        target = client.datasets.download(dataset_id, folder, progress=notify)
    show({"folder": str(target)}, as_json, str(target))
