"""The parts of a range of items: those of earlier attempts, and the rest made now."""

import hashlib
import json
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from medcoss.preprocess.engine.assemble import finished
from medcoss.preprocess.engine.parts import PartWriter, fetched
from medcoss.preprocess.engine.plan import Plan
from medcoss.preprocess.engine.pool import Pool, run_here
from medcoss.preprocess.engine.work import Stage, Task
from medcoss.preprocess.recipe import Item, recipe_of
from medcoss.run import BadInput, RunContext, Stopped

BATCH_ITEMS, BATCH_BYTES = 64, 16 * 2**20
# less than this is made before other processes have started
FEW_ITEMS, FEW_BYTES = 256, 8 * 2**20
METRICS_S = 10.0


def surveyed(plan: Plan, folder: Path, context: RunContext, processes: int | None) -> Stage:
    """The stage that makes the samples, after the survey if the recipe has one.

    Raises BadInput when nothing can be concluded from that; what could not be read is then noted in the plan.
    """
    recipe = recipe_of(plan.spec)
    if not hasattr(recipe, "survey") or not plan.count:
        return Stage(plan.digest)
    parts = produce(plan, Stage(_digest(plan, "survey"), survey=True), 0, plan.count, folder, context, processes)
    try:
        findings = recipe.conclude(plan.spec, _found(plan, parts))
    except BadInput:
        # the report tells why
        for _, end, _ in finished(plan, parts):
            if end.state != "made":
                plan.note(end.state, end.path, end.reason)
        raise
    return Stage(_digest(plan, json.dumps(findings)), findings=findings)


def _digest(plan: Plan, more: str) -> str:
    return hashlib.sha256(f"{plan.digest} {more}".encode()).hexdigest()


def _found(plan: Plan, parts: list[Path]) -> Iterator[tuple[Item, Any]]:
    """Every item with its split, and what the survey says of it; None where it could not be read."""
    for planned, _, records in finished(plan, parts):
        found = next((record.row["found"] for record in records), None)
        yield replace(planned.item, split=planned.split), found


def produce(plan: Plan, stage: Stage, first: int, end: int, folder: Path, context: RunContext,
            processes: int | None) -> list[Path]:  # fmt: skip
    """The parts that hold what `stage` makes of items `first` to `end` (exclusive), in `folder`.

    `processes` None: as many as there are cores, and none for a handful of small files. Raises Stopped, after what
    was done is kept.
    """
    folder.mkdir(parents=True, exist_ok=True)
    parts, begin = fetched(context.parts, stage.plan, first, end, folder)
    # the files of what is made already are not needed
    plan.raw.bring(file for planned in plan.items(begin, end) for file in planned.item.files)
    progress = _Progress(plan, stage, first, begin, end, context)
    if begin == end:
        return parts
    if begin > first:
        context.log(f"going on after {begin - first} of {end - first} inputs, which an earlier attempt has finished")
    writer = PartWriter(folder, stage.plan, begin)

    def keep(done: int) -> None:
        if (path := writer.end(done)) is not None:
            context.parts.put(path, done - first)
            parts.append(path)

    done = begin
    wanted = _processes(plan, begin, end) if processes is None else processes
    with Pool(wanted) as pool:
        run = pool.run if wanted > 1 else run_here
        for task in run(_tasks(plan, stage, begin, end, wanted, folder), context.should_stop):
            writer.add(task.target)
            done = task.items[-1][0] + 1
            progress.add(done)
            if writer.due():
                keep(done)
    keep(done)
    if done < end:
        raise Stopped
    return parts


def _processes(plan: Plan, first: int, end: int) -> int:
    if end - first <= FEW_ITEMS and plan.bytes_of(first, end) <= FEW_BYTES:
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _tasks(plan: Plan, stage: Stage, first: int, end: int, processes: int, folder: Path) -> Iterator[Task]:
    # few items are dealt out one by one, so that every process gets some
    size = max(1, min(BATCH_ITEMS, (end - first) // (processes * 8)))
    for begun, stop, _ in plan.batches(first, end, size, BATCH_BYTES):
        items = [(planned.number, planned.item) for planned in plan.items(begun, stop)]
        yield Task(plan.spec, plan.raw.root, stage, items, folder / f"{begun:09d}.records", plan.raw.brought)


class _Progress:
    """Tells how many inputs and bytes are done, and how long the rest will take."""

    def __init__(self, plan: Plan, stage: Stage, first: int, begin: int, end: int, context: RunContext) -> None:
        self._what = "survey: " if stage.survey else ""
        self._plan, self._context, self._first, self._count = plan, context, first, end - first
        self._bytes, self._whole = plan.bytes_of(first, begin), plan.bytes_of(first, end)
        self._done = self._begin = begin
        self._made = 0
        self._began = self._told = time.monotonic()
        context.progress(begin - first, self._count, self._message())

    def add(self, done: int) -> None:
        """All items before `done` are finished."""
        made = self._plan.bytes_of(self._done, done)
        self._done, self._bytes, self._made = done, self._bytes + made, self._made + made
        self._context.progress(done - self._first, self._count, self._message())
        moment = time.monotonic()
        if moment - self._told >= METRICS_S:
            self._told, passed = moment, moment - self._began
            self._context.metrics(
                done - self._first,
                {"bytes": float(self._bytes), "inputs_per_s": (done - self._begin) / passed,
                 "bytes_per_s": self._made / passed},
            )  # fmt: skip

    def _message(self) -> str:
        text = f"{self._what}{self._done - self._first:,} of {self._count:,} inputs"
        if self._whole:
            text += f", {_size(self._bytes)} of {_size(self._whole)}"
        left = self._left()
        return text if left is None else f"{text}, {left // 3600}:{left // 60 % 60:02}:{left % 60:02} left"

    def _left(self) -> int | None:
        """Seconds for the rest, by bytes where there are files, else by items; None before there is a pace."""
        if self._done == self._begin or self._done - self._first == self._count:
            return None
        passed = time.monotonic() - self._began
        if self._made:
            return round((self._whole - self._bytes) * passed / self._made)
        return round((self._count - self._done + self._first) * passed / (self._done - self._begin))


def _size(count: int) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000  # type: ignore[assignment]
    return f"{count:.4g} GB"
