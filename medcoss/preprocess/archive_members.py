"""Unpacking one archive of unknown origin: what leads outside, pretends, or grows without bound is refused.

Nothing that a header says about sizes is trusted: bytes are counted as they come out of the decompressor.
"""

import bz2
import gzip
import io
import lzma
import os
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any, NamedTuple

from medcoss.preprocess.io import describe
from medcoss.preprocess.raw import printable
from medcoss.specs.names import ARCHIVE_SUFFIXES

PIECE = 1 << 20
# an archive of a few kilobytes of empty label maps is no bomb
FREE_BYTES = 64 * 2**20
# what is left on the disk for others
ROOM_SHARE = 0.9
# of a name or of further attributes; tarfile holds them in memory
_MOST_HEADER = 2**20
_LONG_HEADERS = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME,
                 tarfile.GNUTYPE_LONGLINK)  # fmt: skip
_DAMAGED = (tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile)

# is called with the bytes of the archive that were read
Tell = Callable[[int], None]


class Refused(NamedTuple):
    """A member, as `<archive>: <member>`, or a whole archive, that is not used."""

    path: str
    reason: str


class Unusable(Exception):
    """Nothing of the archive is used, and why."""


class Budget:
    """How many bytes and files all archives together may unpack to, and how many times its size one of them."""

    def __init__(self, most_bytes: int, most_files: int, ratio: int) -> None:
        self._most_bytes, self._most_files, self._ratio = most_bytes, most_files, ratio
        self._bytes = self._files = 0

    def limits(self) -> list[int]:
        """The limits: bytes, files, ratio."""
        return [self._most_bytes, self._most_files, self._ratio]

    def spent(self) -> tuple[int, int]:
        """Bytes and files so far."""
        return self._bytes, self._files

    def reset(self, spent: tuple[int, int]) -> None:
        """Go back to an earlier `spent`."""
        self._bytes, self._files = spent

    def add(self, size: int, files: int) -> None:
        """Count what was unpacked, and checked, before."""
        self._bytes, self._files = self._bytes + size, self._files + files

    def take(self, size: int, files: int = 0) -> None:
        """Count; raises Unusable over a limit."""
        self.add(size, files)
        if self._bytes > self._most_bytes:
            raise Unusable(f"the archives unpack to over {self._most_bytes / 2**30:g} GiB (archives.max_gib); upload "
                           "the files themselves, or raise the limit")  # fmt: skip
        if self._files > self._most_files:
            raise Unusable(f"the archives hold over {self._most_files:,} members (archives.max_files); upload the "
                           "files themselves, or raise the limit")  # fmt: skip

    def check_ratio(self, came: int, packed: int) -> None:
        """Raise Unusable when an archive of `packed` bytes has grown to more than is believed of real files."""
        if came > max(FREE_BYTES, packed * self._ratio):
            raise Unusable(f"it unpacks to over {self._ratio} times its size of {packed:,} bytes "
                           "(archives.max_ratio), as archives do that are made to fill a disk; upload the files "
                           "themselves, or raise the limit")  # fmt: skip


def unpack(archive: Path, name: str, target: Path, budget: Budget, tell: Tell) -> Iterator[Refused]:
    """Write the regular files of an archive below `target`; yields the members that are refused.

    `name` is what messages call it. A truncated tar gives what lies before the cut, and is named as a whole. Raises
    Unusable, after which nothing of it may be used, and OSError when the disk fails.
    """
    writer = _Writer(name, archive.stat().st_size, target, budget)
    members = _zip_members if name.lower().endswith(".zip") else _tar_members
    yield from members(archive, writer, tell)


class _Writer:
    """Puts members where they belong, and counts."""

    def __init__(self, name: str, packed: int, target: Path, budget: Budget) -> None:
        self.name, self.packed, self.budget, self.target = name, packed, budget, target
        self._room, self._written = int(shutil.disk_usage(target).free * ROOM_SHARE), 0

    def refused(self, member: str, reason: str) -> Refused:
        """The entry of the report for a member, its name made printable."""
        return Refused(f"{self.name}: {printable(member)}", reason)

    def write(self, member: str, source: IO[bytes]) -> Refused | None:
        """Write one regular file, all of it or nothing."""
        reason = _fault(member)
        if reason:
            return self.refused(member, reason)
        place = self.target / member
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            out = place.open("xb")
        except (FileExistsError, NotADirectoryError, IsADirectoryError):
            return self.refused(member, "the archive holds two members of this name, or a file where others have a "
                                "folder; the first is used")  # fmt: skip
        try:
            with out:
                while piece := source.read(PIECE):
                    self._count(len(piece))
                    out.write(piece)
        except BaseException:
            place.unlink()
            raise
        return None

    def _count(self, size: int) -> None:
        self.budget.take(size)
        self._written += size
        self.budget.check_ratio(self._written, self.packed)
        if self._written > self._room:
            raise Unusable(f"it unpacks to over {self._room:,} bytes, what the disk of this machine has room for; "
                           "free some, or upload the files themselves in parts")  # fmt: skip


