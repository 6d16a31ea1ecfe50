"""`medcoss embed`, `classify` and `segment`."""

import math
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Group
from rich.text import Text

from medcoss.client import Client
from services.cli.connection import Json, connected
from services.cli.output import CliError, details, figure, number, show, table

BAR_WIDTH = 20

ModelName = Annotated[str, typer.Argument(metavar="MODEL", help="Name under which the model is served.")]
File = Annotated[Path | None, typer.Argument(metavar="FILE", help="PNG, JPEG, TIFF, DICOM or NIfTI.")]
WholeFile = Annotated[Path, typer.Argument(metavar="FILE", help="PNG, JPEG, TIFF, DICOM or NIfTI.")]
ReportText = Annotated[str | None, typer.Option("--text", help="A report, instead of a file.")]


def _given(file: Path | None, text: str | None) -> Path | str:
    if (file is None) == (text is None):
        raise typer.BadParameter("give a FILE, or a report with --text")
    if text is not None:
        return text
    assert file is not None
    return file


@connected
def embed(client: Client, model: ModelName, file: File = None, text: ReportText = None, as_json: Json = False) -> None:
    """Print the embedding of an image, a volume or a report."""
    answer = client.inference.embed(model, _given(file, text))
    values = answer.embedding
    lines = {
        "model": f"{answer.model} version {answer.version}",
        "length": str(len(values)),
        "norm": figure(math.hypot(*values)),
        "embedding": ", ".join(figure(v) for v in values[:8]) + (", ..." if len(values) > 8 else ""),
        "took": f"{answer.timing_ms.total:.0f} ms",
    }
    show(answer, as_json, details(lines))


@connected
def classify(
    client: Client, model: ModelName, file: File = None, text: ReportText = None, as_json: Json = False
) -> None:
    """Print the probability of every class."""
    answer = client.inference.classify(model, _given(file, text))
    likeliest_first = sorted(answer.probabilities.items(), key=lambda entry: -entry[1])
    rows = [(name, f"{p:.4f}", Text("█" * round(p * BAR_WIDTH), style="cyan")) for name, p in likeliest_first]
    took = Text(f"{answer.model} version {answer.version}, {answer.timing_ms.total:.0f} ms", style="dim")
    show(answer, as_json, Group(table(["class", number("probability"), ""], rows), took))


@connected
def segment(
    client: Client,
    model: ModelName,
    file: WholeFile,
    target: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FILE", help="Label map; by default beside you as <name>_mask.nii.gz."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Write the label map of an image or a volume and print what each class covers."""
    answer = client.inference.segmentation(model, file)
    stem = file.name.removesuffix(".gz").rsplit(".", 1)[0]
    path = target or Path(f"{stem}_mask{answer.suffix}")
    if not path.name.endswith(answer.suffix):
        raise CliError(f"the label map is a {answer.suffix} file; give --out a name that ends so")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(answer.mask)
    amounts: dict[str, float] = dict(answer.volume_ml or answer.pixels or {})
    rows = [(str(i), name, figure(amounts.get(name, 0))) for i, name in enumerate(answer.classes, start=1)]
    unit = "ml" if answer.volume_ml is not None else "pixels"
    shown = table([number("label"), "class", number(unit)], rows)
    data = answer.model_dump(mode="json", exclude={"mask"}) | {"mask": str(path)}
    show(data, as_json, Group(shown, Text(f"label map: {path}", style="dim")))
