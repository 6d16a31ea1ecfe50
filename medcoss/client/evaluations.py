"""Scores of models: list them, fetch their pictures, compare them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Unpack

from medcoss.client.download import Wanted, download
from medcoss.client.evaluation_records import Comparison, Evaluation
from medcoss.client.filters import EvaluationFilters, params
from medcoss.client.paging import pages, parts
from medcoss.client.records import StoredFile
from medcoss.client.transfer import Notify
from medcoss.client.transport import Connections, Transport


class Evaluations:
    """`client.evaluations`."""

    def __init__(self, transport: Transport, connections: Connections) -> None:
        self._transport, self._connections = transport, connections

    def get(self, evaluation_id: str) -> Evaluation:
        """One evaluation."""
        return self._transport.parse(Evaluation, self._transport.get(f"/v1/evaluations/{evaluation_id}"))

    def list(self, **filters: Unpack[EvaluationFilters]) -> Iterator[Evaluation]:
        """Evaluations, newest first unless `sort` says otherwise; `sort="-score"` is the best first."""
        return pages(self._transport, "/v1/evaluations", Evaluation, params(filters, EvaluationFilters))

    def select(self, *fields: str, **filters: Unpack[EvaluationFilters]) -> Iterator[dict[str, Any]]:
        """Only these fields of evaluations."""
        return parts(self._transport, "/v1/evaluations", fields, params(filters, EvaluationFilters))

    def compare(self, baseline: str, *others: str) -> Comparison:
        """Scores side by side, and how far the others are from `baseline`. Raises ApiError (422) when they were not
        measured on the same split of the same dataset.
        """
        found = self._transport.get("/v1/evaluations:compare", {"id": [baseline, *others]})
        return self._transport.parse(Comparison, found)

    def files(self, evaluation_id: str) -> Iterator[StoredFile]:
        """Pictures, scores of the cases and draws of the bootstrap, each with a URL to fetch it from."""
        return pages(self._transport, f"/v1/evaluations/{evaluation_id}/files", StoredFile)

    def download(self, evaluation_id: str, folder: Path | str, *, progress: Notify | None = None) -> Path:
        """Fetch the files of an evaluation into `folder`, each verified; returns the folder."""
        wanted = [Wanted(f.path, f.size, f.sha256, f.url) for f in self.files(evaluation_id)]
        download(self._connections, wanted, Path(folder), progress)
        return Path(folder)

    def delete(self, evaluation_id: str) -> None:
        """Remove an evaluation with its files."""
        self._transport.call("DELETE", f"/v1/evaluations/{evaluation_id}")
