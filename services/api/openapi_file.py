"""Writes the OpenAPI document for programs that generate clients: `python -m services.api.openapi_file FILE`."""

import json
import sys
from pathlib import Path

from services.api.app import create_app
from services.core.settings import Settings


def main() -> None:
    """Write the document to the file that the command line names. Nothing of a platform has to run."""
    settings = Settings(database_url="sqlite:////nonexistent/medcoss.db", s3_access_key="none", s3_secret_key="none")  # noqa: S106
    text = json.dumps(create_app(settings).openapi(), indent=1)
    Path(sys.argv[1]).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
