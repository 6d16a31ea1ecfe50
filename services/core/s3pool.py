"""HTTP to the object store: every request is measured and traced here, whoever makes it."""

from typing import Any
from urllib.parse import parse_qs, urlsplit

import urllib3

from services.core import metrics, tracing

_BY_METHOD = {"GET": "get", "PUT": "put", "HEAD": "stat", "DELETE": "remove", "POST": "other"}
_BY_PARAMETER = (("list-type", "list"), ("delete", "remove"), ("uploadId", "multipart"), ("uploads", "multipart"))


def operation_of(method: str, url: str) -> str:
    """What a request does, without its key: get, put, stat, list, remove, multipart or other."""
    given = parse_qs(urlsplit(url).query, keep_blank_values=True)
    return next((name for parameter, name in _BY_PARAMETER if parameter in given), _BY_METHOD.get(method, "other"))


class S3Pool(urllib3.PoolManager):
    """A pool of connections that measures each call until its answer begins."""

    def urlopen(  # type: ignore[override]  # PoolManager's own is at odds with its base, too
        self, method: str, url: str, redirect: bool = True, **options: Any
    ) -> urllib3.BaseHTTPResponse:
        """Make a request."""
        operation = operation_of(method, url)
        with (
            tracing.span(f"s3 {operation}", **{"server.address": urlsplit(url).netloc}),
            metrics.s3_request(operation) as failed,
        ):
            response = super().urlopen(method, url, redirect, **options)
            if response.status >= 500:
                failed()
        return response
