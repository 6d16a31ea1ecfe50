"""CSV and TSV tables beside the images, plain or gzipped."""

import csv
import gzip
from collections.abc import Callable, Iterator, Sequence
from typing import IO

from medcoss.preprocess.raw import Raw
from medcoss.run import BadInput

TABLE_SUFFIXES = (".csv", ".csv.gz")


def read_table(raw: Raw, path: str, needed: Sequence[str], separator: str = ",",
               odd: Callable[[int, str], None] | None = None) -> Iterator[dict[str, str]]:  # fmt: skip
    """The rows of a table, one after the other; missing cells are empty.

    A row with more cells than the header is told to `odd`, with the number of its last line, and left out. Raises
    BadInput naming the table when it is not UTF-8, has no column of `needed`, is damaged, or has such a row without
    `odd`.
    """
    line = 0
    try:
        with _opened(raw, path) as handle:
            reader = csv.DictReader(handle, delimiter=separator, strict=True)
            found = reader.fieldnames or []
            line = reader.line_num
            missing = [column for column in needed if column not in found]
            if missing:
                raise BadInput(
                    f"the table has no column {', '.join(missing)}; found {', '.join(found) or 'no header'}"
                    f"{_other_separator(found, separator)}",
                    path,
                )
            for row in reader:
                line = reader.line_num
                # under the key None
                surplus = row.pop(None, [])  # type: ignore[call-overload]
                if any(surplus):
                    reason = (f"the row of line {line} has {len(row) + len(surplus)} cells, the header {len(row)}; "
                              "expected as many: a text with separators stands in quotation marks")  # fmt: skip
                    if odd is None:
                        raise BadInput(reason, path)
                    odd(line, reason)
                    continue
                yield {key: value or "" for key, value in row.items() if key}
    except UnicodeDecodeError:
        raise BadInput("the table is not UTF-8 text; expected a CSV file in UTF-8", path) from None
    except csv.Error as error:
        raise BadInput(f"the table cannot be read behind line {line} ({error}); expected CSV: look for a quotation "
                       "mark that has no other", path) from error  # fmt: skip
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
