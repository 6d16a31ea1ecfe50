"""Searching indexes: their versions in memory, and the studies nearest to a query."""

import tempfile
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from minio.error import S3Error
from numpy.typing import NDArray
from urllib3.exceptions import HTTPError

from medcoss.data.vectors import NAME, Floats, Ids, Vectors, numbers_where
from medcoss.modalities import Kind
from medcoss.run import BadInput
from medcoss.specs.records import DeploymentInfo, FileEntry, IndexInfo
from services.core import indexes, projects
from services.core.db import Database
from services.core.deployments import READY
from services.core.errors import Conflict, FieldError, NotFound, Unavailable, ValidationFailed
from services.core.scope import Scope
from services.core.storage import DamagedFile, ObjectStore
from services.core.tables import Deployment
from services.inference.deployments import Served
from services.inference.inputs import Input

STUDIES = "studies.parquet"
# what searches may be narrowed by
FILTERS = ("dataset", "modality", "split", "label", "patient")
_AWAY = "the object store does not answer; try again in a few seconds"


@dataclass(frozen=True)
class Version:
    """The version of an index that answers: which it is, and its files."""

    index_id: str
    project_id: str
    name: str
    number: int
    model_id: str
    info: IndexInfo
    files: tuple[FileEntry, ...]

    @property
    def key(self) -> tuple[str, int]:
        """What it is kept under."""
        return self.index_id, self.number

    @property
    def size(self) -> int:
        """Bytes that it takes, about."""
        return sum(file.size for file in self.files)


@dataclass(frozen=True)
class Found:
    """A study and its cosine to the query."""

    score: float
    study: Mapping[str, Any]


@dataclass(frozen=True)
class Loaded:
    """A version in memory."""

    version: Version
    vectors: Vectors
    studies: pa.Table
    columns: Mapping[str, NDArray[Any]]

    def nearest(self, vector: Floats, k: int, filters: Mapping[str, Sequence[str]], *, exact: bool
                ) -> tuple[list[Found], int, bool]:  # fmt: skip
        """The at most `k` nearest studies that pass the filters; among how many; whether all were compared.

        ValidationFailed for a vector of another width, or without a direction.
        """
        if len(vector) != self.vectors.width:
            detail = (
                f"the vector has {len(vector)} numbers; those of index '{self.version.name}' have {self.vectors.width}"
            )
            raise ValidationFailed(detail, [FieldError("/vector", detail)])
        among = numbers_where((self.columns[name], wanted) for name, wanted in filters.items() if wanted)
        count = len(self.vectors) if among is None else len(among)
        try:
            numbers, scores, whole = self.vectors.search(vector, k, among, exact=exact)
        except BadInput as error:
            raise ValidationFailed(error.message, [FieldError("/vector", error.message)]) from None
        return self._found(numbers, scores), count, whole

    def _found(self, numbers: Ids, scores: Floats) -> list[Found]:
        rows = self.studies.take(pa.array(numbers)).to_pylist()
        return [Found(float(score), row) for score, row in zip(scores, rows, strict=True)]

    def number_of(self, dataset: str, sample: str) -> int:
        """The place of a stored study; of volumes any of its samples' groups is enough. NotFound when it has none."""
        mine = self.columns["dataset"] == dataset
        for column in ("sample", "group", "source"):
            places = np.flatnonzero(mine & (self.columns[column] == sample))
            if len(places):
                return int(places[0])
        raise NotFound(f"index '{self.version.name}' holds no study '{sample}' of dataset {dataset}")


