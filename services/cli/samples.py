"""`medcoss sample-data` and `demo`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from services.cli.connection import DataDir, Json, Server, connection
from services.cli.output import CliError, err, show


def sample_data(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A new or empty folder.")],
    seed: Annotated[int, typer.Option("--seed", min=0, help="The same seed gives the same files.")] = 0,
    as_json: Json = False,
) -> None:
    """Write synthetic data of all five modalities: reports, X-ray, CT, MR and pathology."""
    try:
        from medcoss.phantoms import write_sample_data
    except ImportError as error:
        raise CliError(f"{error.name} is missing; install it with: pip install 'medcoss[preprocess]'") from error
    console = err()
    columns = (TextColumn("writing"), BarColumn(bar_width=None), MofNCompleteColumn(), TextColumn("files"))
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("writing", total=None)
        try:
            folders = write_sample_data(
                directory, seed=seed, progress=lambda done, total, _: bar.update(task, completed=done, total=total)
            )
        except ValueError as error:
            raise CliError(str(error)) from error
    paths = [str(folder) for folder in folders]
    show(paths, as_json, "\n".join(paths))


def demo(
    context: typer.Context,
    target: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the report goes.")] = Path("demo-report"),
    server: Server = None,
    data_dir: DataDir = None,
) -> None:
    """Run everything once on synthetic data and write a report with pictures.

    Without --server a platform is started for it and stopped afterwards.
    """
    where = connection(context, server, None, data_dir)
    try:
        from services.cli.demo.run import run_demo
    except ImportError as error:
        raise CliError(f"{error.name} is missing; the demo needs: pip install 'medcoss[embedded]'") from error
    raise typer.Exit(run_demo(target, where.server, where.data_dir))
