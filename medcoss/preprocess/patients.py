"""Patients by the names of files."""

import re

from medcoss.preprocess.recipe import Rejected


def patient_of(path: str, pattern: str | None) -> str | Rejected | None:
    """What the group of `pattern` finds in a relative path; None without a pattern, a refusal where it does not match.

    A file whose patient is not known is refused: it would be a patient of its own, beside the one that it shows.
    """
    if pattern is None:
        return None
    found = re.search(pattern, path)
    if found is None or not found[1]:
        return Rejected(path, f"patient_pattern {pattern} finds no patient in the path; expected it in every path")
    return found[1]
