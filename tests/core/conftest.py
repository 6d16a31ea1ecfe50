"""Databases and a bucket for the tests of the core."""

from tests.core.databases import (
    database,
    database_url,
    empty_url,
    open_database,
    postgres_template,
    settings,
    shared_bucket,
    sqlite_template,
)

__all__ = [
    "database",
    "database_url",
    "empty_url",
    "open_database",
    "postgres_template",
    "settings",
    "shared_bucket",
    "sqlite_template",
]
