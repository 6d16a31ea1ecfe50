"""`medcoss models line`, `lineage` and `card`, and what a forgetting report says as tables."""

import hashlib
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from medcoss.client import Client
from medcoss.client.lines import LineageNode
from services.cli.connection import ByName, InProject, Json, Limit, Project, Sort, connected
from services.cli.output import CliError, Columns, figure, identifier, number, say, short_moment, show, table, wrapped

_TABLES = {
    "loss": "pretext loss with the head of its own stage", "fresh_loss": "pretext loss with a new head",
    "accuracy": "balanced accuracy of a probe", "cka": "CKA with the stage before",
    "cosine": "mean cosine to the stage before",
}  # fmt: skip
_KEPT = ("backward_transfer", "forgetting", "accuracy_backward_transfer", "accuracy_forgetting")


def forgetting_tables(found: dict[str, Any]) -> list[RenderableType]:
    """A table of each measure that the report has, and one of what the newest stage has kept."""
    modalities = [*found["datasets"]]
    parts: list[RenderableType] = []
    for name, title in _TABLES.items():
        cells = {(row["stage"], row["modality"]): row[name] for row in found["table"] if row[name] is not None}
        if not cells:
            continue
        columns: Columns = ["after stage", *map(number, modalities)]
        rows = [
            (f"{stage['stage']}: {', '.join(stage['learnt'])}", *(_figure(cells.get((place, m))) for m in modalities))
            for place, stage in enumerate(found["stages"])
        ]
        parts += [Text(title, style="bold"), table(columns, rows), Text()]
    if found["kept"]:
        columns = ["modality", *(number(name.replace("_", " ")) for name in _KEPT)]
        rows = [(one["modality"], *(_figure(one[name]) for name in _KEPT)) for one in found["kept"]]
        parts += [Text("kept by the newest stage", style="bold"), table(columns, rows)]
    return parts


def _figure(value: float | None) -> str | None:
    return None if value is None else figure(value)


Id = Annotated[str, typer.Argument(metavar="ID", help="Model, e.g. mdl_01abc... or @production.")]
lines = typer.Typer(name="lines", help="Lines of models, each stage after stage.", no_args_is_help=True)


@lines.command("list")
@connected
def list_lines(
    client: Client,
    modality: Annotated[str | None, typer.Option("--modality", help="Only those whose newest stage learnt it.")] = None,
    name: ByName = None,
    sort: Sort = None,
    project: InProject = None,
    limit: Limit = 50,
    as_json: Json = False,
) -> None:
    """Lines of models by their newest stage, newest first; `medcoss models line` has the stages of one."""
    found = list(islice(client.models.lines(modality=modality, name=name, sort=sort, project=project), limit or None))
    columns: Columns = [identifier("newest model"), "name", number("stages"), "modalities", number("forgetting"),
                        "aliases", "newest stage"]  # fmt: skip
    rows = [
        (one.model_id, one.name, str(one.stages), ", ".join(one.modalities),
         _figure(one.report.get("average_forgetting")), ", ".join(f"@{name}" for name in one.aliases),
         short_moment(one.created_at))
        for one in found
    ]  # fmt: skip
    show(found, as_json, table(columns, rows, extra=1))


@connected
def line(
    client: Client,
    model_id: Id,
    other: Annotated[str | None, typer.Option("--compare", metavar="MODEL", help="Model of another line.")] = None,
    as_json: Json = False,
) -> None:
    """The stages that lead to a model, with what branches off; --compare says where another line has parted."""
    found = client.models.line(model_id, other=other)
    columns: Columns = [number("stage"), identifier("model"), "learnt", number("forgetting"), "aliases",
                        wrapped("branches")]  # fmt: skip
    rows = [
        (str(s.stage or ""), s.model_id, ", ".join(s.learnt), _figure(s.report.get("average_forgetting")),
         ", ".join(f"@{name}" for name in s.aliases), ", ".join(s.branches))
        for s in found.stages
    ]  # fmt: skip
    parts: list[RenderableType] = [table(columns, rows)]
    if other is not None:
        parts += [Text(), Text(f"parted at {found.parted_at or 'the beginning'}")]
        numbers: Columns = ["number", number("this line"), number("other"), number("difference")]
        cells = [(name, *(_figure(v[k]) for k in ("first", "second", "difference")))
                 for name, v in found.compared.items()]  # fmt: skip
        parts += [Text(), table(numbers, cells)] if cells else []
    show(found, as_json, Group(*parts))


