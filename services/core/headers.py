"""Headers that every answer carries: browsers must neither guess, frame, keep nor pass anything on."""

_NOTHING = "default-src 'none'; frame-ancestors 'none'"
# the interactive pages load their scripts from where FastAPI has them
_PAGES = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' https://cdn.jsdelivr.net; "
    "style-src 'self' 'unsafe-inline' https://cdn.jsdelivr.net https://fonts.googleapis.com; "
    "font-src https://fonts.gstatic.com; img-src 'self' data: https://fastapi.tiangolo.com; worker-src blob:; "
    "frame-ancestors 'none'"
)


def security_headers(path: str, scheme: str) -> dict[str, str]:
    """The headers of an answer to a request for `path`."""
    found = {
        "Content-Security-Policy": _PAGES if path in {"/docs", "/redoc"} else _NOTHING,
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Resource-Policy": "same-site",
        "Cache-Control": "no-store",
    }
    return found | ({"Strict-Transport-Security": "max-age=31536000"} if scheme == "https" else {})
