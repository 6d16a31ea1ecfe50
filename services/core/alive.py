"""The healthcheck of a container: `python -m services.core.alive URL` ends with 0 when the URL answers well.

The standard library alone, as it runs every few seconds.
"""

import sys
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

TIMEOUT_S = 5


def alive(url: str) -> str | None:
    """None when `url` answers with a 2xx, or else why not."""
    try:
        # a proxy of the environment is for what lies outside
        with build_opener(ProxyHandler({})).open(url, timeout=TIMEOUT_S):
            return None
    except (URLError, OSError) as error:
        return f"{url}: {error}"


if __name__ == "__main__":
    sys.exit(alive(sys.argv[1]))
