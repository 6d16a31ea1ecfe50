"""Taking a backup while the platform runs."""

from collections.abc import Callable
from pathlib import Path

from minio.error import MinioException
from sqlalchemy.exc import DBAPIError
from urllib3.exceptions import HTTPError

from medcoss import __version__
from services.core.backup import objects, tables
from services.core.backup.files import OBJECTS, BackupError, Header, lines_of, new_folder, write_header
from services.core.db import Database, revision_of, revisions
from services.core.storage import ObjectStore
from services.core.tables.base import now


def backup(database: Database, store: ObjectStore, target: Path, *, copied: bool,
           say: Callable[[str], None]) -> tuple[Header, objects.Found]:  # fmt: skip
    """Write all rows, as they are at one moment, and the list of all objects that they own, to the new folder `target`;
    with `copied` the objects, too. What it is, and what of the store was not as it should be.

    Raises BackupError when it cannot be taken; then there is no folder.
    """
    with new_folder(target) as folder:
        (folder / "tables").mkdir(mode=0o700)
        noted = folder / "noted.jsonl.gz"
        made_at = now()
        try:
            with database.snapshot() as session:
                connection = session.connection()
                found = revision_of(connection)
                newest = revisions()[0]
                if found != newest:
                    raise BackupError(
                        f"the database is of the revision {found}, this version of medcoss needs {newest}; start the "
                        "control plane once, which brings it there, or use the version that belongs to it"
                    )
                rows = tables.dump(connection, folder / "tables")
                objects.note(connection, noted)
        except DBAPIError as error:
            raise BackupError(f"the database cannot be read ({type(error.orig).__name__})") from error
        say(f"{sum(table.lines for table in rows.values()):,} rows of {len(rows)} tables")
        try:
            seen, lines = objects.survey(store, noted, folder, folder / OBJECTS, copied=copied)
        except (MinioException, HTTPError) as error:
            raise BackupError(f"the object store cannot be read ({type(error).__name__})") from error
        noted.unlink()
        header = Header(
            version=__version__, revision=newest, made_at=made_at, database=database.engine.dialect.name, tables=rows,
            objects=lines_of(folder / OBJECTS, lines), object_bytes=seen.bytes, copied=copied,
        )  # fmt: skip
        write_header(folder, header)
    return header, seen
