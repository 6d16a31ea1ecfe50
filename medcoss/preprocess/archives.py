"""Archives among the uploaded files, seen as if they had been unpacked where they lie.

Every archive is unpacked into a folder of its own, with a marker when it is done, so that a run that starts again does
not unpack it again. What the recipe sees is a tree of links to those files and to the uploaded ones: the members of
`a/b.zip` lie in `a`, or in `a/b` when another file has the place of one of them.
"""

import filecmp
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from shutil import rmtree

from medcoss.preprocess.archive_members import Budget, Refused, Tell, Unusable, unpack
from medcoss.preprocess.raw import MISNAMED, Raw
from medcoss.run import RunContext, Stopped
from medcoss.specs.names import ARCHIVE_SUFFIXES, archive_stem
from medcoss.specs.preprocess import ArchiveLimits

UNPACKED = "preprocess.unpacked"


@dataclass(frozen=True)
class Seen:
    """The folder that holds what the recipe sees, and what of the archives cannot be used: (path, reason)."""

    root: Path
    refused: list[Refused]


def opened(raw_dir: Path, folder: Path, limits: ArchiveLimits, context: RunContext) -> Seen:
    """Unpack the archives below `raw_dir` into `folder`, those that are not yet.

    Without any, what is seen is `raw_dir` itself. Raises Stopped when asked to stop, OSError when the disk fails.
    """
    raw = Raw(raw_dir.resolve())
    archives = list(raw.files(ARCHIVE_SUFFIXES))
    if not archives:
        return Seen(raw_dir, _misnamed(raw))
    folder.mkdir(parents=True, exist_ok=True)
    refused = _misnamed(raw)
    sizes = [(raw.root / path).stat().st_size for path in archives]
    budget = Budget(limits.max_gib * 2**30, limits.max_files, limits.max_ratio)
    for number, path in enumerate(archives):
        before = sum(sizes[:number])

        def tell(read: int, path: str = path, before: int = before) -> None:
            if context.should_stop():
                raise Stopped
            context.progress(before + read, sum(sizes), f"unpacking {path}, bytes read of all archives")

        refused += _once(raw.root / path, path, folder / f"{number:06d}", budget, tell, context)
    view = folder / "seen"
    rmtree(view, ignore_errors=True)
    view.mkdir()
    for path in raw.files():
        if not path.lower().endswith(ARCHIVE_SUFFIXES):
            _link(raw.root / path, view / path)
    for number, path in enumerate(archives):
        refused += _place(folder / f"{number:06d}", path, view, context)
    return Seen(view, refused)


def _misnamed(raw: Raw) -> list[Refused]:
    return [Refused(name, MISNAMED) for name in raw.misnamed]


def _once(archive: Path, path: str, target: Path, budget: Budget, tell: Tell,
          context: RunContext) -> list[Refused]:  # fmt: skip
    """Unpack an archive unless its marker says that it has been; what of it is refused."""
    marker, status = target.with_suffix(".json"), archive.stat()
    identity = [path, status.st_size, status.st_mtime_ns, budget.limits()]
    try:
        known = json.loads(marker.read_text())
    except (FileNotFoundError, ValueError):
        known = {}
    if known.get("identity") == identity:
        budget.add(known["bytes"], known["files"])
        return [Refused(*entry) for entry in known["refused"]]
    rmtree(target, ignore_errors=True)
    target.mkdir()
    spent, refused = budget.spent(), list[Refused]()
    try:
        for found in unpack(archive, path, target, budget, tell):
            refused.append(found)
    except Unusable as error:
        # nothing of it is kept, the room is free again
        rmtree(target)
        target.mkdir()
        budget.reset(spent)
        refused = [Refused(path, str(error))]
    size, files = (now - then for now, then in zip(budget.spent(), spent, strict=True))
    context.log(f"unpacked {files:,} files ({size:,} bytes) of {path}, {len(refused):,} refused")
    written = marker.with_suffix(".part")
    written.write_text(json.dumps({"identity": identity, "bytes": size, "files": files,
                                   "refused": [[one.path, one.reason] for one in refused]}))  # fmt: skip
    written.replace(marker)
    return refused


def _place(unpacked: Path, archive: str, view: Path, context: RunContext) -> Iterator[Refused]:
    """Show what an archive held: beside it, or in a folder of its name when a place there is taken."""
    beside, own = PurePosixPath(archive).parent, PurePosixPath(archive_stem(archive))
    where = beside
    taken = next((m for m in Raw(unpacked).files() if _taken(unpacked / m, view, beside / m)), None)
    if taken is not None:
        context.log(f"{archive} is seen as the folder {own}: {beside / taken} is another file")
        where = own
    for member in Raw(unpacked).files():
        if _taken(unpacked / member, view, where / member):
            yield Refused(f"{archive}: {member}", f"there is another file of the name {where / member}; rename one")
        elif not (view / where / member).exists():
            _link(unpacked / member, view / where / member)


def _taken(file: Path, view: Path, path: PurePosixPath) -> bool:
    """True when something else has the place of `file`; the same file twice (a licence, say) does not matter."""
    place = view / path
    if place.exists():
        return not place.is_file() or not filecmp.cmp(file, place, shallow=False)
    return any((view / parent).is_file() for parent in path.parents)


def _link(file: Path, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(file.resolve())
