"""A `preprocess` job: one recipe over one raw dataset."""

import json
from pathlib import Path

from medcoss.data.shards import ShardWriter
from medcoss.preprocess.inputs import Report
from medcoss.preprocess.recipes import image_folder, openi_reports, volume_folder
from medcoss.run import BadInput, RunContext
from medcoss.specs.preprocess import ImageFolder, PreprocessOptions, VolumeFolder
from medcoss.specs.raw import EXPECTED
from medcoss.specs.records import BadFile, DatasetInfo


def preprocess(spec: PreprocessOptions, raw_dir: Path, output_dir: Path, context: RunContext) -> DatasetInfo:
    """Turn the files below `raw_dir` into a dataset folder (see medcoss.data.shards) in `output_dir`.

    Bad inputs are listed in the description and in the artifact `report.json`. Raises
    BadInput when there is nothing to read or when more than `max_bad_fraction` is bad.
    """
    recipe = spec.recipe
    writer, report = ShardWriter(output_dir), Report()
    if isinstance(recipe, ImageFolder):
        info = image_folder.build(spec, recipe, raw_dir, writer, report, context)
    elif isinstance(recipe, VolumeFolder):
        info = volume_folder.build(spec, recipe, raw_dir, writer, report, context)
    else:
        info = openi_reports.build(spec, recipe, raw_dir, writer, report, context)
    info = info.model_copy(update={"bad_files": report.bad})
    _write_report(report, info, output_dir.parent / "report.json", context)
    _refuse_unusable(spec, report, info)
    writer.close(info)
    for entry in report.bad:
        context.log(f"left out {entry.path}: {entry.reason}", "warning")
    context.progress(report.inputs, report.inputs, f"{info.samples} samples from {report.inputs} inputs")
    return info


def _write_report(report: Report, info: DatasetInfo, path: Path, context: RunContext) -> None:
    def entries(files: list[BadFile]) -> list[dict[str, str]]:
        return [{"path": f.path, "reason": f.reason} for f in files]

    content = {
        "inputs": report.inputs,
        "samples": info.samples,
        "splits": info.splits,
        "bad_files": entries(report.bad),
        "left_out": entries(report.left_out),
        "ignored": report.ignored,
    }
    path.write_text(json.dumps(content, indent=1))
    context.artifact(path, "report.json", "application/json")


def _refuse_unusable(spec: PreprocessOptions, report: Report, info: DatasetInfo) -> None:
    name = spec.recipe.name
    if report.inputs == 0:
        found = f"only {', '.join(report.ignored[:3])}" if report.ignored else "nothing"
        raise BadInput(f"the dataset holds no {EXPECTED[name]} for the recipe {name}; found {found}", "dataset")
    if len(report.bad) / report.inputs > spec.max_bad_fraction or info.samples == 0:
        first = report.bad[0] if report.bad else (report.left_out or [BadFile(path="dataset", reason="no samples")])[0]
        more = f" (and {len(report.bad) - 1} more, see report.json)" if len(report.bad) > 1 else ""
        raise BadInput(
            f"{first.reason}{more}. {len(report.bad)} of {report.inputs} inputs cannot be used, "
            f"max_bad_fraction allows {spec.max_bad_fraction:.0%}: mend or remove them, or raise the limit",
            first.path,
        )
