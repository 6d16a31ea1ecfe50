"""A `preprocess` job: one recipe over one raw dataset, whole or in chunks that are merged afterwards."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from shutil import rmtree

from medcoss.data.shards import ShardWriter
from medcoss.preprocess.archives import UNPACKED, opened
from medcoss.preprocess.engine import assemble
from medcoss.preprocess.engine.plan import Plan
from medcoss.preprocess.engine.produce import produce, surveyed
from medcoss.preprocess.engine.work import Stage
from medcoss.preprocess.raw import Bring, Raw
from medcoss.run import BadInput, RunContext
from medcoss.specs.names import ARCHIVE_SUFFIXES
from medcoss.specs.preprocess import PreprocessOptions
from medcoss.specs.records import DatasetInfo

# of warnings in the log; the report has all
LOGGED_BAD = 100
WORK = "preprocess.work"


def preprocess(spec: PreprocessOptions, raw_dir: Path, output_dir: Path, context: RunContext, *, salt: bytes = b"",
               processes: int | None = None, unpacked: Path | None = None,
               bring: Bring | None = None) -> DatasetInfo:  # fmt: skip
    """Turn the files below `raw_dir` into a dataset folder (see medcoss.data.shards) in `output_dir`.

    `salt` keys the hashes that stand for patients: datasets that are to be compared need the same. `processes`
    None uses every core. Inputs that cannot be used are listed in the description and in the artifact `report.json`.
    A run that was killed goes on with the parts that `context` has kept, and with what it has unpacked to the folder
    `unpacked` if that is given and still there; it is removed at the end. With `bring`, files need no more than their
    names and sizes before it is called for them: those that hold tables, and those of inputs that no part holds; for
    archives, and where the plan reads the files themselves as it does of DICOM, all. Raises BadInput when there is
    nothing to read or more than `max_bad_fraction` is bad, Stopped when asked to stop.
    """
    with _planned(spec, raw_dir, output_dir.parent, salt, context, unpacked, bring) as (plan, folder):
        stage = _surveyed(plan, folder, output_dir.parent, context, processes)
        parts = produce(plan, stage, 0, plan.count, folder, context, processes)
        return _finish(spec, plan, parts, output_dir, context)


def preprocess_chunk(spec: PreprocessOptions, raw_dir: Path, chunk: int, chunks: int, folder: Path, context: RunContext,
                     *, processes: int | None = None, unpacked: Path | None = None,
                     bring: Bring | None = None) -> list[Path]:  # fmt: skip
    """Make chunk number `chunk` of `chunks` of what `preprocess` makes; the parts of it, moved to `folder`.

    `unpacked` and `bring` are as for `preprocess`. Raises BadInput when the recipe cannot read the raw dataset at all,
    Stopped when asked to stop.
    """
    if not 0 <= chunk < chunks:
        raise ValueError(f"chunk {chunk} of {chunks}")
    with _planned(spec, raw_dir, folder, b"", context, unpacked, bring) as (plan, work):
        first, end = (plan.count * number // chunks for number in (chunk, chunk + 1))
        # every chunk looks at all items: what is concluded has to be the same
        stage = _surveyed(plan, work, folder, context, processes)
        parts = produce(plan, stage, first, end, work, context, processes)
        return [part.rename(folder / part.name) for part in parts]


def merge_chunks(spec: PreprocessOptions, raw_dir: Path, parts: list[Path], output_dir: Path, context: RunContext, *,
                 salt: bytes = b"") -> DatasetInfo:  # fmt: skip
    """Put the parts of all chunks together: the very dataset that `preprocess` makes."""
    with _planned(spec, raw_dir, output_dir.parent, salt, context) as (plan, _):
        return _finish(spec, plan, parts, output_dir, context)


@contextmanager
def _planned(spec: PreprocessOptions, raw_dir: Path, near: Path, salt: bytes, context: RunContext,
             unpacked: Path | None = None, bring: Bring | None = None) -> Iterator[tuple[Plan, Path]]:  # fmt: skip
    """The plan, and a folder for parts, which are gone afterwards.

    So is what archives were unpacked to, below `near` or in `unpacked`, unless the run is stopped: it goes on with that
    if its folder is still there.
    """
    unpacked = unpacked or near / UNPACKED
    folder = near / WORK
    # of a run that was killed
    rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        given = Raw(raw_dir)
        if bring is not None and next(given.files(ARCHIVE_SUFFIXES), None) is not None:
            bring(given.files())
            bring = None
        seen = opened(raw_dir, unpacked, spec.archives, context)
        raw = Raw(seen.root, bring=bring)
        with closing(Plan(folder / "plan.sqlite", spec.recipe, raw, spec.seed, salt, seen.refused)) as plan:
            yield plan, folder / "parts"
        rmtree(unpacked, ignore_errors=True)
    except BadInput:
        rmtree(unpacked, ignore_errors=True)
        raise
    finally:
        rmtree(folder, ignore_errors=True)


def _finish(spec: PreprocessOptions, plan: Plan, parts: list[Path], output_dir: Path,
            context: RunContext) -> DatasetInfo:  # fmt: skip
    writer = ShardWriter(output_dir)
    info = assemble.assemble(plan, parts, writer, spec)
    _write_report(plan, info, output_dir.parent, context)
    _refuse_unusable(spec, plan, info)
    writer.close(info)
    for path, reason in plan.notes("bad", LOGGED_BAD):
        context.log(f"left out {path}: {reason}", "warning")
    if (more := plan.noted("bad") - LOGGED_BAD) > 0:
        context.log(f"left out {more} more, see report.json", "warning")
    for warning in assemble.warnings(plan):
        context.log(warning, "warning")
    context.progress(plan.count, plan.count, f"{info.samples} samples from {assemble.inputs(plan)} inputs")
    return info


def _surveyed(plan: Plan, folder: Path, near: Path, context: RunContext, processes: int | None) -> Stage:
    """What is known of all items; with a report when too little can be known."""
    try:
        return surveyed(plan, folder, context, processes)
    except BadInput as error:
        _write_report(plan, None, near, context)
        raise _with_reason(error, plan) from error


def _write_report(plan: Plan, info: DatasetInfo | None, near: Path, context: RunContext) -> None:
    report = near / "report.json"
    assemble.write_report(plan, info, report)
    context.artifact(report, report.name, "application/json")


def _with_reason(error: BadInput, plan: Plan) -> BadInput:
    """The same, with the first input that could not be read."""
    first = next(plan.notes("bad", 1), None)
    if first is None:
        return error
    told = f"{plan.noted('bad')} of {assemble.inputs(plan)} inputs cannot be used, the first is {first[0]}: {first[1]}"
    return BadInput(f"{error.message}. {told}", error.where)


def _refuse_unusable(spec: PreprocessOptions, plan: Plan, info: DatasetInfo) -> None:
    inputs, bad = assemble.inputs(plan), plan.noted("bad")
    if inputs == 0:
        ignored = [path for path, _ in plan.notes("ignored", 3)]
        found = f"only {', '.join(ignored)}" if ignored else "nothing"
        raise BadInput(
            f"the dataset holds no {spec.recipe.expected} for the recipe {spec.recipe.name}; found {found}",
            "dataset",
        )
    too_many = bad / inputs > spec.max_bad_fraction
    if too_many or info.samples == 0:
        first = next(plan.notes("bad", 1), None) or next(plan.notes("left_out", 1), ("dataset", "no samples"))
        left = plan.noted("left_out")
        more = f" (and {rest} more, see report.json)" if (rest := (bad or left) - 1) > 0 else ""
        told = f"No input makes a sample: of {inputs}, {bad} cannot be used and {left} are left out"
        if too_many:
            told = (f"{bad} of {inputs} inputs cannot be used, max_bad_fraction allows {spec.max_bad_fraction:.0%}: "
                    "mend or remove them, or raise the limit")  # fmt: skip
        raise BadInput(f"{first[1]}{more}. {told}", first[0])