class Indexes:
    """The indexes that a gateway searches; the latest used stay in memory, up to `memory_bytes`."""

    def __init__(self, database: Database, store: ObjectStore, memory_bytes: int) -> None:
        self._database, self._store, self._memory = database, store, memory_bytes
        self._loaded: OrderedDict[tuple[str, int], Loaded] = OrderedDict()
        self._lock, self._loading = threading.Lock(), threading.Lock()

    def open(self, scope: Scope, name: str, project: str | None = None) -> Loaded:
        """The version that answers now, in memory. NotFound for what the caller does not see, Conflict before there is
        a first version, Unavailable when its files cannot be fetched.
        """
        for last in (False, True):
            version = self._version(scope, name, project)
            found = self._known(version)
            if found is not None:
                return found
            try:
                with self._loading:
                    return self._known(version) or self._load(version)
            except (FileNotFoundError, DamagedFile):
                # the next version has taken its place meanwhile
                if last:
                    raise Unavailable(
                        f"the files of index '{name}' are not there; try again in a few seconds"
                    ) from None
        raise AssertionError

    def _version(self, scope: Scope, name: str, project: str | None) -> Version:
        with self._database.reading() as session:
            row = indexes.get(session, projects.narrowed(session, scope, project), name)
            if not row.version or row.info is None or row.model_id is None:
                job = f"; job {row.job_id} builds it" if row.job_id else ""
                raise Conflict(
                    f"index '{name}' has no version yet{job}; GET /v1/indexes/{name} of the control plane tells more"
                )
            files = tuple(FileEntry(path=f.path, size=f.size, sha256=f.sha256) for f in row.files)
            needed = tuple(file for file in files if file.path.rpartition("/")[2] in {NAME, STUDIES})
            return Version(row.id, row.project_id, row.name, row.version, row.model_id,
                           IndexInfo.model_validate(row.info), needed)  # fmt: skip

    def _known(self, version: Version) -> Loaded | None:
        with self._lock:
            found = self._loaded.get(version.key)
            if found is not None:
                self._loaded.move_to_end(version.key)
            return found

    def _load(self, version: Version) -> Loaded:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            try:
                self._store.download(indexes.folder_of(version.index_id), list(version.files), folder)
            except (S3Error, HTTPError) as error:
                raise Unavailable(_AWAY) from error
            inside = (folder / version.files[0].path).parent
            vectors, studies = Vectors.read(inside), pq.read_table(inside / STUDIES)
        columns = {
            column: np.array(studies[column].to_pylist(), dtype=object)
            for column in (*FILTERS, "sample", "group", "source")
        }
        made = Loaded(version, vectors, studies, columns)
        with self._lock:
            # an older version of the same index is of no use any more
            for key in [key for key in self._loaded if key[0] == version.index_id]:
                del self._loaded[key]
            self._loaded[version.key] = made
            while len(self._loaded) > 1 and sum(one.version.size for one in self._loaded.values()) > self._memory:
                self._loaded.popitem(last=False)
        return made

    def encoder(self, version: Version, given: Input, modality: str | None) -> Served:
        """The served model that embeds queries as the studies were: the newest version of the index's model that reads
        texts, or files of `modality`. Conflict when none is served, ValidationFailed when several modalities fit.
        """
        with self._database.reading() as session:
            scope = Scope.of(version.project_id)
            mine = scope.select(Deployment).where(Deployment.model_id == version.model_id)
            ready = mine.where(Deployment.state == READY)
            rows = session.scalars(ready.order_by(Deployment.version)).all()
            served = [
                Served(row.id, row.model_id, DeploymentInfo.model_validate(row.info))
                for row in rows
            ]  # fmt: skip
        text = given.text is not None
        fits = {one.info.modality: one for one in served if (one.info.kind is Kind.TEXT) == text}
        if not fits and given.textual:
            fits = {one.info.modality: one for one in served if one.info.kind is Kind.TEXT}
        if modality is not None:
            fits = {name: one for name, one in fits.items() if name == modality}
        if not fits:
            what = modality or ("reports" if text else "files")
            raise Conflict(
                f"index '{version.name}' is of model {version.model_id}, which is not served for {what}; export it for "
                "that modality, or search by a stored sample or a vector"
            )
        if len(fits) > 1:
            detail = f"the encoder reads files of several modalities; say which this one is: {', '.join(sorted(fits))}"
            raise ValidationFailed(detail, [FieldError("query:input", detail)])
        return next(iter(fits.values()))
