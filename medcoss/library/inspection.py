"""Inspect a dataset: a folder in, a report with pictures out."""

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medcoss.library.display import Display
from medcoss.library.folders import existing
from medcoss.library.options import checked, refuse_unknown, shows_options
from medcoss.library.session import Session
from medcoss.run import Stopped
from medcoss.specs.inspection import InspectOptions

if TYPE_CHECKING:
    from medcoss.preprocess.inspection.report import Report


@shows_options(InspectOptions)
def inspect_dataset(data: str | Path, out: str | Path, *, quiet: bool = False, **options: Any) -> "Report":
    """Describe a folder of images, volumes or DICOM files, or a prepared dataset, in `out`/artifacts.

    `report.html` is for people, `report.json` holds the same numbers, which come back, too. A report that is there is
    replaced. Raises BadInput when there is nothing to look at, and Stopped on Ctrl-C.
    """
    from medcoss.preprocess.inspection.run import inspect

    refuse_unknown(inspect_dataset, options, list(InspectOptions.model_fields))
    spec = checked(InspectOptions, options)
    source = existing(data, "data")
    if (source / "dataset" / "meta.json").is_file():
        source = source / "dataset"
    root = Path(out).expanduser().resolve()
    root.mkdir(parents=True, exist_ok=True)
    salt = os.environ.get("MEDCOSS_PATIENT_SALT", "").encode()
    with Display("inspect_dataset", quiet) as display, tempfile.TemporaryDirectory() as work:
        session = Session(root, display)
        with session.listening():
            try:
                report = inspect(spec, source, Path(work), session, salt=salt)
            except Stopped:
                raise Stopped(
                    f"stopped at {session.done} of {session.total}; call it once more to start again"
                ) from None
        display.line(f"inspect_dataset: {root / 'artifacts' / 'report.html'}")
    return report
