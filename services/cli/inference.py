"""`medcoss embed`, `classify` and `segment`."""

import math
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Group
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn
from rich.text import Text

from medcoss.client import Client, DicomWeb, InferenceStep, S3Object, Stored
from medcoss.client.inference import SUFFIXES
from medcoss.client.inference_inputs import Given
from services.cli.connection import Json, connected
from services.cli.output import CliError, details, err, figure, number, show, table

BAR_WIDTH = 20
_FILES = "PNG, JPEG, TIFF, DICOM, NIfTI, NRRD or MHA; a folder or zip of a DICOM series; s3://...; the address of a "\
         "DICOMweb series"  # fmt: skip

ModelName = Annotated[str, typer.Argument(metavar="MODEL", help="Name under which the model is served.")]
File = Annotated[str | None, typer.Argument(metavar="FILE", help=f"{_FILES}.")]
ReportText = Annotated[str | None, typer.Option("--text", help="A report, instead of a file.")]
OfDataset = Annotated[
    str | None, typer.Option("--dataset", help="FILE is the path of a file, or a folder ending in /, of this dataset.")
]
VectorOut = Annotated[
    Path | None, typer.Option("--out", "-o", metavar="FILE", help="Write the answer there: .npy, .arrow or .json.")
]
_VECTORS = {".npy": "npy", ".arrow": "arrow", ".json": "json"}
_MASKS = {".nii.gz": "nifti", ".png": "png", ".dcm": "dicom-seg", ".json": "contours"}


def _given(file: str | None, text: str | None = None, dataset: str | None = None) -> Given:
    if (file is None) == (text is None):
        raise typer.BadParameter("give a FILE, or a report with --text")
    if file is None:
        assert text is not None
        return text
    if dataset is not None:
        return Stored(dataset, file)
    if file.startswith("s3://"):
        return S3Object(file)
    if file.startswith(("http://", "https://")):
        return DicomWeb(file)
    if not Path(file).exists():
        raise CliError(f"{file}: No such file or folder")
    return Path(file)


class _Shown:
    """Draws how far an inference is, where there is a terminal."""

    def __init__(self) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        self._drawn = Progress(*columns, console=err(), transient=True)
        self._task: TaskID | None = None

    def __call__(self, step: InferenceStep) -> None:
        """Draw one step."""
        if self._task is None:
            self._task = self._drawn.add_task(step.stage)
        self._drawn.update(self._task, description=step.stage, completed=step.done, total=step.total)

    def __enter__(self) -> "_Shown":
        self._drawn.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._drawn.stop()


def _vector_file(client: Client, model: str, call: str, given: Given, target: Path) -> None:
    """Write an answer in the format that the name of the file says."""
    form = _VECTORS.get(target.suffix)
    if form is None:
        raise CliError(f"{target}: the name says no format; give one that ends in {', '.join(_VECTORS)}")
    found = client.inference.file(model, call, given, form)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(found.content)


@connected
def embed(
    client: Client, model: ModelName, file: File = None, text: ReportText = None, dataset: OfDataset = None,
    target: VectorOut = None, as_json: Json = False,
) -> None:  # fmt: skip
    """Print the embedding of an image, a volume or a report, or write it to a file."""
    given = _given(file, text, dataset)
    if target is not None:
        _vector_file(client, model, "embed", given, target)
        show({"embedding": str(target)}, as_json, Text(f"embedding: {target}"))
        return
    answer = client.inference.embed(model, given)
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
    client: Client, model: ModelName, file: File = None, text: ReportText = None, dataset: OfDataset = None,
    target: VectorOut = None, as_json: Json = False,
) -> None:  # fmt: skip
    """Print the probability of every class, or write them to a file."""
    given = _given(file, text, dataset)
    if target is not None:
        _vector_file(client, model, "classify", given, target)
        show({"probabilities": str(target)}, as_json, Text(f"probabilities: {target}"))
        return
    answer = client.inference.classify(model, given)
    likeliest_first = sorted(answer.probabilities.items(), key=lambda entry: -entry[1])
    rows = [(name, f"{p:.4f}", Text("█" * round(p * BAR_WIDTH), style="cyan")) for name, p in likeliest_first]
    took = Text(f"{answer.model} version {answer.version}, {answer.timing_ms.total:.0f} ms", style="dim")
    show(answer, as_json, Group(table(["class", number("probability"), ""], rows), took))


@connected
def segment(
    client: Client,
    model: ModelName,
    file: Annotated[str, typer.Argument(metavar="FILE", help=f"{_FILES}.")],
    target: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FILE", help="Masks; by default beside you as <name>_mask.nii.gz."),
    ] = None,
    form: Annotated[
        str | None,
        typer.Option("--format", help="nifti, png, dicom-seg, overlay or contours; by default what --out ends in."),
    ] = None,
    place: Annotated[int | None, typer.Option("--slice", min=0, help="Axial slice of an overlay.")] = None,
    dataset: OfDataset = None,
    as_json: Json = False,
) -> None:
    """Write the masks of an image or a volume and print what each class covers."""
    form = form or _form_of(target)
    with _Shown() as shown:
        answer = client.inference.segmentation(
            model, _given(file, dataset=dataset), format=form, slice=place, progress=shown
        )
    path = target or Path(f"{_stem(file)}_{'mask' if form != 'overlay' else form}{answer.suffix}")
    if not path.name.endswith(answer.suffix):
        raise CliError(f"the masks are a {answer.suffix} file; give --out a name that ends so")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(answer.mask)
    amounts: dict[str, float] = dict(answer.volume_ml or answer.pixels or {})
    rows = [(str(i), name, figure(amounts.get(name, 0))) for i, name in enumerate(answer.classes, start=1)]
    unit = "ml" if answer.volume_ml is not None else "pixels"
    listed = table([number("label"), "class", number(unit)], rows)
    data: dict[str, Any] = answer.model_dump(mode="json", exclude={"mask"}) | {"mask": str(path)}
    show(data, as_json, Group(listed, Text(f"masks: {path}", style="dim")))


def _form_of(target: Path | None) -> str:
    """The format that the name of a file says; the label map where it says none."""
    if target is None:
        return "file"
    return next((form for ending, form in _MASKS.items() if target.name.endswith(ending)), "file")


def _stem(file: str) -> str:
    name = file.rstrip("/").rsplit("/", 1)[-1]
    known = next((ending for ending in SUFFIXES.values() if name.endswith(ending)), "")
    return name.removesuffix(known) if known else name.rsplit(".", 1)[0]
