"""`medcoss curriculum`: stages of continual pre-training, planned and run."""

from pathlib import Path
from typing import Annotated, Any

import typer

from medcoss.client import Client
from services.cli.connection import Json, Project, connected
from services.cli.output import CliError, print_json, say
from services.cli.pipelines import Reuse, Watched, follow, foretell_pipeline
from services.cli.settings import build_spec

app = typer.Typer(
    name="curriculum", help="Pre-train one encoder on modality after modality, with rehearsal.", no_args_is_help=True
)
Stages = Annotated[
    list[str] | None,
    typer.Option("--stage", metavar="MODALITY=DATASET", help="A stage, with its prepared dataset; in their order."),
]
File = Annotated[
    Path | None, typer.Option("--spec", metavar="FILE", help="JSON file of the curriculum; - is standard input.")
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="A field, e.g. training.epochs=100 or buffer.strategy=random."),
]
Preset = Annotated[
    str | None, typer.Option("--preset", help="published: the five stages of MedCoSS with their settings.")
]
Size = Annotated[str | None, typer.Option("--size", help="tiny, small, base or large; training.size.")]
Name = Annotated[str | None, typer.Option("--name", help="A name for people.")]
Model = Annotated[str, typer.Argument(metavar="MODEL", help="Encoder to go on from: mdl_... or an alias, @production.")]


def _curriculum(file: Path | None, stages: list[str] | None, settings: list[str] | None, preset: str | None,
                size: str | None, model: str | None = None) -> dict[str, Any]:  # fmt: skip
    """A curriculum from the options of a command; those that are given win over the file."""
    made = build_spec(file, settings or [])
    if stages:
        made["stages"] = [_stage(text) for text in stages]
    if not made.get("stages"):
        raise CliError("no stage is given; expected --stage MODALITY=DATASET, once for each, or --spec FILE")
    if preset is not None:
        made["preset"] = preset
    if size is not None:
        made["training"] = made.get("training", {}) | {"size": size}
    if model is not None:
        made["init_model"] = model
    return made


def _stage(text: str) -> dict[str, str]:
    modality, equals, dataset = text.partition("=")
    if not equals or not modality or not dataset:
        raise typer.BadParameter(f"--stage {text}: expected MODALITY=DATASET, e.g. --stage ct=ds_01abc...")
    return {"modality": modality, "dataset": dataset}


@app.command("plan")
@connected
def plan(
    client: Client, stages: Stages = None, file: File = None, settings: Settings = None, preset: Preset = None,
    size: Size = None, project: Project = None, as_json: Json = False,
) -> None:  # fmt: skip
    """Show the steps of a curriculum, with the samples, steps and GPU hours that they take; nothing is started."""
    made = _curriculum(file, stages, settings, preset, size)
    foretell_pipeline(client.pipelines.validate(curriculum=made, project=project), as_json)


@app.command("steps")
@connected
def steps(
    client: Client, stages: Stages = None, file: File = None, settings: Settings = None, preset: Preset = None,
    size: Size = None, project: Project = None,
) -> None:  # fmt: skip
    """Print a curriculum as the steps of a pipeline, as JSON: to be changed by hand and submitted."""
    made = _curriculum(file, stages, settings, preset, size)
    print_json({"steps": client.pipelines.expand(made, project=project)})


@app.command("run")
@connected
def run(
    client: Client, stages: Stages = None, file: File = None, settings: Settings = None, preset: Preset = None,
    size: Size = None, name: Name = None, project: Project = None, reuse: Reuse = False, watched: Watched = False,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Start a curriculum as a pipeline; prints its id, and before it what it is going to take."""
    _start(client, _curriculum(file, stages, settings, preset, size), name, project, reuse, watched, as_json)


@app.command("extend")
@connected
def extend(
    client: Client, model: Model, stages: Stages = None, file: File = None, settings: Settings = None,
    name: Name = None, project: Project = None, reuse: Reuse = False, watched: Watched = False, as_json: Json = False,
) -> None:  # fmt: skip
    """Teach an encoder of the registry more: further stages, with the buffers of all before them, found by its lineage.

    A stage may be more data of a modality that it knows, of the same or another hospital, or a new modality.
    """
    made = _curriculum(file, stages, settings, None, None, model)
    _start(client, made, name, project, reuse, watched, as_json)


def _start(client: Client, made: dict[str, Any], name: str | None, project: str | None, reuse: bool, watched: bool,
           as_json: bool) -> None:  # fmt: skip
    seen = client.pipelines.validate(curriculum=made, project=project)
    for step_name, step in seen.steps.items():
        if step.kind == "pretrain" and step.steps is not None and step.steps.value is not None:
            say(f"{step_name}: {step.steps.value:,.0f} steps")
    if seen.gpu_hours.value is not None:
        say(f"{seen.gpu_hours.value:.3g} GPU hours together: {seen.gpu_hours.how}")
    follow(client, client.pipelines.submit(curriculum=made, name=name, project=project, reuse=reuse), watched, as_json)
