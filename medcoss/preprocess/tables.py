"""CSV and TSV tables beside the images, plain or gzipped."""

import csv
import gzip
from collections.abc import Iterator, Sequence
from typing import IO

from medcoss.preprocess.raw import Raw
from medcoss.run import BadInput

TABLE_SUFFIXES = (".csv", ".csv.gz")


def read_table(raw: Raw, path: str, needed: Sequence[str], separator: str = ",") -> Iterator[dict[str, str]]:
    """The rows of a table, one after the other; missing cells are empty.

    Raises BadInput naming the table when it is not UTF-8, has no column of `needed`, or is damaged.
    """
    try:
        with _opened(raw, path) as handle:
            reader = csv.DictReader(handle, delimiter=separator)
            found = reader.fieldnames or []
            missing = [column for column in needed if column not in found]
            if missing:
                raise BadInput(
                    f"the table has no column {', '.join(missing)}; found {', '.join(found) or 'no header'}"
                    f"{_other_separator(found, separator)}",
                    path,
                )
            for row in reader:
                yield {key: value or "" for key, value in row.items() if key}
    except UnicodeDecodeError:
        raise BadInput("the table is not UTF-8 text; expected a CSV file in UTF-8", path) from None
    except csv.Error as error:
        raise BadInput(f"the table cannot be read ({error}); expected CSV", path) from error
    except (EOFError, gzip.BadGzipFile) as error:
        raise BadInput(f"the gzip data is damaged or truncated ({error}); copy the file again", path) from error


def _opened(raw: Raw, path: str) -> IO[str]:
    file = raw.path(path)
    if path.lower().endswith(".gz"):
        return gzip.open(file, "rt", encoding="utf-8-sig", newline="")
    return file.open(encoding="utf-8-sig", newline="")


def _other_separator(header: Sequence[str], separator: str) -> str:
    """What to do about a table whose whole header is one column."""
    for mark, word in ((";", "';'"), ("\t", "tabs"), (",", "commas")):
        if mark != separator and len(header) == 1 and mark in header[0]:
            return f". It looks separated by {word}, commas are expected: save it as comma-separated"
    return ""
