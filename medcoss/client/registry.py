"""Models and their served versions."""

from collections.abc import Iterator
from pathlib import Path

from medcoss.client.download import Wanted, download
from medcoss.client.paging import pages
from medcoss.client.records import Deployment, Model, StoredFile
from medcoss.client.transfer import Notify
from medcoss.client.transport import Connections, Transport


class Models:
    """`client.models`."""

    def __init__(self, transport: Transport, connections: Connections) -> None:
        self._transport, self._connections = transport, connections

    def get(self, model_id: str) -> Model:
        """One model."""
        return self._transport.parse(Model, self._transport.get(f"/v1/models/{model_id}"))

    def files(self, model_id: str) -> Iterator[StoredFile]:
        """The files of a model, each with a URL to fetch it from."""
        return pages(self._transport, f"/v1/models/{model_id}/files", StoredFile)

    def download(self, model_id: str, folder: Path | str, *, progress: Notify | None = None) -> Path:
        """Fetch the files of a model into `folder`, each verified; returns the folder."""
        wanted = [Wanted(f.path, f.size, f.sha256, f.url) for f in self.files(model_id)]
        download(self._connections, wanted, Path(folder), progress)
        return Path(folder)

    def list(self, *, project: str | None = None) -> Iterator[Model]:
        """Models, newest first."""
        return pages(self._transport, "/v1/models", Model, {"project": project})


class Deployments:
    """`client.deployments`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self, *, name: str | None = None, project: str | None = None) -> Iterator[Deployment]:
        """Served versions, newest first."""
        return pages(self._transport, "/v1/deployments", Deployment, {"name": name, "project": project})
