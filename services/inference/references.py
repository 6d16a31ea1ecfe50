"""Inputs that are not sent but named: files of the caller's datasets, objects of the bucket, images of a PACS."""

import hashlib
import re
from dataclasses import replace
from urllib.parse import urlsplit

from minio.error import S3Error
from sqlalchemy import select
from urllib3.exceptions import HTTPError

from medcoss.preprocess.received import File
from services.core import registry
from services.core.db import Database
from services.core.errors import Conflict, NotFound, TooLarge, Unavailable
from services.core.scope import Scope
from services.core.settings import Settings
from services.core.storage import ObjectStore
from services.core.tables import DatasetFile
from services.inference.dicomweb import DicomWeb
from services.inference.inputs import Input, Reference, invalid, plain_name
from services.inference.timing import Timing
from services.inference.watch import Watch

# of a series
MOST_FILES = 5_000
_OF_DATASET = re.compile(r"datasets/(ds_[0-9a-z]{8,40})/")


class References:
    """Fetches what references name, within the limit of a request."""

    def __init__(self, settings: Settings, database: Database, store: ObjectStore) -> None:
        self._database, self._store = database, store
        self._bucket, self._most_bytes = settings.s3_bucket, settings.max_inference_bytes
        self._dicomweb = DicomWeb(settings)

    def close(self) -> None:
        """Let go of the connections."""
        self._dicomweb.close()

    def fetched(self, scope: Scope, given: Input, timing: Timing, watch: Watch) -> Input:
        """The input with its files, wherever they lie.

        Raises NotFound for what the caller does not see, ValidationFailed for a reference that is none, TooLarge, and
        Unavailable when the store or the PACS does not answer.
        """
        reference = given.reference
        if reference is None:
            return given
        watch.step("fetch")
        with timing.stage("fetch"):
            if reference.by == "dicomweb":
                files = self._dicomweb.files(reference.value, watch)
            elif reference.by == "s3":
                files = self._of_dataset(scope, *self._place(reference), watch)
            else:
                files = self._of_dataset(scope, reference.value, reference.path, "/path", watch)
        if len(files) == 1:
            return replace(given, data=files[0].data, filename=files[0].name, textual=True)
        return replace(given, several=tuple(files))

    def _place(self, reference: Reference) -> tuple[str, str, str]:
        """Dataset, path and the field that names them of an address s3://bucket/key."""
        address = urlsplit(reference.value)
        found = _OF_DATASET.match(address.path.lstrip("/"))
        if address.scheme != "s3" or address.netloc != self._bucket or found is None:
            raise invalid("/s3", f"expected s3://{self._bucket}/datasets/<id of a dataset>/<path of a file>")
        return found[1], f"/{address.path.lstrip('/')}", "/s3"

    def _of_dataset(self, scope: Scope, dataset_id: str, path: str, field: str, watch: Watch) -> list[File]:
        """A file of a dataset, or all files below a folder, whose path ends in a slash.

        A path that begins with a slash is the key of an object.
        """
        with self._database.reading() as session:
            row = registry.get_dataset(session, scope, dataset_id)
            if row.state != "ready":
                raise Conflict(f"dataset {row.id} is {row.state}; it can be read once it is ready")
            prefix = row.prefix.rstrip("/") + "/"
            path = path.removeprefix(f"/{prefix}")
            wanted = select(DatasetFile.path, DatasetFile.size, DatasetFile.sha256).where(
                DatasetFile.dataset_id == row.id
            )
            below = DatasetFile.path.startswith(path, autoescape=True) if path.endswith("/") else None
            chosen = wanted.where(DatasetFile.path == path if below is None else below)
            rows = session.execute(chosen.order_by(DatasetFile.path).limit(MOST_FILES + 1)).all()
        if not rows:
            raise NotFound(f"{field[1:]}: dataset {dataset_id} has no file, and no folder ending in /, of that name")
        if len(rows) > MOST_FILES:
            raise invalid(field, f"the folder holds more than {MOST_FILES:,} files; name the folder of one series")
        if (total := sum(size for _, size, _ in rows)) > self._most_bytes:
            raise TooLarge(f"the files have {total:,} bytes, at most {self._most_bytes:,} are taken; crop the volume")
        files = []
        for name, _, sha256 in rows:
            watch.check()
            files.append(File(plain_name(name), self._read(f"{prefix}{name}", name, sha256)))
        return files

    def _read(self, key: str, name: str, sha256: str) -> bytes:
        try:
            data = self._store.get_bytes(key)
        except FileNotFoundError:
            data = b""
        except (S3Error, HTTPError) as error:
            raise Unavailable("the object store does not answer; try again in a few seconds") from error
        if hashlib.sha256(data).hexdigest() != sha256:
            raise Conflict(f"{plain_name(name)}: the stored file is missing or damaged; upload it again")
        return data
