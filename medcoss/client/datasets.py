"""Datasets: upload, look, fetch, delete."""

import warnings
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any, Unpack

from medcoss.client.deidentified import Notice, deidentified
from medcoss.client.download import Wanted, download
from medcoss.client.errors import ApiError, ClientError, FileChanged, ServerUnreachable, TransferFailed
from medcoss.client.filters import DatasetFilters, params
from medcoss.client.labels import retag
from medcoss.client.paging import pages, parts
from medcoss.client.records import Dataset, PlatformInfo, Registered, StoredFile
from medcoss.client.sending import FolderUpload
from medcoss.client.transfer import THREADS, Notify
from medcoss.client.transport import Connections, Transport
from medcoss.client.upload import LocalFile, check_limits, hash_files, local_files
from medcoss.client.uploads import Uploads

REGISTER_TIMEOUT_S = 600.0


class Datasets:
    """`client.datasets`."""

    def __init__(self, transport: Transport, connections: Connections) -> None:
        self._transport, self._connections = transport, connections

    def upload(
        self,
        path: Path | str,
        *,
        name: str,
        modality: str | None = None,
        description: str = "",
        tags: Iterable[str] = (),
        project: str | None = None,
        progress: Notify | None = None,
        threads: int = THREADS,
        part_bytes: int | None = None,
        deidentify: bool = True,
        notice: Notice = warnings.warn,
    ) -> Dataset:
        """Upload a folder or a file as a raw dataset; `progress` is told of bytes hashed and sent. `project` is a name
        or id, by default the key's only one, or else `default`.

        Hidden files are left out. What cannot be taken - limits, name, modality, role of the key - is refused
        before anything is read. Files of more than two parts - of `part_bytes`, by default 16 MiB - go in parts. The
        same call goes on with what an earlier one of the same name, modality and files has left unfinished.
        That is kept when a connection or the program breaks, and when large files were on their way; any other failure,
        Ctrl-C included, leaves no half dataset behind.
        DICOM files are rewritten without identity before anything is sent, see `medcoss.client.deidentified`; `notice`
        is told what is left out. `deidentify=False` sends them as they are.
        Raises ValueError for an empty folder, ApiError, or TransferFailed naming the file.
        """
        files = local_files(Path(path))
        labels = [*tags]
        self._refuse_early(name, modality, description, labels, project)
        check_limits(files, self._transport.parse(PlatformInfo, self._transport.get("/v1/platform")).limits)
        with ExitStack() as stack:
            if deidentify:
                files = stack.enter_context(deidentified(files, progress, notice, threads))
            return self._send(files, name, modality, description, labels, project, progress, threads, part_bytes)

    def _send(self, files: "list[LocalFile]", name: str, modality: str | None, description: str, labels: "list[str]",
              project: str | None, progress: Notify | None, threads: int,
              part_bytes: int | None) -> Dataset:  # fmt: skip
        """Hash, announce, send and complete."""
        hashes = hash_files(files, progress, threads)
        listed = [{"path": f.path, "size": f.size, "sha256": h} for f, h in zip(files, hashes, strict=True)]
        registered = self.register(
            name, modality=modality, description=description, tags=labels, files=listed, project=project, resume=True
        )
        work = FolderUpload(
            Uploads(self._transport), self._connections, registered, files, progress, threads, part_bytes
        )
        with self._kept_or_deleted(registered, precious=work.in_parts):
            work.run()
            return self.complete(registered.dataset.id)

    def register(
        self,
        name: str,
        *,
        modality: str | None = None,
        description: str = "",
        tags: Iterable[str] = (),
        files: "list[dict[str, Any]]",
        project: str | None = None,
        resume: bool = False,
    ) -> Registered:
        """Announce a dataset and its files (`path`, `size`, `sha256`); the answer says where to PUT each. With `resume`
        it may be one that was not completed, of the same name, modality and files, and names those that it lacks.
        """
        body = {"name": name, "modality": modality, "description": description, "files": files, "project": project,
                "tags": [*tags], "resume": resume}  # fmt: skip
        response = self._transport.call("POST", "/v1/datasets", json=body, timeout_s=REGISTER_TIMEOUT_S)
        return self._transport.read(Registered, response)

    def complete(self, dataset_id: str) -> Dataset:
        """Make a dataset ready whose files have all arrived."""
        path = f"/v1/datasets/{dataset_id}/complete"
        response = self._transport.call("POST", path, once=True, timeout_s=REGISTER_TIMEOUT_S)
        return self._transport.read(Dataset, response)

    def _refuse_early(self, name: str, modality: str | None, description: str, tags: "list[str]",
                      project: str | None) -> None:  # fmt: skip
        """Let the server judge everything but the files, whose hashes take a while.

        A dataset without files is refused either way; only what else is wrong is raised.
        """
        try:
            unwanted = self.register(
                name, modality=modality, description=description, tags=tags, files=[], project=project
            )
        except ApiError as error:
            others = [e for e in error.errors if not e.pointer.startswith("/files")]
            if error.status != 422:
                raise
            if others:
                detail = "; ".join(f"{e.pointer}: {e.detail}" for e in others)
                raise ApiError(error.status, error.title, detail, others, error.request_id) from None
        else:
            self.delete(unwanted.dataset.id)

    @contextmanager
    def _kept_or_deleted(self, registered: Registered, precious: bool) -> Iterator[None]:
        dataset_id = registered.dataset.id
        try:
            yield
        except BaseException as error:
            if not isinstance(error, FileChanged) and (precious or _is_broken(error)):
                until = f"{registered.expires_at.astimezone():%Y-%m-%d %H:%M}"
                error.add_note(f"what has arrived is kept as {dataset_id} until {until}: do the same again to go on")
                raise
            try:
                self.delete(dataset_id)
            except ClientError as second:
                error.add_note(f"the unfinished dataset {dataset_id} could not be deleted ({second}); it will expire")
            raise

    def get(self, dataset_id: str) -> Dataset:
        """One dataset."""
        return self._transport.parse(Dataset, self._transport.get(f"/v1/datasets/{dataset_id}"))

    def files(self, dataset_id: str) -> Iterator[StoredFile]:
        """The files of a dataset, each with a URL to fetch it from."""
        return pages(self._transport, f"/v1/datasets/{dataset_id}/files", StoredFile)

    def download(self, dataset_id: str, folder: Path | str, *, progress: Notify | None = None) -> Path:
        """Fetch the files of a dataset into `folder`, each verified; returns the folder."""
        wanted = [Wanted(f.path, f.size, f.sha256, f.url) for f in self.files(dataset_id)]
        download(self._connections, wanted, Path(folder), progress)
        return Path(folder)

    def delete(self, dataset_id: str) -> None:
        """Remove a dataset that nothing uses."""
        self._transport.call("DELETE", f"/v1/datasets/{dataset_id}")

    def list(self, **filters: Unpack[DatasetFilters]) -> Iterator[Dataset]:
        """Datasets, newest first unless `sort` says otherwise."""
        return pages(self._transport, "/v1/datasets", Dataset, params(filters, DatasetFilters))

    def select(self, *fields: str, **filters: Unpack[DatasetFilters]) -> Iterator[dict[str, Any]]:
        """Only these fields of datasets."""
        return parts(self._transport, "/v1/datasets", fields, params(filters, DatasetFilters))

    def change(self, dataset_id: str, *, name: str | None = None, description: str | None = None,
               tags: Iterable[str] | None = None, if_match: str | None = None) -> Dataset:  # fmt: skip
        """Another name, another description, these tags and no others."""
        body = {"name": name, "description": description, "tags": None if tags is None else [*tags]}
        return self._transport.change(Dataset, f"/v1/datasets/{dataset_id}", body, if_match)

    def tag(self, dataset_id: str, *add: str, remove: Iterable[str] = ()) -> Dataset:
        """Give a dataset tags, and take others away."""
        return retag(self._transport, Dataset, f"/v1/datasets/{dataset_id}", add, remove)


def _is_broken(error: BaseException) -> bool:
    """True when the way to the server or the object store broke, and not what was sent."""
    away = isinstance(error, ApiError) and error.status >= HTTPStatus.INTERNAL_SERVER_ERROR
    return away or isinstance(error, TransferFailed | ServerUnreachable)
