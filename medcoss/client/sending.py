"""The files of a dataset to the object store, small ones whole, large ones in parts.

What has arrived is the server's to say; the rest is sent.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from medcoss.client.records import Registered
from medcoss.client.transfer import PAUSES_S, Notify, Tracker, persistently, side_by_side
from medcoss.client.transport import Connections
from medcoss.client.upload import Counted, LocalFile, Slice, md5_of, put, send_whole
from medcoss.client.upload_records import UploadSession
from medcoss.client.uploads import Uploads

PART_BYTES = 16 * 2**20
# a large file is worth waiting for a connection to come back
PATIENCE_S = (*PAUSES_S, 15.0, 30.0, 60.0)


@dataclass(frozen=True)
class FolderUpload:
    """What is sent to a registered dataset; large files in parts of `part_bytes`, or of the server's choice."""

    uploads: Uploads
    connections: Connections
    registered: Registered
    files: list[LocalFile]
    notify: Notify | None
    threads: int
    part_bytes: int | None

    def _is_large(self, file: LocalFile) -> bool:
        return file.size > 2 * (self.part_bytes or PART_BYTES)

    @property
    def in_parts(self) -> bool:
        """True when files of it go in parts."""
        return any(map(self._is_large, self.files))

    def run(self) -> None:
        """Send what is not there. Raises TransferFailed naming the first file that could not be sent, or ApiError."""
        stop = threading.Event()
        tracker = Tracker("uploading", [(f.path, f.size) for f in self.files], self.notify, stop)
        targets = {upload.path: upload for upload in self.registered.uploads}
        small: list[Callable[[], None]] = []
        large: list[LocalFile] = []
        for file in self.files:
            target = targets.get(file.path)
            if target is None:
                tracker.there(file.size, file.path)
            elif target.url is None or self._is_large(file):
                large.append(file)
            else:
                small.append(partial(send_whole, self.connections, file, target, tracker))
        side_by_side(small, self.threads, stop)
        for file in large:
            self._send_in_parts(file, tracker, stop)

    def _send_in_parts(self, file: LocalFile, tracker: Tracker, stop: threading.Event) -> None:
        upload = self.uploads.start(self.registered.dataset.id, file.path, part_bytes=self.part_bytes)
        there = {(part.number, part.size, part.md5) for part in self.uploads.parts(upload)}

        def send(number: int) -> str:
            piece = _slice(file, upload, number)
            md5 = md5_of(piece)
            if (number, piece.size, md5) in there:
                tracker.there(piece.size, file.path)
            else:
                attempt = partial(self._put, upload, number, md5, piece, tracker)
                persistently(f"{file.path}, part {number}", attempt, tracker, PATIENCE_S)
            return md5

        numbers = range(1, upload.part_count + 1)
        md5s = side_by_side([partial(send, number) for number in numbers], self.threads, stop)
        self.uploads.complete(upload, md5s)

    def _put(self, upload: UploadSession, number: int, md5: str, piece: Slice, tracker: Tracker) -> None:
        (url,) = self.uploads.sign(upload, {number: md5})
        put(self.connections, Counted(piece, tracker), url.method, url.url, url.headers)


def _slice(file: LocalFile, upload: UploadSession, number: int) -> Slice:
    start = (number - 1) * upload.part_bytes
    return Slice(file, start, min(upload.part_bytes, file.size - start))
