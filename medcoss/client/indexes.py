"""Indexes: ask for them, search them, fetch their projection."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Unpack
from urllib.parse import quote

from medcoss.client.download import Wanted, download
from medcoss.client.filters import IndexFilters, params
from medcoss.client.index_records import Index, SearchAnswer
from medcoss.client.inference import TIMEOUT_S
from medcoss.client.inference_inputs import Given, body_of
from medcoss.client.jobs import Jobs
from medcoss.client.paging import pages, parts
from medcoss.client.records import StoredFile
from medcoss.client.transfer import Notify
from medcoss.client.transport import Connections, Transport


class Indexes:
    """`client.indexes`: the control plane makes and keeps them, the gateway searches."""

    def __init__(
        self, transport: Transport, connections: Connections, gateway: Callable[[], Transport], jobs: Jobs
    ) -> None:
        self._transport, self._connections, self._gateway, self._jobs = transport, connections, gateway, jobs

    def create(self, name: str, encoder: str, datasets: Sequence[str], *, description: str = "",
               project: str | None = None, **options: Any) -> Index:  # fmt: skip
        """Ask for an index of datasets by the embeddings of a model (id or alias); a job builds it.

        `options` are `level`, `search`, `batch_size` and `projection`. Raises ApiError (409) when the name is taken.
        """
        body = {"name": name, "encoder": encoder, "datasets": [*datasets], "description": description} | options
        if project is not None:
            body["project"] = project
        return self._transport.read(Index, self._transport.call("POST", "/v1/indexes", json=body, once=True))

    def get(self, name: str, *, project: str | None = None) -> Index:
        """One index: what answers now, and what is being built."""
        return self._transport.parse(Index, self._transport.get(_path(name), {"project": project}))

    def list(self, **filters: Unpack[IndexFilters]) -> Iterator[Index]:
        """Indexes, newest first unless `sort` says otherwise."""
        return pages(self._transport, "/v1/indexes", Index, params(filters, IndexFilters))

    def select(self, *fields: str, **filters: Unpack[IndexFilters]) -> Iterator[dict[str, Any]]:
        """Only these fields of indexes."""
        return parts(self._transport, "/v1/indexes", fields, params(filters, IndexFilters))

    def wait(self, name: str, *, timeout: float | None = None, project: str | None = None) -> Index:
        """Wait until the newest build has ended. Raises what `jobs.wait` raises when it fails."""
        found = self.get(name, project=project)
        if found.build is not None:
            self._jobs.wait(found.build.job_id, timeout=timeout)
        return self.get(name, project=project)

    def rebuild(self, name: str, *, project: str | None = None) -> Index:
        """Embed everything again; the present version answers until that is done."""
        asked = {"project": project}
        return self._transport.read(
            Index, self._transport.call("POST", f"{_path(name)}/rebuild", params=asked, once=True)
        )

    def search(self, name: str, given: Given | None = None, *, sample: tuple[str, str] | None = None,
               vector: Sequence[float] | None = None, k: int = 10, exact: bool = False, filename: str | None = None,
               input: str | None = None, project: str | None = None,
               **filters: str | Iterable[str]) -> SearchAnswer:  # fmt: skip
        """The studies nearest to a file, a text, a stored `sample` (dataset and id) or a `vector`, nearest first.

        `filters` are `dataset`, `modality`, `split`, `label` and `patient`, each a value or several; `input` is the
        modality of a file where the encoder reads files of several.
        """
        unknown = filters.keys() - {"dataset", "modality", "split", "label", "patient"}
        if unknown:
            raise TypeError(f"there is no filter '{min(unknown)}'; expected dataset, modality, split, label or patient")
        if sum(one is not None for one in (given, sample, vector)) != 1:
            raise TypeError("give one of a file or text, sample and vector")
        asked: dict[str, Any] = {"k": k, "exact": exact, "input": input, "project": project}
        asked |= {key: value if isinstance(value, str) else [*value] for key, value in filters.items()}
        path = f"{_path(name)}/search"
        if given is not None:
            with body_of(given, filename) as body:
                return self._found(path, asked, body)
        body = {"vector": [*map(float, vector)]} if vector is not None else {}
        if sample is not None:
            body = {"sample": {"dataset": sample[0], "id": sample[1]}}
        return self._found(path, asked, {"json": body})

    def _found(self, path: str, asked: dict[str, Any], body: dict[str, Any]) -> SearchAnswer:
        gateway = self._gateway()
        answer = gateway.call("POST", path, params=asked, idempotent=True, timeout_s=TIMEOUT_S, **body)
        return gateway.read(SearchAnswer, answer)

    def files(self, name: str, *, project: str | None = None) -> Iterator[StoredFile]:
        """Vectors, studies and projection of the version that answers, each with a URL to fetch it from."""
        return pages(self._transport, f"{_path(name)}/files", StoredFile, {"project": project})

    def download(self, name: str, folder: Path | str, *, only: str | None = None, project: str | None = None,
                 progress: Notify | None = None) -> Path:  # fmt: skip
        """Fetch the files of the version that answers into `folder`, or those whose names begin with `only`, e.g.
        projection; each verified. Returns the folder.
        """
        wanted = [
            Wanted(file_name, file.size, file.sha256, file.url)
            for file in self.files(name, project=project)
            if (file_name := file.path.rpartition("/")[2]).startswith(only or "")
        ]
        download(self._connections, wanted, Path(folder), progress)
        return Path(folder)

    def delete(self, name: str, *, project: str | None = None) -> None:
        """Remove an index with its vectors; a build that goes on is cancelled."""
        self._transport.call("DELETE", _path(name), params={"project": project})


def _path(name: str) -> str:
    return f"/v1/indexes/{quote(name, safe='')}"
