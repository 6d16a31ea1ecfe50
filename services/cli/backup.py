"""`medcoss backup` and `restore`: on the database and the object store themselves, not over the API."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medcoss.client import data_folder
from services.cli.connection import DataDir, Json, connection
from services.cli.output import CliError, details, say, show, size

if TYPE_CHECKING:
    from services.core.backup.files import Header
    from services.core.backup.objects import Found
    from services.core.settings import Settings


def backup(
    context: typer.Context,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="New folder that it is written to.", show_default=False)],
    copied: Annotated[bool, typer.Option("--objects", help="Copy all objects, too, not only their list.")] = False,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Write all rows, and the list of all objects that they own, to a new folder, while the platform runs.

    Where the database is: MEDCOSS_DATABASE_URL and the variables of the object store, or else the data folder. Exit
    code 1 when an object is missing or damaged.
    """
    with _platform(context, data_dir, new=False) as settings:
        from services.core.backup.backup import backup as take
        from services.core.db import Database
        from services.core.storage import ObjectStore

        database = Database(settings.database_url)
        try:
            header, found = take(database, ObjectStore(settings), out, copied=copied, say=say)
        finally:
            database.engine.dispose()
    _tell(header, found, as_json, {"written to": str(out)})


def restore(
    context: typer.Context,
    backup_folder: Annotated[Path, typer.Argument(metavar="IN", help="Folder of a backup.", show_default=False)],
    replace: Annotated[
        bool, typer.Option("--replace", help="Throw away what is in the database, which is in use.")
    ] = False,
    paused: Annotated[
        bool,
        typer.Option(
            "--paused",
            help="Pause the jobs that have not ended and switch webhooks off: for a copy beside a platform that lives.",
        ),
    ] = False,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Bring a backup back into an empty platform that does not run, and look whether all objects are there.

    Without --paused the restored platform goes on as the old one would: it runs queued jobs and sends to webhooks. Exit
    code 1 when an object is missing or damaged; rows are back then all the same.
    """
    with _nothing_left(_new_folder(context, data_dir)), _platform(context, data_dir, new=True) as settings:
        from services.core.backup.restore import restore as bring_back
        from services.core.storage import ObjectStore

        header, found = bring_back(
            settings.database_url, ObjectStore(settings), backup_folder, replace=replace,
            triton_folder=settings.triton_model_dir, say=say, paused=paused,
        )  # fmt: skip
    _tell(header, found, as_json, {"restored from": str(backup_folder)})


def _new_folder(context: typer.Context, data_dir: Path | None) -> Path | None:
    """The data folder that would be made or filled; None when there is a platform in it, or no folder is meant."""
    given = connection(context, data_dir=data_dir).data_dir
    if given is None and "MEDCOSS_DATABASE_URL" in os.environ:
        return None
    folder = data_folder(given)
    return None if folder.is_dir() and any(folder.iterdir()) else folder.resolve()


@contextmanager
def _nothing_left(folder: Path | None) -> Iterator[None]:
    """A new data folder goes again when nothing was restored to it, with the folders above that were made for it."""
    if folder is None:
        yield
        return
    stays = next(each for each in (folder, *folder.parents) if each.is_dir())
    try:
        yield
    except BaseException:
        if folder.is_dir():
            _empty(folder)
        while folder != stays and folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
            folder = folder.parent
        raise


def _empty(folder: Path) -> None:
    from services.embedded.process import PlatformError
    from services.embedded.state import locked

    # a platform that was started on it meanwhile keeps it
    with suppress(PlatformError), locked(folder):
        for each in folder.iterdir():
            shutil.rmtree(each) if each.is_dir() and not each.is_symlink() else each.unlink()


@contextmanager
def _platform(context: typer.Context, data_dir: Path | None, *, new: bool) -> "Iterator[Settings]":
    """Settings that lead to the database and the object store."""
    given = connection(context, data_dir=data_dir).data_dir
    try:
        from minio.error import MinioException
        from sqlalchemy.exc import DBAPIError

        from services.core.backup.files import BackupError
        from services.core.settings import SECRETS_DIR, get_settings
    except ImportError as error:
        raise CliError(f"{error.name} is missing; this needs the services: pip install 'medcoss[api]'") from error
    try:
        if given is None and {"MEDCOSS_DATABASE_URL", SECRETS_DIR} & set(os.environ):
            yield get_settings()
            return
        try:
            from services.embedded.process import PlatformError
            from services.embedded.storage import storage
        except ImportError as error:
            raise CliError(
                f"{error.name} is missing; name the database in MEDCOSS_DATABASE_URL, or for a data folder "
                "pip install 'medcoss[embedded]'"
            ) from error
        try:
            with storage(data_folder(given), new=new) as settings:
                yield settings
        except PlatformError as error:
            raise CliError(str(error)) from error
    except BackupError as error:
        raise CliError(str(error)) from error
    except (DBAPIError, MinioException) as error:
        raise CliError(f"database or object store cannot be used ({type(error).__name__})") from error


def _tell(header: "Header", found: "Found", as_json: bool, told: dict[str, Any]) -> None:
    rows = sum(table.lines for table in header.tables.values())
    shown = told | {
        "made": header.made_at, "revision": header.revision, "rows": f"{rows:,}",
        "objects": f"{found.objects:,}, {size(found.bytes)}", "copied": "yes" if header.copied else "no, only listed",
        "missing or damaged": f"{found.wrong:,}" if found.wrong else None,
    }  # fmt: skip
    document = told | {"header": header, "objects": vars(found)}
    show(document, as_json, details(shown))
    for example in found.examples:
        say(example)
    if found.wrong:
        raise typer.Exit(1)
