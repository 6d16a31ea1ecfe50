"""`medcoss models import` and `medcoss models export-checkpoint`: published checkpoints in and out."""

import re
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from medcoss.client import Client
from medcoss.run import BadInput
from medcoss.specs import ImportModelSpec
from medcoss.specs.imports import CheckpointFormat, ImportAttention, ImportPositions
from services.cli.connection import Json, connected
from services.cli.output import CliError, say, show, size
from services.cli.transfers import transfer_bar
from services.cli.watch import watch

# the dataset's identifier is known after the upload, all else is checked before it
_UNKNOWN = "ds_00000000"
_VOCABULARY = "vocab.txt"


@connected
def import_model(
    client: Client,
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", exists=True, dir_okay=False, help="A .pth, .pt, .bin or .safetensors file."),
    ],
    vocabulary: Annotated[
        Path | None,
        typer.Option("--vocabulary", exists=True, dir_okay=False, help="The BERT vocab.txt that goes with it."),
    ] = None,
    format: Annotated[CheckpointFormat, typer.Option("--format", help="Whose checkpoint it is.")] = "auto",
    modalities: Annotated[
        list[str] | None,
        typer.Option("--modality", metavar="NAME", help="What it has learnt; repeat in the order of learning."),
    ] = None,
    attention: Annotated[ImportAttention, typer.Option("--attention", help="Attention of reports.")] = "auto",
    positions: Annotated[ImportPositions, typer.Option("--positions", help="How position tables are read.")] = "auto",
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of tensors that the file does not have.")] = 0,
    name: Annotated[str | None, typer.Option("--name", help="Name of the model; by default that of the file.")] = None,
    as_json: Json = False,
) -> None:
    """Import a MedCoSS or Uni-Perceiver checkpoint as a model; prints the model's id."""
    if file.name == _VOCABULARY:
        raise CliError(f"{file} is a vocabulary; expected a checkpoint, and the vocabulary with --vocabulary")
    try:
        spec = ImportModelSpec(
            dataset=_UNKNOWN, file=file.name, format=format, vocabulary=_VOCABULARY if vocabulary else None,
            modalities=tuple(modalities) if modalities else None, attention=attention, positions=positions, seed=seed,
            output_name=name or _name_of(file),
        )  # fmt: skip
    except ValidationError as error:
        raise CliError("; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())) from error
    with tempfile.TemporaryDirectory(prefix="medcoss-import-") as folder:
        (Path(folder) / file.name).symlink_to(file.resolve())
        if vocabulary:
            (Path(folder) / _VOCABULARY).symlink_to(vocabulary.resolve())
        try:
            with transfer_bar() as notify:
                dataset = client.datasets.upload(folder, name=_name_of(file), progress=notify)
        except ValueError as error:
            raise CliError(str(error)) from error
    say(f"uploaded {size(dataset.total_bytes)} as {dataset.id}")
    job = client.jobs.submit("import_model", spec.model_copy(update={"dataset": dataset.id}), name=spec.output_name)
    job = watch(client, job.id)
    if job.state != "succeeded":
        raise typer.Exit(1)
    model = client.models.get(job.outputs["model"])
    show(model, as_json, model.id)


def _name_of(file: Path) -> str:
    """A file's name as the platform takes names."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", file.stem).strip("._-")[:63] or "checkpoint"


@connected
def export_checkpoint(
    client: Client,
    model_id: Annotated[str, typer.Argument(metavar="ID", help="Model, e.g. mdl_01abc...")],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The .pth file to write.")],
    as_json: Json = False,
) -> None:
    """Write an encoder as a checkpoint under the published MedCoSS names. Needs torch on this machine."""
    if file.exists():
        raise CliError(f"{file} exists; remove it or choose another name")
    if not file.absolute().parent.is_dir():
        raise CliError(f"there is no folder {file.absolute().parent}; make it first")
    try:
        from medcoss.models import published
    except ModuleNotFoundError as error:
        raise CliError(f"writing a checkpoint needs {error.name}, which is not installed here; install medcoss[train], "
                       "or run this where the worker is installed") from error  # fmt: skip
    # beside the target, where there is room for large files
    with tempfile.TemporaryDirectory(prefix=".medcoss-export-", dir=file.absolute().parent) as folder:
        with transfer_bar() as notify:
            client.models.download(model_id, folder, progress=notify)
        try:
            lines = published.export_checkpoint(Path(folder), file)
        except BadInput as error:
            raise CliError(str(error)) from error
    for line in lines:
        say(line)
    show({"file": str(file), "contents": lines}, as_json, str(file))
