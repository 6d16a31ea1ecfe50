"""Which check reads which file, and a run over a folder."""

import fnmatch
import json
import time
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path

from tests.parity import (
    check_buffer,
    check_downstream,
    check_encoder,
    check_images,
    check_losses,
    check_names,
    check_optim,
    check_rules,
    check_text,
    check_volumes,
)
from tests.parity.goldens import Goldens
from tests.parity.models import Models
from tests.parity.report import Check, Report, Row

# cheap ones first; those that share a model's weights side by side
CHECKS: dict[str, Callable[[Check, Models], None]] = {
    "fill_checksums.json": check_names.check_checksums,
    "state_dict_keys.json": check_names.check_state_dict,
    "downstream_keys.json": check_names.check_downstream_keys,
    "captions.json": check_rules.check_captions,
    "rules.json": check_rules.check_rules,
    "lr_schedule*.npz": check_rules.check_schedule,
    "buffer*.npz": check_buffer.check_buffer,
    "losses*.npz": check_losses.check_losses,
    "intensity_rules*.npz": check_images.check_intensities,
    "loaders2d*.npz": check_images.check_loaders,
    "tile_rule_ct.json": check_volumes.check_ct_rule,
    "tile_rule_mr.json": check_volumes.check_mr_rule,
    "preprocess.json": check_volumes.check_facts,
    "preprocess_ct*.npz": check_volumes.check_volumes,
    "preprocess_mr*.npz": check_volumes.check_volumes,
    "encoder*.npz": check_encoder.check_encoder,
    "mae*.npz": check_encoder.check_mae,
    "text_b1*.npz": check_text.check_alone,
    "text_b*_reference_quirk.npz": check_text.check_batch,
    "text_variants*.npz": check_text.check_variants,
    "distill*.npz": check_encoder.check_distill,
    "optim*.npz": check_optim.check_optim,
    "clstext_*_reference_quirk.npz": check_downstream.check_reports_batch,
    "clstext_*_b1.npz": check_downstream.check_reports_alone,
    "cls2d_*.npz": check_downstream.check_images,
    "cls3d_*.npz": check_downstream.check_images,
    "seg2d_*.npz": check_downstream.check_segmenter,
    "seg3d_*.npz": check_downstream.check_segmenter,
}
# hold no number that a model or a rule of ours could give
NOT_GOLDENS = ("manifest.json", "tolerances.json", "fill.py", "*.md")
# need the weights of a whole model, up to minutes each
HEAVY = ("encoder*", "mae*", "text_*", "distill*", "optim*", "cls*", "seg*")


def pattern_of(file: str) -> str | None:
    """The pattern of the check that reads a file."""
    return next((pattern for pattern in CHECKS if fnmatch.fnmatch(file, pattern)), None)


def _matches(file: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch.fnmatch(file, pattern) for pattern in patterns)


def run(folder: Path, report: Report, only: Iterable[str] = ("*",), leave_out: Iterable[str] = (),
        progress: Callable[[str], None] = lambda line: None) -> None:  # fmt: skip
    """Check every file of a folder against our code; `only` and `leave_out` are file name patterns.

    Files that are missing or that nothing reads are failures, and so is a check that stops with an error.
    """
    try:
        goldens = Goldens(folder)
    except (OSError, json.JSONDecodeError) as error:
        raise SystemExit(f"{folder}: no manifest.json that can be read ({error}); give a folder of goldens") from error
    here = list(goldens.present())
    inherited = [name for name in CHECKS if name not in here and goldens.has(name)]
    wanted = [n for n in dict.fromkeys([*here, *inherited, *goldens.files]) if not _matches(n, NOT_GOLDENS)]
    chosen = [name for name in wanted if _matches(name, only) and not _matches(name, leave_out)]
    order = list(CHECKS)
    known = {name: pattern for name in chosen if (pattern := pattern_of(name)) is not None}
    models = Models(goldens)
    for file in (name for name in chosen if name not in known):
        report.add(Row(file, "", "FAIL", detail="not understood: no check reads a file of this name"))
    for file in sorted(known, key=lambda name: (order.index(known[name]), name)):
        began = time.monotonic()
        _one(goldens, file, report, models, here)
        progress(f"# {file}: {time.monotonic() - began:.1f} s")


def _one(goldens: Goldens, file: str, report: Report, models: Models, here: list[str]) -> None:
    """Run the check of one file."""
    if file not in here and not goldens.has(file):
        report.add(Row(file, "", "FAIL", detail="missing: the manifest names it"))
        return
    before = len(report.rows)
    try:
        check = Check(goldens, file, report)
        CHECKS[pattern_of(file) or ""](check, models)
        check.close()
    except Exception as error:  # noqa: BLE001 - whatever stops one file is a finding, the others go on
        traceback.print_exc()
        models.clear()
        report.add(Row(file, "", "FAIL", detail=f"the check stopped: {type(error).__name__}: {error}"))
    if not any(row.verdict in ("pass", "FAIL", "not built yet") for row in report.rows[before:]):
        report.add(Row(file, "", "FAIL", detail="not understood: nothing in this file was compared"))
