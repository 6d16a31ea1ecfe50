"""Files of a dataset in parts, call by call; `client.datasets.upload` makes them all."""

from collections.abc import Iterator, Mapping, Sequence

from medcoss.client.paging import pages
from medcoss.client.transport import Transport
from medcoss.client.upload_records import PartUrl, StoredPart, UploadSession

COMPLETE_TIMEOUT_S = 600.0


class Uploads:
    """`client.uploads`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def start(self, dataset_id: str, path: str, *, size: int | None = None, sha256: str | None = None,
              part_bytes: int | None = None) -> UploadSession:  # fmt: skip
        """Start to send a file in parts, or go on with what is open for its path, which keeps its size of parts.

        `size` and `sha256` may be left out for a file that was announced with the dataset.
        """
        body = {"path": path, "size": size, "sha256": sha256, "part_bytes": part_bytes}
        response = self._transport.call("POST", f"/v1/datasets/{dataset_id}/uploads", json=body, once=True)
        return self._transport.read(UploadSession, response)

    def list(self, dataset_id: str) -> Iterator[UploadSession]:
        """Files that arrive, or arrived lately, in parts, oldest first."""
        return pages(self._transport, f"/v1/datasets/{dataset_id}/uploads", UploadSession)

    def get(self, dataset_id: str, upload_id: str) -> UploadSession:
        """One file that arrives in parts."""
        return self._transport.parse(UploadSession, self._transport.get(_place(dataset_id, upload_id)))

    def sign(self, upload: UploadSession, md5s: Mapping[int, str]) -> Sequence[PartUrl]:
        """Where parts go, by number with their hexadecimal MD5; at most 1000 at once."""
        body = {"parts": [{"number": number, "md5": md5} for number, md5 in md5s.items()]}
        document = self._transport.document(
            self._transport.call("POST", f"{_place(upload.dataset_id, upload.id)}/urls", json=body, idempotent=True)
        )
        return [self._transport.parse(PartUrl, item) for item in document["parts"]]

    def parts(self, upload: UploadSession) -> Iterator[StoredPart]:
        """Parts that have arrived, in order."""
        return pages(self._transport, f"{_place(upload.dataset_id, upload.id)}/parts", StoredPart)

    def complete(self, upload: UploadSession, md5s: Sequence[str], *, sha256: str | None = None) -> UploadSession:
        """Have the parts put together; `md5s` in order. ApiError (409) names parts that are missing or wrong."""
        body = {"md5s": [*md5s], "sha256": sha256}
        response = self._transport.call(
            "POST",
            f"{_place(upload.dataset_id, upload.id)}/complete",
            json=body,
            idempotent=True,
            timeout_s=COMPLETE_TIMEOUT_S,
        )
        return self._transport.read(UploadSession, response)

    def abort(self, dataset_id: str, upload_id: str) -> None:
        """Give a file up that is on its way."""
        self._transport.call("DELETE", _place(dataset_id, upload_id))


def _place(dataset_id: str, upload_id: str) -> str:
    return f"/v1/datasets/{dataset_id}/uploads/{upload_id}"
