"""Models and their aliases."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Unpack
from urllib.parse import quote

from medcoss.client.download import Wanted, download
from medcoss.client.filters import LineFilters, ModelFilters, params
from medcoss.client.labels import retag
from medcoss.client.lines import Card, Holders, Line, LineageGraph, LineSummary
from medcoss.client.paging import pages, parts
from medcoss.client.records import Alias, GateCheck, Model, Promotion, StoredFile
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

    def lines(self, **filters: Unpack[LineFilters]) -> Iterator[LineSummary]:
        """Lines of models, each by its newest stage; newest first unless `sort` says otherwise."""
        return pages(self._transport, "/v1/lines", LineSummary, params(filters, LineFilters))

    def line(self, model_id: str, *, other: str | None = None) -> Line:
        """The line of stages that leads to a model; with `other`, where its line has parted from this one."""
        return self._transport.parse(Line, self._transport.get(f"/v1/models/{model_id}/line", {"other": other}))

    def lineage(self, model_id: str, *, direction: str = "origins", files: int = 0) -> LineageGraph:
        """What a model was made from (`origins`), or what was made of it (`uses`); `files` lists so many files of each
        raw dataset with their hashes.
        """
        asked = {"direction": direction, "files": files}
        return self._transport.parse(LineageGraph, self._transport.get(f"/v1/models/{model_id}/lineage", asked))

    def holders(self, *, patient: str | None = None, cohort: str = "own", key: str | None = None,
                sha256: str | None = None, project: str | None = None) -> Holders:  # fmt: skip
        """Datasets, buffers, models and deployments that hold the data of a patient (by identifier and cohort, or by
        keyed hash) or of a raw file.
        """
        body = {"patient": patient, "cohort": cohort, "key": key, "sha256": sha256}
        asked = {name: value for name, value in body.items() if value is not None}
        response = self._transport.call("POST", "/v1/holders:find", json=asked, params={"project": project})
        return self._transport.read(Holders, response)

    def card(self, model_id: str) -> Card:
        """The model's card."""
        return self._transport.parse(Card, self._transport.get(f"/v1/models/{model_id}/card"))

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

    def promote(self, name: str, model_id: str, *, note: str = "", override: str | None = None,
                project: str | None = None) -> Alias:  # fmt: skip
        """Have an alias stand for a model from now on; it is made if it is not there. Raises ApiError (409) when its
        gate is closed to the model, unless `override` gives the reason to move it all the same.
        """
        body = {"model_id": model_id, "note": note} | ({} if override is None else {"override": override})
        response = self._transport.call("PUT", _path(name), json=body, params={"project": project})
        return self._transport.read(Alias, response)

    def set_gate(self, name: str, *, average: float | None = None, each: float | None = None,
                 modalities: Mapping[str, float] | None = None, accuracy: float | None = None,
                 project: str | None = None) -> Alias:  # fmt: skip
        """Bound the forgetting report of models that an alias may move to: shares of the pretext loss right after a
        modality was learnt, and `accuracy` of a probe's balanced accuracy.
        """
        body = {"average": average, "each": each, "modalities": dict(modalities or {}), "accuracy": accuracy}
        response = self._transport.call("PUT", f"{_path(name)}/gate", json=body, params={"project": project})
        return self._transport.read(Alias, response)

    def remove_gate(self, name: str, *, project: str | None = None) -> None:
        """Let an alias move to any model again."""
        self._transport.call("DELETE", f"{_path(name)}/gate", params={"project": project})

    def check_gate(self, name: str, model_id: str, *, project: str | None = None) -> GateCheck:
        """Whether an alias may move to a model; nothing changes."""
        asked = {"model_id": model_id, "project": project}
        return self._transport.parse(GateCheck, self._transport.get(f"{_path(name)}/gate/check", asked))

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
