"""DICOM files lose their identity before they are hashed and sent: nothing of it leaves the machine.

Headers follow the basic profile of `medcoss.preprocess.deidentify`; identifiers that a header holds go out of the names
of files and folders, too. The pseudonyms are keyed by a secret that stays here, so that files of a patient, a study and
a series keep together, in the next upload as well.
"""

import os
import re
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from medcoss.client.transfer import Notify, Tracker, side_by_side
from medcoss.client.upload import LocalFile
from medcoss.specs.names import ARCHIVE_SUFFIXES, SPLIT_NAMES

KEY_VARIABLE = "MEDCOSS_DEIDENTIFY_KEY"
Notice = Callable[[str], None]
_ENDINGS = (".dcm", ".dicom", ".ima")
_ARCHIVES = (*ARCHIVE_SUFFIXES, ".7z")
_IDENTIFIERS = (
    "PatientID", "PatientName", "OtherPatientIDs", "OtherPatientNames", "PatientBirthDate", "AccessionNumber",
    "StudyID", "StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate", "StudyInstanceUID", "SeriesInstanceUID",
    "SOPInstanceUID", "FrameOfReferenceUID", "ReferringPhysicianName", "PerformingPhysicianName", "OperatorsName",
    "InstitutionName", "StationName",
)  # fmt: skip
_DIRECTORY = "1.2.840.10008.1.3.10"
_SHORTEST = 3


def is_dicom(file: LocalFile) -> bool:
    """True of a file with the mark of DICOM, and of one that is called so."""
    with file.source.open("rb") as handle:
        handle.seek(128)
        return handle.read(4) == b"DICM" or file.path.lower().endswith(_ENDINGS)


def own_key() -> bytes:
    """The secret of the pseudonyms: MEDCOSS_DEIDENTIFY_KEY, else one made at first use in ~/.config/medcoss."""
    given = os.environ.get(KEY_VARIABLE)
    if given:
        return given.encode()
    path = Path.home() / ".config" / "medcoss" / "deidentify.key"
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
            file.write(secrets.token_hex(32))
    except FileExistsError:
        pass
    return path.read_text().strip().encode()


@contextmanager
def deidentified(
    files: list[LocalFile], notify: Notify | None, notice: Notice, threads: int
) -> Iterator[list[LocalFile]]:
    """The files as they may be sent: DICOM files rewritten in a folder that is removed at the end, others as they are.

    Files that cannot be rewritten, directories of media, and files with text burned into the pixels are left out;
    `notice` is told of each. Raises ValueError when nothing is left, or DICOM cannot be read here.
    """
    found = [file for file in files if is_dicom(file)]
    archives = [file.path for file in files if file.path.lower().endswith(_ARCHIVES)]
    if archives:
        notice(f"{len(archives)} archives are sent as they are, e.g. {archives[0]}: DICOM files in them keep identity; "
               "unpack them first")  # fmt: skip
    if not found:
        yield files
        return
    try:
        import pydicom  # noqa: F401
    except ImportError:
        raise ValueError(
            f"{len(found)} DICOM files have to lose their identity first, which needs `pip install "
            "medcoss[preprocess]`; files without patients may be sent with deidentify off"
        ) from None
    with TemporaryDirectory(prefix="medcoss-") as folder:
        work = _Work(Path(folder), own_key(), notice)
        kept = work.run(files, found, notify, threads)
        if not kept:
            raise ValueError("no file is left that can be sent; see what was said of each")
        yield kept


class _Work:
    def __init__(self, folder: Path, key: bytes, notice: Notice) -> None:
        self.folder, self.key, self.notice = folder, key, notice

    def run(
        self, files: list[LocalFile], dicom: list[LocalFile], notify: Notify | None, threads: int
    ) -> list[LocalFile]:
        """All files that may be sent, sorted by their new paths."""
        stop = threading.Event()
        tracker = Tracker("de-identifying", [(f.path, f.size) for f in dicom], notify, stop)
        tasks = [partial(self._one, number, file, tracker) for number, file in enumerate(dicom)]
        made = side_by_side(tasks, threads, stop)
        known = {word for _, words in made for value in words for word in [value, *_words(value)]} - {*SPLIT_NAMES}
        places = {file.path for file in dicom}
        whole = [file for file in files if file.path not in places] + [file for file, _ in made if file is not None]
        kept: dict[str, LocalFile] = {}
        for file in whole:
            path = self._anonymous(file.path, known)
            if path in kept:
                name = PurePosixPath(path)
                path = str(name.with_name(f"{len(kept)}-{name.name}"))
            kept[path] = LocalFile(file.source, path, file.size, file.changed_ns)
        return [kept[path] for path in sorted(kept)]

    def _one(self, number: int, file: LocalFile, tracker: Tracker) -> tuple[LocalFile | None, set[str]]:
        """The rewritten file, None if it is left out, and the identifiers of its header."""
        from medcoss.preprocess.deidentify import deidentified_file
        from medcoss.run import BadInput

        target, words = self.folder / f"{number}", set[str]()
        try:
            words = _identifiers(file.source)
            target.write_bytes(deidentified_file(file.source.read_bytes(), self.key, file.path))
        except BadInput as error:
            self.notice(f"{file.path} is left out: {error.message}")
            return None, words
        finally:
            tracker.add(file.size, file.path)
        stat = target.stat()
        return LocalFile(target, self._without(file.path, words), stat.st_size, stat.st_mtime_ns), words

    def _without(self, path: str, words: set[str]) -> str:
        """A path with every identifier of the file's own header replaced, the longest first."""
        for word in sorted(words, key=lambda w: (-len(w), w)):
            if len(word) >= _SHORTEST and word not in SPLIT_NAMES:
                path = re.sub(re.escape(word), lambda found: self._stands_for(found[0]), path, flags=re.IGNORECASE)
        return path

    def _anonymous(self, path: str, known: set[str]) -> str:
        """A path without words that are identifiers in any header of the upload."""
        return re.sub(
            r"[^\W_]+", lambda found: self._stands_for(found[0]) if found[0].lower() in known else found[0], path
        )

    def _stands_for(self, word: str) -> str:
        from medcoss.preprocess.deidentify import pseudonym

        return pseudonym(word.lower(), self.key)[:12]


def _words(value: str) -> list[str]:
    """The parts of an identifier or of a person's name; those of an institution, say, are words like others."""
    if " " in value and "^" not in value:
        return []
    return [word for word in re.findall(r"[^\W_]+", value) if len(word) >= _SHORTEST]


def _identifiers(path: Path) -> set[str]:
    """What a header names its patient, staff, study and files by, in lower case; names by their parts, too."""
    import pydicom

    from medcoss.run import BadInput

    try:
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=[*_IDENTIFIERS, "SOPClassUID"])
        values = [str(value) for tag in _IDENTIFIERS if (value := header.get(tag))]
        directory = header.file_meta.get("MediaStorageSOPClassUID") == _DIRECTORY
    except Exception as error:  # noqa: BLE001 - of many types, none of whose texts may carry header values
        raise BadInput(f"this is no readable DICOM file ({type(error).__name__})", path.name) from None
    if directory:
        raise BadInput("a DICOMDIR lists patients and is not needed", path.name)
    found = {value.lower() for value in values}
    return found | {part for value in found if "^" in value for part in _words(value)}
