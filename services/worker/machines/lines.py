"""What the processes of a pod report, as lines of its log."""

import json
import threading
from typing import IO

from services.worker.process import Said
from services.worker.protocol import LogReport

# begins every line that is a report; nothing else begins so by chance
MARK = "medcoss-report "


class LineWriter:
    """Writes reports to `out`, one line each, with a number by which lines that come twice or never are noticed."""

    def __init__(self, out: IO[str], first_rank: int) -> None:
        self._out, self._first, self._number = out, first_rank, 0
        self._lock = threading.Lock()

    def send(self, said: Said) -> None:
        """Write what a process has said; its rank becomes that among the processes of all machines."""
        entry = said.entry.model_dump_json() if isinstance(said.entry, LogReport) else said.entry.decode()
        with self._lock:
            self._number += 1
            line = {"n": self._number, "rank": self._first + said.rank, "report": entry.rstrip("\n")}
            self._out.write(f"{MARK}{json.dumps(line)}\n")
            self._out.flush()


class LineReader:
    """Reads the lines of one pod's log, also after its connection had to be made anew."""

    def __init__(self, first_rank: int) -> None:
        self._first, self._number, self._seen = first_rank, 0, ""
        self.missed = 0

    @property
    def since(self) -> str | None:
        """The moment of the last line, as the API server takes it; None before the first."""
        return f"{self._seen[:19]}Z" if self._seen else None

    def read(self, line: str, moment: float) -> Said | None:
        """The report of a line with its time in front; None for one that has come before."""
        at, _, text = line.rstrip("\n").partition(" ")
        at = _comparable(at)
        if not text.startswith(MARK):
            return self._printed(at, text, moment)
        try:
            told = json.loads(text.removeprefix(MARK))
            number, rank, entry = int(told["n"]), int(told["rank"]), str(told["report"])
        except (ValueError, KeyError, TypeError):
            # a line that was cut off
            return self._printed(at, text, moment)
        self._seen = max(self._seen, at)
        if number <= self._number:
            return None
        self.missed += number - self._number - 1
        self._number = number
        return Said(rank, entry.encode(), moment)

    def _printed(self, at: str, text: str, moment: float) -> Said | None:
        if not text.strip() or at <= self._seen:
            return None
        self._seen = at
        return Said(self._first, LogReport(level="debug", message=text), moment)


def _comparable(at: str) -> str:
    """A time whose fraction has all nine digits: the API server leaves zeros out."""
    whole, _, fraction = at.rstrip("Z").partition(".")
    return f"{whole}.{fraction:0<9}"
