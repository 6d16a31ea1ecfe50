"""The console: the built web pages, given out under `/console`. They use the public API like any other client."""

import secrets
from pathlib import Path
from typing import Annotated, NamedTuple
from urllib.parse import urlsplit

from fastapi import APIRouter, Header, Response
from fastapi.responses import FileResponse, HTMLResponse

from services.core.errors import NotFound
from services.core.settings import Settings

BUILT = Path(__file__).with_name("console_files")
# what the page holds in place of the nonce of its style sheets
NONCE = "__NONCE__"
_FOREVER = "public, max-age=31536000, immutable"
_TYPES = {
    ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".woff2": "font/woff2", ".json":
    "application/json", ".png": "image/png", ".txt": "text/plain", ".wasm": "application/wasm",
}  # fmt: skip
_MISSING = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>The console is not built - medcoss</title></head>
<body>
<main>
<h1>The console is not built</h1>
<p>The platform runs, and its API, its command line and its Python client work. This installation lacks the files of
the web console.</p>
<ul>
<li>In a copy of the repository: install Node 20.19 or later with npm, then run <code>make console</code> and load
this page again. <code>make setup</code> builds the console, too, where it finds Node.</li>
<li>Elsewhere: build it on a machine with Node, copy the folder <code>services/api/console_files</code> here and set
<code>MEDCOSS_CONSOLE_DIR</code> to it.</li>
</ul>
</main>
</body>
</html>
"""


class Origins(NamedTuple):
    """Where the platform's other parts are, as browsers reach them: files come from `store`, answers from `gateway`."""

    store: str
    gateway: str


def router(settings: Settings) -> APIRouter:
    """The routes of the console, which need no key: the pages ask for one."""
    routes = APIRouter(prefix="/console", include_in_schema=False)
    folder = (settings.console_dir or BUILT).resolve()
    others = Origins(_object_store(settings), _origin(settings.gateway_url))

    @routes.get("")
    @routes.get("/")
    def page() -> Response:
        """The page that all addresses of the console lead to."""
        return _page(folder, others)

    @routes.get("/{path:path}")
    def file(path: str, accept_encoding: Annotated[str, Header()] = "") -> Response:
        """A file of the build, or the page, which knows what to show at its address."""
        if not path.startswith("assets/"):
            return _page(folder, others)
        return _file(folder, path, "gzip" in accept_encoding)

    return routes


def _object_store(settings: Settings) -> str:
    """The origin that presigned URLs lead to."""
    host = settings.s3_public_endpoint or settings.s3_endpoint
    secure = settings.s3_secure if settings.s3_public_secure is None else settings.s3_public_secure
    return f"{'https' if secure else 'http'}://{urlsplit(f'//{host}').netloc}"


def _origin(url: str) -> str:
    """The scheme, host and port of an address."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def policy(nonce: str, others: Origins) -> str:
    """The content-security policy: own scripts alone, style sheets that carry the nonce, calls of the platform's parts,
    of the object store pictures, and files that are sent to presigned URLs and fetched from them.
    """
    return (
        f"default-src 'none'; script-src 'self'; style-src 'self' 'nonce-{nonce}'; "
        f"connect-src 'self' {others.gateway} {others.store}; img-src 'self' data: blob: {others.store}; "
        "font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _page(folder: Path, others: Origins) -> Response:
    nonce = secrets.token_urlsafe(18)
    try:
        text, status = (folder / "index.html").read_text(encoding="utf-8").replace(NONCE, nonce), 200
    except OSError:
        text, status = _MISSING, 404
    headers = {"Content-Security-Policy": policy(nonce, others), "Cache-Control": "no-store"}
    return HTMLResponse(text, status, headers)


def _file(folder: Path, path: str, packed: bool) -> Response:
    """A file of the build, whose name tells its content. NotFound for all else."""
    found = (folder / path).resolve()
    kind = _TYPES.get(found.suffix)
    if kind is None or not found.is_relative_to(folder) or not found.is_file():
        raise NotFound("there is no such file of the console; load the page again, it may have been updated")
    headers = {"Cache-Control": _FOREVER, "Vary": "Accept-Encoding"}
    small = found.with_name(f"{found.name}.gz")
    if packed and small.is_file():
        return FileResponse(small, media_type=kind, headers=headers | {"Content-Encoding": "gzip"})
    return FileResponse(found, media_type=kind, headers=headers)
