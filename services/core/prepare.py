"""What has to be there before the services start: `python -m services.core.prepare database bucket`.

Both may be done again, and by several processes at once.
"""

import argparse
import sys
import time
from collections.abc import Callable

import structlog
import urllib3
from minio.error import MinioException
from sqlalchemy import create_engine, make_url

from services.core.db import AWAY, migrate
from services.core.logging import configure_logging
from services.core.settings import Settings, get_settings
from services.core.storage import ObjectStore

PATIENCE_S = 180.0
BETWEEN_S = 1.0
# Triton takes no repository that is not there, and in an object store a folder is there with its first object.
# The garbage collector leaves it alone: it lies in no folder of a model.
REPOSITORY_MARK = "triton/README"
_REPOSITORY_TEXT = b"Triton's model repository: one folder a served version, put here by export jobs.\n"
_log = structlog.get_logger()


class NotPrepared(Exception):
    """A part did not become ready; the message names it, why, and the setting to look at."""


def database(settings: Settings, patience_s: float = PATIENCE_S) -> None:
    """Wait for the database and bring it to the newest schema. Raises NotPrepared."""
    where = make_url(settings.database_url).render_as_string(hide_password=True)

    def connect() -> None:
        engine = create_engine(settings.database_url)
        try:
            with engine.connect():
                pass
        finally:
            engine.dispose()

    _until(connect, AWAY, patience_s, f"the database {where}; look at MEDCOSS_DATABASE_URL")
    migrate(settings.database_url)
    _log.info("database_ready")


def bucket(settings: Settings, patience_s: float = PATIENCE_S) -> None:
    """Wait until the object store takes a write, with the bucket and Triton's repository in it. Raises NotPrepared."""
    store = ObjectStore(settings, retries=0)

    def write() -> None:
        store.ensure_bucket()
        store.put_bytes(REPOSITORY_MARK, _REPOSITORY_TEXT, "text/plain")

    away = (MinioException, urllib3.exceptions.HTTPError, OSError)
    what = f"bucket '{settings.s3_bucket}' at {settings.s3_endpoint}; look at MEDCOSS_S3_ENDPOINT and its keys"
    _until(write, away, patience_s, what)
    _log.info("bucket_ready", bucket=settings.s3_bucket)


def _until(attempt: Callable[[], None], away: tuple[type[Exception], ...], patience_s: float, what: str) -> None:
    end = time.monotonic() + patience_s
    while True:
        try:
            return attempt()
        except away as error:
            why = getattr(error, "code", None) or type(error).__name__
            if time.monotonic() > end:
                raise NotPrepared(f"no good answer within {patience_s:g} s from {what} ({why})") from error
            _log.info("waiting", part=what.partition(";")[0], error=why)
            time.sleep(BETWEEN_S)


STEPS: dict[str, Callable[[Settings, float], None]] = {"database": database, "bucket": bucket}


def main() -> int:
    """Do the steps that are named."""
    parser = argparse.ArgumentParser(description="Prepare database and object store for the services.")
    parser.add_argument("steps", nargs="+", choices=list(STEPS), help="what to prepare")
    parser.add_argument("--patience", type=float, default=PATIENCE_S, metavar="SECONDS", help="how long to wait")
    given = parser.parse_args()
    settings = get_settings()
    configure_logging(settings.log_level)
    try:
        for step in given.steps:
            STEPS[step](settings, given.patience)
    except NotPrepared as error:
        _log.error("not_prepared", detail=str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
