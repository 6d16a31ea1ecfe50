"""Alembic's entry: runs the migrations on the URL that `services.core.db` gives."""

from alembic import context

from services.core.db import make_engine
from services.core.tables import Base

engine = make_engine(context.config.attributes["url"])
with engine.connect() as connection:
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        render_as_batch=connection.dialect.name == "sqlite",
    )
    with context.begin_transaction():
        context.run_migrations()
engine.dispose()
