"""`medcoss curriculum`: stages of continual pre-training, planned and run."""

import re
from pathlib import Path
from statistics import mean, stdev
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from medcoss.client import Client
from medcoss.specs.ablation import ARMS, ablation
from medcoss.specs.curriculum import Curriculum
from services.cli.connection import Json, Project, connected
from services.cli.foretelling import DryRun
from services.cli.output import CliError, figure, number, print_json, say, show, table
from services.cli.pipelines import Reuse, Watched, follow, foretell_pipeline
from services.cli.settings import build_spec

app = typer.Typer(
    name="curriculum", help="Pre-train one encoder on modality after modality, with rehearsal.", no_args_is_help=True
)
# the step that measures an arm, see medcoss.specs.ablation
_MEASURED = re.compile(rf"({'|'.join(ARMS)})-\d+-forgetting")
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
    size: Size = None, name: Name = None, project: Project = None, reuse: Reuse = False, dry_run: DryRun = False,
    watched: Watched = False, as_json: Json = False,
) -> None:  # fmt: skip
    """Start a curriculum as a pipeline; prints its id, and before it what it is going to take."""
    made = _curriculum(file, stages, settings, preset, size)
    _start(client, made, name, project, reuse, dry_run, watched, as_json)


@app.command("extend")
@connected
def extend(
    client: Client, model: Model, stages: Stages = None, file: File = None, settings: Settings = None,
    name: Name = None, project: Project = None, reuse: Reuse = False, dry_run: DryRun = False,
    watched: Watched = False, as_json: Json = False,
) -> None:  # fmt: skip
    """Teach an encoder of the registry more: further stages, with the buffers of all before them, found by its lineage.

    A stage may be more data of a modality that it knows, of the same or another hospital, or a new modality.
    """
    made = _curriculum(file, stages, settings, None, None, model)
    _start(client, made, name, project, reuse, dry_run, watched, as_json)


def _start(client: Client, made: dict[str, Any], name: str | None, project: str | None, reuse: bool, dry_run: bool,
           watched: bool, as_json: bool) -> None:  # fmt: skip
    seen = client.pipelines.validate(curriculum=made, project=project)
    if dry_run:
        foretell_pipeline(seen, as_json)
        return
    for step_name, step in seen.steps.items():
        if step.kind == "pretrain" and step.steps is not None and step.steps.value is not None:
            say(f"{step_name}: {step.steps.value:,.0f} steps")
    if seen.gpu_hours.value is not None:
        say(f"{seen.gpu_hours.value:.3g} GPU hours together: {seen.gpu_hours.how}")
    follow(client, client.pipelines.submit(curriculum=made, name=name, project=project, reuse=reuse), watched, as_json)


@app.command("ablation")
@connected
def ablate(
    client: Client, stages: Stages = None, file: File = None, settings: Settings = None, size: Size = None,
    arms: Annotated[
        str, typer.Option("--arms", metavar="A,B", help=f"Some of {', '.join(ARMS)}.")
    ] = ",".join(ARMS),
    seeds: Annotated[str, typer.Option("--seeds", metavar="N,N", help="Each arm is trained once with each.")] = "0,1,2",
    name: Name = None, project: Project = None, reuse: Reuse = False, dry_run: DryRun = False, watched: Watched = False,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Train a curriculum without rehearsal, with several kinds of it and jointly, as one pipeline; prints its id."""
    try:
        numbers = [int(seed) for seed in seeds.split(",")]
    except ValueError:
        raise typer.BadParameter(f"--seeds {seeds}: expected whole numbers with commas, e.g. 0,1,2") from None
    given = _curriculum(file, stages, settings, None, size)
    try:
        steps = ablation(Curriculum.model_validate(given), arms.split(","), numbers)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise CliError(f"this is no curriculum: {wrong}") from None
    except ValueError as error:
        raise CliError(str(error)) from None
    if dry_run:
        foretell_pipeline(client.pipelines.validate(steps, project=project), as_json)
        return
    made = client.pipelines.submit(steps, name=name or "ablation", project=project, reuse=reuse)
    follow(client, made, watched, as_json)


@app.command("table")
@connected
def show_table(
    client: Client, pipeline_id: Annotated[str, typer.Argument(metavar="ID", help="Pipeline of an ablation.")],
    as_json: Json = False,
) -> None:  # fmt: skip
    """What each arm of an ablation has left of the earlier stages: mean and standard deviation over its seeds."""
    found: dict[str, dict[str, list[float]]] = {}
    for step in client.pipelines.get(pipeline_id).steps:
        arm = _MEASURED.fullmatch(step.name)
        if arm is None or step.state != "succeeded":
            continue
        metrics = (client.jobs.get(step.job_id).result or {}).get("metrics", {})
        for metric, value in metrics.items():
            found.setdefault(arm[1], {}).setdefault(metric, []).append(float(value))
    if not found:
        raise CliError(f"no step of {pipeline_id} that measures an arm has succeeded yet")
    metrics = list(dict.fromkeys(metric for told in found.values() for metric in told))
    rows = [(arm, str(max(map(len, told.values()))), *(_spread(told.get(metric)) for metric in metrics))
            for arm, told in found.items()]  # fmt: skip
    show(found, as_json, table(["arm", number("seeds"), *map(number, metrics)], rows))


def _spread(values: list[float] | None) -> str | None:
    if not values:
        return None
    return figure(mean(values)) + (f" +- {figure(stdev(values))}" if len(values) > 1 else "")
