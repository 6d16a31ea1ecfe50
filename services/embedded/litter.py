"""What parts of a platform leave outside their own folders when they are killed, and forget even when they are not."""

import shutil
from collections.abc import Iterable
from pathlib import Path

_NOTED = "litter"


def temporary(data_dir: Path) -> Path:
    """Where the parts of the platform on `data_dir` put their temporary files (TMPDIR)."""
    return data_dir / "tmp"


def note(data_dir: Path, paths: Iterable[Path]) -> None:
    """Remember files elsewhere that are to be removed when the platform has ended, however it ends."""
    with (data_dir / _NOTED).open("a", encoding="utf-8") as noted:
        noted.writelines(f"{path}\n" for path in paths)


def remove(data_dir: Path) -> None:
    """Remove temporary files and what was noted; no part may be running."""
    shutil.rmtree(temporary(data_dir), ignore_errors=True)
    noted = data_dir / _NOTED
    if noted.exists():
        for line in noted.read_text(encoding="utf-8").splitlines():
            Path(line).unlink(missing_ok=True)
        noted.unlink(missing_ok=True)
