"""Models and their aliases."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Unpack
from urllib.parse import quote

from medcoss.client.download import Wanted, download
from medcoss.client.filters import ModelFilters, params
from medcoss.client.labels import retag
from medcoss.client.paging import pages, parts
from medcoss.client.records import Alias, Model, Promotion, StoredFile
from medcoss.client.transfer import Notify
from medcoss.client.transport import Connections, Transport


class Models:
    """`client.models`."""

    def __init__(self, transport: Transport, connections: Connections) -> None:
        self._transport, self._connections = transport, connections

    def get(self, model_id: str) -> Model:
        """One model, by its id or by an alias such as `@production`."""
        return self._transport.parse(Model, self._transport.get(f"/v1/models/{model_id}"))

    def files(self, model_id: str) -> Iterator[StoredFile]:
        """The files of a model, each with a URL to fetch it from."""
        return pages(self._transport, f"/v1/models/{model_id}/files", StoredFile)

    def download(self, model_id: str, folder: Path | str, *, progress: Notify | None = None) -> Path:
        """Fetch the files of a model into `folder`, each verified; returns the folder."""
        wanted = [Wanted(f.path, f.size, f.sha256, f.url) for f in self.files(model_id)]
        download(self._connections, wanted, Path(folder), progress)
        return Path(folder)

    def list(self, **filters: Unpack[ModelFilters]) -> Iterator[Model]:
        """Models, newest first unless `sort` says otherwise; `sort="-metric.auc"` is by a final number."""
        return pages(self._transport, "/v1/models", Model, params(filters, ModelFilters))

    def select(self, *fields: str, **filters: Unpack[ModelFilters]) -> Iterator[dict[str, Any]]:
        """Only these fields of models."""
        return parts(self._transport, "/v1/models", fields, params(filters, ModelFilters))

    def change(self, model_id: str, *, name: str | None = None, notes: str | None = None,
               tags: Iterable[str] | None = None, if_match: str | None = None) -> Model:  # fmt: skip
        """Another name, other notes, these tags and no others."""
        body = {"name": name, "notes": notes, "tags": None if tags is None else [*tags]}
        return self._transport.change(Model, f"/v1/models/{model_id}", body, if_match)

    def tag(self, model_id: str, *add: str, remove: Iterable[str] = ()) -> Model:
        """Give a model tags, and take others away."""
        return retag(self._transport, Model, f"/v1/models/{model_id}", add, remove)

    def delete(self, model_id: str) -> None:
        """Remove a model that nothing uses. Raises ApiError (409) naming what does."""
        self._transport.call("DELETE", f"/v1/models/{model_id}")


class Aliases:
    """`client.aliases`: names such as `production` that stand for one model at a time. `project` is a name or id, by
    default the key's only one, or else `default`.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self, *, project: str | None = None) -> Iterator[Alias]:
        """Aliases, newest first."""
        return pages(self._transport, "/v1/aliases", Alias, {"project": project})

    def get(self, name: str, *, project: str | None = None) -> Alias:
        """One alias; `name` with or without its @."""
        return self._transport.parse(Alias, self._transport.get(_path(name), {"project": project}))

    def promote(self, name: str, model_id: str, *, note: str = "", project: str | None = None) -> Alias:
        """Have an alias stand for a model from now on; it is made if it is not there."""
        body = {"model_id": model_id, "note": note}
        response = self._transport.call("PUT", _path(name), json=body, params={"project": project})
        return self._transport.read(Alias, response)

    def roll_back(self, name: str, *, note: str = "", project: str | None = None) -> Alias:
        """Have an alias stand for the model before its present one."""
        path, asked = f"{_path(name)}/rollback", {"project": project}
        response = self._transport.call("POST", path, json={"note": note}, params=asked, once=True)
        return self._transport.read(Alias, response)

    def history(self, name: str, *, project: str | None = None) -> Iterator[Promotion]:
        """Every move of an alias, newest first."""
        return pages(self._transport, f"{_path(name)}/history", Promotion, {"project": project})

    def remove(self, name: str, *, project: str | None = None) -> None:
        """Give an alias up; its history stays."""
        self._transport.call("DELETE", _path(name), params={"project": project})


def _path(name: str) -> str:
    return f"/v1/aliases/{quote(name.removeprefix('@'), safe='')}"
