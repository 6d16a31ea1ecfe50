"""`medcoss erasures`."""

from itertools import islice
from typing import Annotated

import typer

from medcoss.client import Client
from medcoss.client.erasures import Erasure
from services.cli.connection import InProject, Json, Limit, Project, connected
from services.cli.output import Columns, details, identifier, say, short_moment, show, table, wrapped
from services.cli.stages import NOBODY, Cohort, File, Patient, PatientHash, whose

app = typer.Typer(
    name="erasures", help="Mark what holds the data of a patient or a file, and make it anew.", no_args_is_help=True
)
Id = Annotated[str, typer.Argument(metavar="ID", help="Erasure, ers_...")]
Redeploy = Annotated[bool, typer.Option("--redeploy", help="Export what is served, too, as new versions.")]


@app.command("create")
@connected
def create(
    client: Client,
    reason: Annotated[str, typer.Option("--reason", help="Why, for the record; no names of patients.")],
    patient: Patient = None,
    cohort: Cohort = "own",
    patient_hash: PatientHash = None,
    file: File = None,
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Make it anew at once, as a pipeline.")] = False,
    redeploy: Redeploy = False,
    project: Project = None,
    as_json: Json = False,
) -> None:
    """Mark every dataset, buffer, model and deployment that holds the data."""
    sha256 = whose(patient, patient_hash, file)
    made = client.erasures.create(
        reason, patient=patient, cohort=cohort, key=patient_hash, sha256=sha256, project=project
    )  # fmt: skip
    if not made.datasets:
        say(NOBODY)
    elif rebuild:
        made = client.erasures.rebuild(made.id, redeploy=redeploy)
    _show(made, as_json)


@app.command("rebuild")
@connected
def rebuild(client: Client, erasure_id: Id, redeploy: Redeploy = False, as_json: Json = False) -> None:
    """Make anew what is marked, without the data; watch it with `medcoss pipelines watch`."""
    _show(client.erasures.rebuild(erasure_id, redeploy=redeploy), as_json)


@app.command("show")
@connected
def show_erasure(client: Client, erasure_id: Id, as_json: Json = False) -> None:
    """What an erasure has marked."""
    _show(client.erasures.get(erasure_id), as_json)


@app.command("list")
@connected
def list_erasures(
    client: Client,
    marked: Annotated[str | None, typer.Option("--object", metavar="ID", help="Only those that marked it.")] = None,
    project: InProject = None,
    limit: Limit = 50,
    as_json: Json = False,
) -> None:
    """Erasures, newest first."""
    found = list(islice(client.erasures.list(object=marked, project=project), limit or None))
    columns: Columns = [identifier(), wrapped("reason"), "datasets", "models", "deployments", "rebuilt by", "asked for"]
    rows = [
        (one.id, one.reason, str(len(one.datasets)), str(len(one.models)), str(len(one.deployments)),
         one.pipeline_id, short_moment(one.created_at))
        for one in found
    ]  # fmt: skip
    show(found, as_json, table(columns, rows, extra=1))


def _show(found: Erasure, as_json: bool) -> None:
    entries = found.model_dump()
    entries["datasets"] = "\n".join(f"{one} ({', '.join(splits)})" for one, splits in found.datasets.items())
    entries["left"] = "\n".join(f"{one}: {why}" for one, why in found.left.items())
    for name in ("models", "deployments", "unknown"):
        entries[name] = "\n".join(entries[name])
    show(found, as_json, details(entries))
