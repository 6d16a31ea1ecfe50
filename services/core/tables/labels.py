"""What datasets, jobs and models are found by: tags, words of their names, tags and notes, and metrics of models.

The rows are an index: they go with what they belong to, and carry its project and its moment so that a list by tag or
metric is read off an index in its order.
"""

import re
import unicodedata
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import Float, ForeignKey, Index, String
from sqlalchemy.orm import Mapped, declared_attr, mapped_column

from services.core.tables.base import Base

KEY_LENGTH = 128
# compared byte by byte on every database, so that what begins alike stands together
Key = String(KEY_LENGTH).with_variant(String(KEY_LENGTH, collation="C"), "postgresql")
_WORD = re.compile(r"[^\W_]+")


def folded(text: str) -> str:
    """A text as it is compared: without regard to case and width of letters."""
    return unicodedata.normalize("NFKC", text).casefold()[:KEY_LENGTH]


def words(*texts: str, most: int = 500) -> list[str]:
    """The distinct words of texts as they are searched for, in order, at most `most`."""
    found = (word[:KEY_LENGTH] for text in texts for word in _WORD.findall(unicodedata.normalize("NFKC", text)))
    return list(dict.fromkeys(word.casefold()[:KEY_LENGTH] for word in found))[:most]


def _folded_name(context: Any) -> str:
    return folded(context.get_current_parameters()["name"])


class Named:
    """What has a name: a mixin of tables. `name_key` is the name as it is sorted and looked up; whoever changes the
    name changes both.
    """

    name: Mapped[str]
    name_key: Mapped[str] = mapped_column(Key, default=_folded_name)


class Tag:
    """A tag of something: a mixin of tables."""

    item_id: Mapped[str]
    tag: Mapped[str] = mapped_column(String(64), primary_key=True)
    project_id: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime]

    @declared_attr.directive
    def __table_args__(cls) -> Iterable[Index]:  # noqa: N805
        name = str(cls.__tablename__)  # type: ignore[attr-defined]
        return (
            Index(f"ix_{name}_tag", "tag", "created_at", "item_id"),
            Index(f"ix_{name}_project_tag", "project_id", "tag", "created_at", "item_id"),
        )


class Word:
    """A word of something's name, tags or notes: a mixin of tables."""

    item_id: Mapped[str]
    word: Mapped[str] = mapped_column(Key, primary_key=True)
    project_id: Mapped[str] = mapped_column(String(64))

    @declared_attr.directive
    def __table_args__(cls) -> Iterable[Index]:  # noqa: N805
        name = str(cls.__tablename__)  # type: ignore[attr-defined]
        return (
            Index(f"ix_{name}_word", "word", "item_id"),
            Index(f"ix_{name}_project_word", "project_id", "word", "item_id"),
        )


def _item(table: str) -> Mapped[str]:
    return mapped_column(ForeignKey(f"{table}.id", ondelete="CASCADE"), primary_key=True)


class JobTag(Tag, Base):
    """A tag of a job."""

    __tablename__ = "job_tags"
    item_id: Mapped[str] = _item("jobs")


class DatasetTag(Tag, Base):
    """A tag of a dataset."""

    __tablename__ = "dataset_tags"
    item_id: Mapped[str] = _item("datasets")


class ModelTag(Tag, Base):
    """A tag of a model."""

    __tablename__ = "model_tags"
    item_id: Mapped[str] = _item("models")


class JobWord(Word, Base):
    """A word that finds a job."""

    __tablename__ = "job_words"
    item_id: Mapped[str] = _item("jobs")


class DatasetWord(Word, Base):
    """A word that finds a dataset."""

    __tablename__ = "dataset_words"
    item_id: Mapped[str] = _item("datasets")


class ModelWord(Word, Base):
    """A word that finds a model."""

    __tablename__ = "model_words"
    item_id: Mapped[str] = _item("models")


class ModelMetric(Base):
    """A final number of a model, from its ModelInfo."""

    __tablename__ = "model_metrics"
    __table_args__ = (
        Index("ix_model_metrics_value", "name", "value", "model_id"),
        Index("ix_model_metrics_project_value", "project_id", "name", "value", "model_id"),
    )

    model_id: Mapped[str] = _item("models")
    name: Mapped[str] = mapped_column(String(128), primary_key=True)
    value: Mapped[float] = mapped_column(Float)
    project_id: Mapped[str] = mapped_column(String(64))
