"""The folders of a run: where it reads, and the fixed tree that it writes.

out/
  options.json     function, inputs (paths and hashes) and every option, defaults filled in
  model/           of pretrain and finetune; or dataset/, of prepare and build_buffer
  checkpoints/     the last two; no longer needed once model/ is there
  parts/           what prepare has finished, until dataset/ is there
  unpacked/        what archives held, until dataset/ is there
  artifacts/       pictures, TensorBoard files, the report of prepare
  metrics.jsonl    one line of numbers at a time
  log.txt          what was reported
"""

import contextlib
import fcntl
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medcoss.run import BadInput

MARKERS = {"model": "config.json", "dataset": "meta.json"}
MAKERS = {"model": "pretrain or finetune", "dataset": "prepare or build_buffer"}
# options that change neither the result nor what a checkpoint holds
FREE = frozenset({"log_every", "checkpoint_every", "checkpoint_minutes"})
OPTIONS, LOCK, WORK = "options.json", ".lock", ".work"
# what archives held, while prepare reads it
UNPACKED = "unpacked"
OURS = (*MARKERS, "checkpoints", "parts", "artifacts", "metrics.jsonl", "log.txt", OPTIONS, WORK, UNPACKED)


def found(path: str | Path, what: str, field: str) -> Path:
    """The model or dataset folder (`what`) at `path`, which may also be the output folder of the run that made it.

    Raises BadInput naming `field`.
    """
    root = Path(path).expanduser().resolve()
    if not root.is_dir():
        raise BadInput(f"there is no folder {root}; expected the output of {MAKERS[what]}", field)
    for folder in (root, root / what):
        if (folder / MARKERS[what]).is_file():
            return folder
    if what == "model" and any(root.glob("checkpoints/*/manifest.json")):
        raise BadInput(f"the run in {root} has not finished; go on with it first (resume=True)", field)
    (other,) = MARKERS.keys() - {what}
    if any((folder / MARKERS[other]).is_file() for folder in (root, root / other)):
        raise BadInput(f"{root} holds a {other}; expected a {what}, the output of {MAKERS[what]}", field)
    raise BadInput(f"{root} holds no {what} ({MARKERS[what]} is missing); expected the output of {MAKERS[what]}", field)


def existing(path: str | Path, field: str) -> Path:
    """`path` as an absolute path. Raises BadInput naming `field` when there is no such folder."""
    root = Path(path).expanduser().resolve()
    if not root.is_dir():
        raise BadInput(f"there is no folder {root}", field)
    return root


@dataclass(frozen=True)
class Output:
    """The folder `root` that one call of `function` writes, with its `result` in model/ or dataset/."""

    root: Path
    function: str
    result: str

    @property
    def work(self) -> Path:
        """Where the result is written before it is whole."""
        return self.root / WORK

    @property
    def finished(self) -> bool:
        """True when the result is there."""
        return (self.root / self.result / MARKERS[self.result]).is_file()

    @property
    def resumable(self) -> bool:
        """True when there is a checkpoint, a finished part, or an archive that has been unpacked."""
        places = ("checkpoints/*/manifest.json", "parts/*", f"{UNPACKED}/*.json")
        return any(any(self.root.glob(place)) for place in places)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep a second run out. Raises BadInput when one is writing here already."""
        if self.root.exists() and not self.root.is_dir():
            raise BadInput(f"{self.root} is a file; expected a folder to write to", "out")
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / LOCK).open("w") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise BadInput(f"another run is writing to {self.root}; wait for it or choose another folder",
                               "out") from None  # fmt: skip
            yield

    def claim(self, settings: dict[str, Any], *, resume: bool, overwrite: bool) -> None:
        """Make the folder ready for a run with these `settings`; with `resume`, what is there stays.

        Raises BadInput when that would destroy something, or continue something else.
        """
        inside = [p for p in _inputs(settings) if Path(p).is_relative_to(self.root)]
        if inside:
            raise BadInput(f"the input {inside[0]} lies in the folder that is written; choose another one", "out")
        before = self._before()
        keep = before is not None and (self.finished or self.resumable) and not overwrite
        if keep and before is not None:
            self._refuse_other(before, settings, resume)
            return
        for name in OURS:
            _remove(self.root / name)
        (self.root / OPTIONS).write_text(json.dumps(settings, indent=1) + "\n")

    def _before(self) -> dict[str, Any] | None:
        """The settings of the run that is here; None for an empty folder."""
        if not any(p.name != LOCK for p in self.root.iterdir()):
            return None
        try:
            before = json.loads((self.root / OPTIONS).read_text())
            told = {name: before[name] for name in ("function", "inputs", "options")}
            # runs of earlier versions have no hashes
            return told | {"sha256": before.get("sha256", {})}
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            raise BadInput(f"{self.root} is not empty and holds no run of medcoss (no readable {OPTIONS}); choose "
                           "another folder, or empty this one", "out") from None  # fmt: skip

    def _refuse_other(self, before: dict[str, Any], settings: dict[str, Any], resume: bool) -> None:
        """Raise BadInput unless the call asks to go on with this very run."""
        what = "a finished" if self.finished else "an interrupted"
        if not resume or before["function"] != self.function:
            on = "hands it back" if self.finished else "goes on with it"
            ways = f"resume=True {on}, " if before["function"] == self.function else ""
            raise BadInput(f"{self.root} holds {what} run of {before['function']}; {ways}overwrite=True replaces it, "
                           "or choose another folder", "out")  # fmt: skip
        hashed = self._refuse_changed(before, settings)
        for part in ("inputs", "options"):
            old, new = before[part], settings[part]
            for name in (n for n in new if n in old and n not in FREE | hashed and old[n] != new[n]):
                raise BadInput(f"the run in {self.root} has {name} {old[name]!r}, not {new[name]!r}; give the same to "
                               "go on with it, overwrite=True to start again, or choose another folder",
                               "resume")  # fmt: skip

    def _refuse_changed(self, before: dict[str, Any], settings: dict[str, Any]) -> set[str]:
        """Names of the inputs that are compared by what they hold, wherever they lie; BadInput when one differs."""
        compared: set[str] = set()
        for name, new in settings["sha256"].items():
            old = before["sha256"].get(name)
            if not old or not new or len(_listed(old)) != len(_listed(new)):
                continue
            compared.add(name)
            for i, (was, now) in enumerate(zip(_listed(old), _listed(new), strict=True)):
                if was != now:
                    path, first = (_listed(part["inputs"][name])[i] for part in (settings, before))
                    began = "" if path == first else f", {first}"
                    raise BadInput(f"{path} does not hold what the run in {self.root} began with{began}; give that to "
                                   "go on with it, overwrite=True to start again, or choose another folder",
                                   f"{name}[{i}]" if isinstance(new, list) else name)  # fmt: skip
        return compared

    def keep(self) -> None:
        """Put the result in its place, now that it is whole."""
        _remove(self.root / self.result)
        (self.work / self.result).rename(self.root / self.result)


def _inputs(settings: dict[str, Any]) -> Iterator[str]:
    for value in settings["inputs"].values():
        yield from _listed(value) if value else []


def _listed(value: str | list[str]) -> list[str]:
    return value if isinstance(value, list) else [value]


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
