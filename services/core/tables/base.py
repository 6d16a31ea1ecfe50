"""What all tables share."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, cast

from sqlalchemy import JSON, BigInteger, DateTime, Dialect, Index, Integer, MetaData, String, Table
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.types import TypeDecorator


def now() -> datetime:
    """The present moment, in UTC."""
    return datetime.now(UTC)


class UtcDateTime(TypeDecorator[datetime]):
    """Moments in UTC on every database; SQLite keeps no time zone of its own."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """To UTC, without zone on SQLite so that comparisons hold."""
        if value is None:
            return None
        utc = value.astimezone(UTC)
        return utc.replace(tzinfo=None) if dialect.name == "sqlite" else utc

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """With the zone put back."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


# SQLite counts only INTEGER primary keys up by itself
Counter = BigInteger().with_variant(Integer, "sqlite")
Id = String(64)


def path_type(length: int) -> String:
    """The type of paths: compared byte by byte on every database, so that what begins alike stands together."""
    return String(length).with_variant(String(length, collation="C"), "postgresql")


def list_indexes(table: str, filters: Iterable[str], sorts: Iterable[str], *, owned: bool = True) -> Iterator[Index]:
    """Indexes of a list: each filter in the order of creation, and each order; of what is `owned` in a project, too."""
    ways = [(name, "created_at") for name in filters] + [(name,) for name in sorts]
    for way in ways:
        yield Index(f"ix_{table}_by_{way[0]}", *way, "id")
        if owned:
            yield Index(f"ix_{table}_project_by_{way[0]}", "project_id", *way, "id")


class Base(DeclarativeBase):
    """Base of the tables; constraints have names, so that migrations can change them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_label)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {dict[str, Any]: JSON, list[Any]: JSON, datetime: UtcDateTime()}  # noqa: RUF012


def table_of(mapped: type[Base]) -> Table:
    """The table behind a class, for statements on busy ways that need none of what a session does for objects."""
    return cast(Table, mapped.__table__)