def _fault(member: str) -> str | None:
    """Why a name is refused."""
    try:
        parts = [part.encode() for part in PurePosixPath(member).parts]
    except UnicodeEncodeError:
        return "its name is not UTF-8; expected an archive with names in UTF-8"
    if member.startswith("/") or member[1:2] == ":":
        return "its name is an absolute path; expected one inside the archive"
    if b".." in parts:
        return "its name leads outside the archive ('..'); expected a path inside it"
    if not parts or "\0" in member or max(map(len, parts)) > 255 or len(member.encode()) > 1024:
        return "its name is no usable file name (empty, or too long)"
    if member.lower().endswith(ARCHIVE_SUFFIXES):
        return "an archive within an archive is not unpacked; unpack it and upload its files or itself"
    return None


def _zip_members(archive: Path, writer: _Writer, tell: Tell) -> Iterator[Refused]:
    try:
        opened = zipfile.ZipFile(archive)
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        with archive.open("rb") as file:
            found = describe(file.read(1024))
        raise Unusable(f"the zip archive is damaged or truncated (it is {found}; {error}); copy it again") from None
    with opened:
        # an archive is encrypted as a whole or not: one reason is enough
        if any(info.flag_bits & 1 for info in opened.infolist()):
            raise Unusable("the zip archive is encrypted; unpack it with its password and upload the files")
        read = 0
        for info in opened.infolist():
            tell(min(read, writer.packed))
            read += info.compress_size
            writer.budget.take(0, 1)
            # made on Windows by tools that keep its separators
            name = info.filename.replace("\\", "/")
            kind = stat.S_IFMT(info.external_attr >> 16)
            if info.is_dir() or name.endswith("/"):
                continue
            if kind not in (0, stat.S_IFREG):
                yield writer.refused(name, _not_regular("link" if kind == stat.S_IFLNK else "device"))
                continue
            try:
                with opened.open(info) as source:
                    refused = writer.write(name, source)
            except (*_DAMAGED, NotImplementedError, RuntimeError) as error:
                refused = writer.refused(name, f"its data is damaged or packed in an unknown way ({error}); pack it "
                                         "again")  # fmt: skip
            if refused:
                yield refused


def _not_regular(kind: str) -> str:
    return f"it is a {kind}; expected files and folders: pack what a link leads to"


def _tar_members(archive: Path, writer: _Writer, tell: Tell) -> Iterator[Refused]:
    count = 0
    with archive.open("rb") as packed:
        try:
            with tarfile.open(fileobj=_Counted(packed, writer, tell), mode="r|", tarinfo=_Member) as opened:
                while (info := opened.next()) is not None:
                    # tarfile would keep all of them
                    opened.members.clear()
                    writer.budget.take(0, 1)
                    count += 1
                    refused = _tar_member(opened, info, writer)
                    if refused:
                        yield refused
        except _DAMAGED as error:
            packed.seek(0)
            what = f"{count} of its members were found before that" if count else f"it is {describe(packed.read(1024))}"
            yield Refused(writer.name, f"the archive is damaged or truncated ({error}); {what}; copy it again")


def _tar_member(opened: tarfile.TarFile, info: tarfile.TarInfo, writer: _Writer) -> Refused | None:
    if info.isdir():
        return None
    if not info.isreg():
        return writer.refused(info.name, _not_regular("link" if info.issym() or info.islnk() else "device"))
    if not (fault := _fault(info.name)):
        try:
            tarfile.data_filter(info, str(writer.target))
        except tarfile.FilterError as error:
            fault = f"it is not safe to unpack ({type(error).__name__}); expected files and folders inside the archive"
    if fault:
        return writer.refused(info.name, fault)
    source = opened.extractfile(info)
    assert source is not None, "a regular file"
    return writer.write(info.name, source)


class _Member(tarfile.TarInfo):
    """A member whose header is not read when it alone would fill the memory."""

    @classmethod
    def fromtarfile(cls, tarfile_: tarfile.TarFile) -> "_Member":
        """The next member; a tar that ends without its end mark is damaged, which tarfile passes over."""
        try:
            return super().fromtarfile(tarfile_)
        except (tarfile.TruncatedHeaderError, tarfile.EmptyHeaderError):  # type: ignore[attr-defined]
            raise tarfile.ReadError("it ends without an end mark") from None

    # the hook that tarfile has for subclasses
    def _proc_member(self, tar: tarfile.TarFile) -> Any:
        if self.type in _LONG_HEADERS and self.size > _MOST_HEADER:
            raise tarfile.ReadError(f"a header of {self.size:,} bytes")
        return super()._proc_member(tar)  # type: ignore[misc]


class _Counted(io.RawIOBase):
    """The unpacked bytes of a tar, counted; what is skipped counts, too."""

    def __init__(self, packed: IO[bytes], writer: _Writer, tell: Tell) -> None:
        super().__init__()
        self._packed, self._writer, self._tell, self._came = packed, writer, tell, 0
        start = packed.read(6)
        packed.seek(0)
        self._source: Any = packed
        for signature, opener in ((b"\x1f\x8b", gzip.open), (b"BZh", bz2.open), (b"\xfd7zXZ\0", lzma.open)):
            if start.startswith(signature):
                self._source = opener(packed)

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes."""
        data: bytes = self._source.read(size)
        before, self._came = self._came, self._came + len(data)
        self._writer.budget.check_ratio(self._came, self._writer.packed)
        if before // PIECE != self._came // PIECE:
            self._tell(os.lseek(self._packed.fileno(), 0, os.SEEK_CUR))
        return data
