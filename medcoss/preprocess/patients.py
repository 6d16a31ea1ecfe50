"""Patients by the names of files."""

import regex

from medcoss.preprocess.recipe import Rejected
from medcoss.run import BadInput

# a pattern can take time that grows exponentially with a path; a sane one takes microseconds
SECONDS_A_PATH = 1.0


def patient_of(path: str, pattern: str | None) -> str | Rejected | None:
    """What the group of `pattern` finds in a relative path; None without a pattern, a refusal where it does not match.

    A file whose patient is not known is refused: it would be a patient of its own, beside the one that it shows. Raises
    BadInput, which names no path, for a pattern that takes longer than SECONDS_A_PATH for one.
    """
    if pattern is None:
        return None
    try:
        found = regex.search(pattern, path, timeout=SECONDS_A_PATH)
    except (TimeoutError, regex.error) as error:
        problem = "takes too long for a path" if isinstance(error, TimeoutError) else f"cannot be used ({error})"
        raise BadInput(
            f"the pattern {pattern} {problem}; repeat no group that repeats something itself, as (a+)+ does",
            "patient_pattern",
        ) from None
    if found is None or not found[1]:
        return Rejected(path, f"patient_pattern {pattern} finds no patient in the path; expected it in every path")
    return found[1]
