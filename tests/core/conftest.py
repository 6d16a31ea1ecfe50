"""Databases for the tests of the core."""

from tests.core.databases import (
    database,
    database_url,
    empty_url,
    open_database,
    postgres_template,
    sqlite_template,
)

__all__ = ["database", "database_url", "empty_url", "open_database", "postgres_template", "sqlite_template"]
