"""Images of a PACS by DICOMweb (WADO-RS, PS3.18 10.4), of the servers that the settings name alone."""

import re
from collections.abc import Callable, Iterator
from email.message import Message
from typing import Any
from urllib.parse import urlsplit

import httpx
import structlog
from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser

from medcoss.preprocess.received import File
from services.core.errors import Conflict, NotFound, TooLarge, Unavailable
from services.core.settings import DicomWebServer, Settings
from services.inference.inputs import invalid
from services.inference.watch import Watch

CONNECT_TIMEOUT_S, READ_TIMEOUT_S = 5.0, 60.0
# of instances
MOST_PARTS = 5_000
_UID = r"[0-9]+(?:\.[0-9]+)*"
_RESOURCE = re.compile(rf"/studies/{_UID}(?:/series/{_UID}(?:/instances/{_UID})?)?")
_ACCEPT = 'multipart/related; type="application/dicom"; transfer-syntax=*'

log = structlog.get_logger(__name__)


class DicomWeb:
    """Fetches the instances of a study, a series, or one instance."""

    def __init__(self, settings: Settings) -> None:
        self._servers, self._most_bytes = settings.dicomweb_servers, settings.max_inference_bytes
        # a redirect could lead anywhere; a proxy of the environment would see images of patients
        self._client = httpx.Client(
            timeout=httpx.Timeout(READ_TIMEOUT_S, connect=CONNECT_TIMEOUT_S), follow_redirects=False, trust_env=False
        )

    def close(self) -> None:
        """Let go of the connections."""
        self._client.close()

    def files(self, url: str, watch: Watch) -> list[File]:
        """The DICOM files at `url`.

        Raises ValidationFailed for another address than that of a study, series or instance of a server in the
        settings, NotFound for what the server does not have, Conflict for what it does not give, TooLarge, and
        Unavailable when it does not answer.
        """
        server = self._server_of(url)
        # as it is: the parts are cut out of what comes
        headers = {"Accept": _ACCEPT, "Accept-Encoding": "identity"}
        if server.authorization is not None:
            headers["Authorization"] = server.authorization.get_secret_value()
        try:
            with self._client.stream("GET", url, headers=headers) as response:
                _check(response)
                return [*self._parts(response, watch)]
        except httpx.HTTPError as error:
            log.warning("the DICOMweb server does not answer", server=server.url, error=type(error).__name__)
            raise Unavailable("the DICOMweb server does not answer; try again in a few seconds") from error

    def _server_of(self, url: str) -> DicomWebServer:
        for server in self._servers:
            base = server.url.rstrip("/")
            if url.startswith(base + "/") and _RESOURCE.fullmatch(url[len(base) :]):
                return server
        if not self._servers:
            raise invalid("/dicomweb", "no DICOMweb server is known; an administrator names them in "
                          "MEDCOSS_DICOMWEB_SERVERS")  # fmt: skip
        known = ", ".join(f"{urlsplit(server.url).netloc}" for server in self._servers)
        raise invalid("/dicomweb", "expected <server>/studies/<UID>, with /series/<UID> and /instances/<UID> where "
                      f"wanted, of one of the known servers: {known}")  # fmt: skip

    def _parts(self, response: httpx.Response, watch: Watch) -> Iterator[File]:
        """The bodies of a multipart answer, as they come."""
        content_type = Message()
        content_type["content-type"] = response.headers.get("content-type", "")
        boundary = content_type.get_param("boundary")
        if content_type.get_content_type() != "multipart/related" or not isinstance(boundary, str):
            raise Conflict("the DICOMweb server's answer is no multipart/related; expected DICOM files")
        parts = _Parts()
        parser = MultipartParser(boundary.encode(), parts.callbacks())
        total = number = 0
        try:
            for piece in response.iter_raw(1 << 20):
                watch.check()
                total += len(piece)
                if total > self._most_bytes:
                    raise TooLarge(f"the DICOMweb server gives over {self._most_bytes:,} bytes; name a single series")
                parser.write(piece)
                while parts.whole:
                    number += 1
                    if number > MOST_PARTS:
                        raise TooLarge(f"the DICOMweb server gives over {MOST_PARTS:,} files; name a single series")
                    yield File(f"instance {number}", bytes(parts.whole.pop(0)))
            parser.finalize()
        except MultipartParseError as error:
            raise Conflict("the DICOMweb server's answer is damaged; try again") from error
        if not parts.ended:
            raise Unavailable("the DICOMweb server's answer breaks off; try again")
        if not number:
            raise NotFound("the DICOMweb server has no image there")


class _Parts:
    """Collects the parts of a multipart body."""

    def __init__(self) -> None:
        self.whole: list[bytearray] = []
        self.ended = False
        self._open = bytearray()

    def callbacks(self) -> Any:
        """What the parser calls."""
        found: dict[str, Callable[..., None]] = {
            "on_part_begin": self._begin, "on_part_data": self._data, "on_part_end": self._end, "on_end": self._finish,
        }  # fmt: skip
        return found

    def _begin(self) -> None:
        self._open = bytearray()

    def _data(self, data: bytes, start: int, end: int) -> None:
        self._open += data[start:end]

    def _end(self) -> None:
        self.whole.append(self._open)

    def _finish(self) -> None:
        self.ended = True


def _check(response: httpx.Response) -> None:
    """Raise what an answer other than a good one means."""
    status = response.status_code
    if status in (httpx.codes.NOT_FOUND, httpx.codes.GONE):
        raise NotFound("the DICOMweb server has no such study, series or instance")
    if status in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        raise Conflict("the DICOMweb server does not let the platform in; an administrator has to give it a key")
    if status >= 500 or status == httpx.codes.TOO_MANY_REQUESTS:
        raise Unavailable(f"the DICOMweb server answers with status {status}; try again in a few seconds")
    if status != httpx.codes.OK:
        raise Conflict(f"the DICOMweb server answers with status {status}; expected 200 with DICOM files")
