"""A `build_index` job: datasets embedded with one encoder, as files that a search reads.

`vectors.faiss` holds the unit vectors, `studies.parquet` a row for each, in their order; `projection.parquet`,
`projection.json` and `projection.png` a map of them, and `index.json` an IndexInfo.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from medcoss.data import vectors
from medcoss.data.fingerprints import fingerprint
from medcoss.evaluation.embed import Embedded, Study, embed_dataset, studies_table
from medcoss.run import CheckpointStore, RunContext
from medcoss.specs.inference import BuildIndexSpec
from medcoss.specs.records import IndexInfo

STUDIES, INFO = "studies.parquet", "index.json"


def build_index(spec: BuildIndexSpec, model_dir: Path, datasets: Mapping[str, Path], names: Mapping[str, str],
                folder: Path, work: Path, context: RunContext) -> IndexInfo:  # fmt: skip
    """Embed the `datasets`, folders by id, and write the files of the index to `folder`; `names` are theirs for people.

    Goes on from a checkpoint, finished datasets included. Raises BadInput when a dataset does not fit the model, and
    Stopped when the context asks to stop.
    """
    work.mkdir(parents=True, exist_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    finished = _Finished(work / "finished", fingerprint(model_dir), spec, context)
    before = 0
    for place, (dataset, path) in enumerate(datasets.items()):
        if dataset in finished:
            before += finished.samples(dataset)
            continue
        part = _Part(context, finished, place, len(datasets), names[dataset], before)
        found = embed_dataset(model_dir, path, dataset, work / dataset, part, level=spec.level,
                              batch_size=spec.batch_size)  # fmt: skip
        finished.add(dataset, found)
        if place + 1 < len(datasets):
            part.checkpoints.save(finished.samples(dataset), finished.empty())
        before += finished.samples(dataset)
    whole = finished.together(list(datasets))
    units = vectors.unit(whole.vectors)
    method = vectors.method_for(len(units), spec.search)
    context.progress(len(datasets), len(datasets) + 1, "building the index")
    vectors.build(units, method, folder)
    pq.write_table(studies_table(whole.studies), folder / STUDIES)
    projected = _projected(spec, whole.studies, units, names, folder, context)
    counts = {dataset: sum(study.dataset == dataset for study in whole.studies) for dataset in datasets}
    info = IndexInfo(
        level=spec.level, vectors=len(units), width=units.shape[1], search=method,
        datasets=counts, modalities=sorted({study.modality for study in whole.studies}), projected=projected,
    )  # fmt: skip
    (folder / INFO).write_text(info.model_dump_json(indent=1))
    return info


def _projected(spec: BuildIndexSpec, studies: list[Study], units: vectors.Floats, names: Mapping[str, str],
               folder: Path, context: RunContext) -> int:  # fmt: skip
    """Write the 2-D projection; how many studies are in it."""
    if not spec.projection:
        return 0
    # here, because numba takes seconds that other jobs need not wait for
    from medcoss.evaluation.projection import FEWEST, draw_projection, project

    if len(units) < FEWEST:
        context.log(f"{len(units)} studies are too few for a projection; it takes {FEWEST}")
        return 0
    context.log("projecting to two dimensions (UMAP)")
    chosen = np.unique(np.linspace(0, len(units) - 1, min(spec.projection, len(units))).astype(np.int64))
    places = project(units[chosen])
    kept = [studies[int(i)] for i in chosen]
    table = studies_table(kept)
    for column, axis in (("x", 0), ("y", 1)):
        table = table.append_column(column, pa.array(places[:, axis]))
    pq.write_table(table, folder / "projection.parquet")
    (folder / "projection.json").write_text(json.dumps(table.to_pydict()))
    draw_projection(places, kept, names, folder / "projection.png")
    return len(chosen)


class _Finished:
    """The datasets that are embedded, a pair of files each, which checkpoints carry along."""

    def __init__(self, folder: Path, model: str, spec: BuildIndexSpec, context: RunContext) -> None:
        self.folder = folder
        self._identity = f"{model} {spec.level} {spec.batch_size}"
        folder.mkdir(parents=True, exist_ok=True)
        kept = folder.with_name("restored")
        kept.mkdir(exist_ok=True)
        if context.checkpoints.latest(kept) is not None and _text(kept / "finished.txt") == self._identity:
            for path in kept.glob("finished-*"):
                shutil.copyfile(path, folder / path.name)
            if len(self):
                context.log(f"resumed with {len(self)} datasets")
        shutil.rmtree(kept)
        (folder / "finished.txt").write_text(self._identity)

    def __len__(self) -> int:
        return len(list(self.folder.glob("finished-*.npy")))

    def __contains__(self, dataset: str) -> bool:
        return (self.folder / f"finished-{dataset}.npy").is_file()

    def add(self, dataset: str, found: Embedded) -> None:
        """Keep what was embedded."""
        pq.write_table(studies_table(found.studies), self.folder / f"finished-{dataset}.parquet")
        np.save(self.folder / f"finished-{dataset}.npy", found.vectors)

    def samples(self, dataset: str) -> int:
        """How many samples were embedded."""
        return int(pc.sum(pq.read_table(self.folder / f"finished-{dataset}.parquet")["samples"]).as_py())

    def empty(self) -> Path:
        """An empty folder, for a checkpoint of nothing else."""
        made = self.folder.with_name("empty")
        shutil.rmtree(made, ignore_errors=True)
        made.mkdir()
        return made

    def together(self, datasets: list[str]) -> Embedded:
        """All vectors and studies, dataset after dataset."""
        rows = [row for one in datasets for row in pq.read_table(self.folder / f"finished-{one}.parquet").to_pylist()]
        arrays = [np.load(self.folder / f"finished-{one}.npy") for one in datasets]
        return Embedded(np.concatenate(arrays), [Study(**row) for row in rows])


def _text(path: Path) -> str:
    return path.read_text() if path.is_file() else ""


@dataclass(frozen=True)
class _Part:
    """The run, as the embedding of one of several datasets sees it: its progress is a share of the whole."""

    context: RunContext
    finished: _Finished
    place: int
    count: int
    name: str
    before: int

    @property
    def checkpoints(self) -> CheckpointStore:
        """Checkpoints, which carry the finished datasets along."""
        return _Carrying(self.context.checkpoints, self.finished, self.before)

    def progress(self, done: int, total: int, message: str = "") -> None:
        """Report how far all are, as if each had as many samples."""
        share = max(total, 1)
        self.context.progress(self.place * share + done, (self.count + 1) * share, f"{self.name}: {message}")

    def __getattr__(self, name: str) -> object:
        return getattr(self.context, name)


@dataclass(frozen=True)
class _Carrying:
    store: CheckpointStore
    finished: _Finished
    before: int

    def save(self, step: int, directory: Path) -> None:
        """Store the folder, and beside it what is finished; steps count the samples of all datasets."""
        for path in self.finished.folder.iterdir():
            shutil.copyfile(path, directory / path.name)
        self.store.save(self.before + step, directory)

    def latest(self, directory: Path) -> int | None:
        """Fetch the newest one."""
        return self.store.latest(directory)
