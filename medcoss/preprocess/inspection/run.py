"""Inspect a dataset: plan, measure over the cores, add up, warn, draw, write."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from shutil import rmtree
from typing import Any

import numpy as np

from medcoss.data.shards import ShardReader
from medcoss.preprocess.archives import UNPACKED, opened
from medcoss.preprocess.engine.pool import Pool, run_here
from medcoss.preprocess.engine.records import End, read_records
from medcoss.preprocess.engine.work import Stage, Task
from medcoss.preprocess.inspection.collect import Found, spread
from medcoss.preprocess.inspection.draw import draw
from medcoss.preprocess.inspection.page import page
from medcoss.preprocess.inspection.plan import Planned, measured, of_prepared, of_raw
from medcoss.preprocess.inspection.report import Intensities, Report, Samples
from medcoss.preprocess.inspection.warn import warnings
from medcoss.preprocess.nnunet import median_spacing
from medcoss.preprocess.raw import Raw
from medcoss.run import BadInput, RunContext, Stopped
from medcoss.specs.inspection import InspectOptions, Measuring
from medcoss.specs.preprocess import ArchiveLimits
from medcoss.specs.records import BadFile

_BATCH, _FEW = 8, 16
_SHAPES = 20
_TYPES = {".json": "application/json", ".html": "text/html", ".png": "image/png",
          ".gz": "application/gzip"}  # fmt: skip
SAMPLES = "samples.json"


def inspect(options: InspectOptions, source: Path, folder: Path, context: RunContext, *, salt: bytes = b"",
            processes: int | None = None) -> Report:  # fmt: skip
    """Write `report.json`, `report.html` and pictures of the raw or prepared dataset `source` to `folder`.

    Archives are looked into, unpacked below `folder` for as long as that takes. The files become artifacts of the run,
    too. `salt` is the key of the hashes of patients. The same dataset and
    options give the same report. Raises BadInput when there is nothing to look at, Stopped when asked to.
    """
    reader = ShardReader(source) if (source / "meta.json").is_file() else None
    folder.mkdir(parents=True, exist_ok=True)
    unpacked = folder / UNPACKED
    try:
        if reader:
            raw, planned = Raw(source), of_prepared(reader, options)
        else:
            seen = opened(source, unpacked, ArchiveLimits(), context)
            raw = Raw(seen.root)
            planned = of_raw(raw, options, salt or os.urandom(32), source)
            planned.unreadable += [BadFile(path=path, reason=reason) for path, reason in seen.refused]
        return _inspected(options, reader, raw, planned, folder, context, processes)
    finally:
        rmtree(unpacked, ignore_errors=True)


def _inspected(options: InspectOptions, reader: ShardReader | None, raw: Raw, planned: Planned, folder: Path,
               context: RunContext, processes: int | None) -> Report:  # fmt: skip
    if not planned.units and not planned.unreadable:
        kinds = ", ".join(f"{n} {kind}" for kind, n in planned.files.items()) or "nothing"
        raise BadInput(f"there are no images, volumes, DICOM files or texts to look at; found {kinds}: look at what a "
                       "preprocess job makes of it instead", "dataset")  # fmt: skip
    modality = reader.info.modality if reader else options.modality
    found = _measured(planned, raw, Measuring(modality="" if reader else modality or "", folder=str(folder)), context,
                      processes)  # fmt: skip
    report = _report(found, planned, modality, "prepared" if reader else "raw", options)
    report.pictures = draw(report, found, folder)
    (folder / "report.json").write_text(report.model_dump_json(indent=1), encoding="utf-8")
    (folder / "report.html").write_text(page(report, folder), encoding="utf-8")
    for name in ("report.json", "report.html", *report.pictures):
        context.artifact(folder / name, name, _TYPES[Path(name).suffix])
    _keep_samples(found, planned, report.source, options, folder, context)
    return report


def _keep_samples(found: Found, planned: Planned, source: str, options: InspectOptions, folder: Path,
                  context: RunContext) -> None:  # fmt: skip
    """Keep what was drawn for the sample browser, and its list last."""
    if not found.shown:
        return
    shown = [found.shown[number] for number in sorted(found.shown)]
    for name in (name for one in shown for name in (one.image, one.mask) if name):
        context.artifact(folder / name, name, _TYPES[Path(name).suffix])
    listed = Samples(source=source, of=planned.drawn_of, seed=options.seed, samples=shown)
    (folder / SAMPLES).write_text(listed.model_dump_json(indent=1), encoding="utf-8")
    context.artifact(folder / SAMPLES, SAMPLES, _TYPES[".json"])


def _measured(planned: Planned, raw: Raw, spec: Measuring, context: RunContext, processes: int | None) -> Found:
    found, starts, total = Found(), [0], len(planned.units)
    for unit in planned.units:
        starts.append(starts[-1] + len(unit.splits))
    with tempfile.TemporaryDirectory() as work:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        wanted = processes or cores
        with Pool(wanted) as pool:
            tasks = _tasks(planned, raw, spec, Path(work))
            done = run_here(tasks, context.should_stop) if total <= _FEW else pool.run(tasks, context.should_stop)
            number = 0
            for task in done:
                for place, outcome in _outcomes(task.target):
                    unit = planned.units[place]
                    if isinstance(outcome, End):
                        planned.unreadable.append(BadFile(path=outcome.path, reason=outcome.reason))
                        found.add_unread(unit, starts[place], outcome.reason)
                    else:
                        found.add(unit, outcome, starts[place], spec.modality)
                task.target.unlink()
                number += len(task.items)
                context.progress(number, total, "files and series" if planned.files else "samples")
    if number < total:
        raise Stopped(f"stopped at {number} of {total}")
    planned.unreadable.sort(key=lambda bad: bad.path)
    return found


def _tasks(planned: Planned, raw: Raw, spec: Measuring, work: Path) -> Iterator[Task]:
    items, stage = list(measured(planned)), Stage("inspection", survey=True)
    for first in range(0, len(items), _BATCH):
        yield Task(spec, raw.root, stage, items[first : first + _BATCH], work / f"{first:09d}.records")


def _outcomes(path: Path) -> Iterator[tuple[int, End | list[dict[str, Any]]]]:
    """What each item gave: its samples, or its end when it could not be read."""
    samples: list[dict[str, Any]] = []
    with path.open("rb") as file:
        for record in read_records(file):
            if not isinstance(record, End):
                samples = record.row["found"]
            elif record.state == "made":
                yield record.item, samples
            else:
                yield record.item, record


def _report(found: Found, planned: Planned, modality: str | None, source: str, options: InspectOptions) -> Report:
    axes = max((len(shape) for shape in found.shapes), default=0)
    shapes = np.array([shape for shape in found.shapes.elements() if len(shape) == axes])
    spacings = [pair for pair in found.spacings if len(pair[0]) == axes]
    grid = np.array([spacing for spacing, _ in spacings])
    target = None
    if axes == 3 and len(grid):
        target = [float(s) for s in median_spacing(grid, np.array([shape for _, shape in spacings]))]
    names = sorted({name for counts in found.classes.values() for name in counts})
    values = {split: Intensities.of(h) for split, h in sorted(found.histograms.items())}
    return Report(
        source=source, modality=modality, samples=found.cases, files=dict(planned.files),
        splits=dict(sorted(found.splits.items())),
        classes={s: {n: found.classes[s][n] for n in names} for s in sorted(found.splits)} if names else {},
        patients={split: len(keys) for split, keys in sorted(found.patients.items())},
        shapes={" x ".join(map(str, shape)): n for shape, n in found.shapes.most_common(_SHAPES)},
        size=[spread(shapes[:, i]) for i in range(axes)], channels={str(k): n for k, n in found.channels.items()},
        types=dict(found.types), spacing=[spread(grid[:, i]) for i in range(axes)] if len(grid) else [],
        target_spacing=target, intensities={split: one for split, one in values.items() if one is not None},
        foreground=Intensities.of(found.foreground), masks=found.masks, label_voxels=dict(sorted(found.labels.items())),
        texts=found.texts(), unreadable=planned.unreadable, left_out=planned.left_out,
        warnings=warnings(found, planned, options),
    )  # fmt: skip