def _node(node: LineageNode) -> str:
    """What a node of a lineage is, and that data in it have to be erased."""
    marked = ", to be erased" if node.erasures else ""
    return "deleted" if node.deleted else f"{node.noun} ({node.what}){marked}"


@connected
def lineage(
    client: Client,
    model_id: Id,
    uses: Annotated[bool, typer.Option("--uses", help="What was made of it, not what it was made from.")] = False,
    files: Annotated[int, typer.Option("--files", metavar="N", help="List N files of each raw dataset.")] = 0,
    as_json: Json = False,
) -> None:
    """Everything that a model was made from, down to raw files; --uses: every buffer, model and deployment of it."""
    found = client.models.lineage(model_id, direction="uses" if uses else "origins", files=files)
    columns: Columns = [identifier(), "what", wrapped("name"), "modality", number("files"), "made by", "sha256"]
    rows = [
        (f"{'  ' * n.depth}{n.id}", _node(n), n.name, n.modality,
         None if n.files is None else str(n.files), (n.job or {}).get("kind"), (n.sha256 or "")[:12])
        for n in found.nodes
    ]  # fmt: skip
    parts: list[RenderableType] = [table(columns, rows)]
    for dataset, listed in found.files.items():
        parts += [Text(), Text(dataset, style="bold"),
                  table(["path", "sha256"], [(f["path"], f["sha256"]) for f in listed])]  # fmt: skip
    show(found, as_json, Group(*parts))


@connected
def card(
    client: Client,
    model_id: Id,
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Write it there, as Markdown.")] = None,
    as_json: Json = False,
) -> None:
    """A model's card: data, stages, settings, numbers, code version, environment."""
    found = client.models.card(model_id)
    if out is None:
        show(found.card, as_json, found.markdown)
        return
    try:
        out.write_text(found.markdown)
    except OSError as error:
        raise CliError(f"{out} cannot be written ({error.strerror}); name another file") from None
    show({"file": str(out)}, as_json, str(out))


Patient = Annotated[str | None, typer.Option("--patient", metavar="ID", help="Identifier of a patient.")]
Cohort = Annotated[str, typer.Option("--cohort", help="Cohort that the identifier is of, or the recipe.")]
PatientHash = Annotated[
    str | None, typer.Option("--patient-hash", metavar="HASH", help="Keyed hash of a patient, of samples.parquet.")
]
File = Annotated[Path | None, typer.Option("--file", metavar="FILE", help="A raw file, as it was uploaded.")]

# a typing error looks the same
NOBODY = "nothing in this project is known to hold these data: check the identifier, its cohort, and the project"


def whose(patient: str | None, patient_hash: str | None, file: Path | None) -> str | None:
    """The SHA-256 of the file, if one is given. Raises CliError unless one of them is."""
    if sum(value is not None for value in (patient, patient_hash, file)) != 1:
        raise CliError("give one of --patient, --patient-hash and --file")
    if file is None:
        return None
    if not file.is_file():
        raise CliError(f"there is no file {file}")
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


@connected
def holders(
    client: Client,
    patient: Patient = None,
    cohort: Cohort = "own",
    patient_hash: PatientHash = None,
    file: File = None,
    project: Project = None,
    as_json: Json = False,
) -> None:
    """Datasets, buffers, models and deployments that hold the data of a patient or of a file."""
    sha256 = whose(patient, patient_hash, file)
    found = client.models.holders(patient=patient, cohort=cohort, key=patient_hash, sha256=sha256, project=project)
    rows = [(one, "dataset", ", ".join(splits)) for one, splits in found.datasets.items()]
    rows += [(one, "model", "") for one in found.models] + [(one, "deployment", "") for one in found.deployments]
    rows += [(one, "dataset", "not known") for one in found.unknown]
    if not found.datasets:
        say(NOBODY)
    columns: Columns = [identifier(), "what", "splits"]
    show(found, as_json, table(columns, rows))
