"""Alembic's entry: runs the migrations on the URL that `services.core.db` gives, all or none of them."""

from alembic import context
from sqlalchemy import Connection, text

from services.core.db import make_engine
from services.core.tables import Base

LOCK = 0x6D656463


def run(connection: Connection) -> None:
    # one at a time: on SQLite the transaction holds the write lock already
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": LOCK})
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        render_as_batch=connection.dialect.name == "sqlite",
    )
    with context.begin_transaction():
        context.run_migrations()


given = context.config.attributes.get("connection")
if given is not None:
    run(given)
else:
    engine = make_engine(context.config.attributes["url"], foreign_keys=False)
    with engine.begin() as own:
        run(own)
    engine.dispose()
