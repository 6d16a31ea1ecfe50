"""Names that stand for models, every move of theirs, and what each dataset and model was made from."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, ForeignKey, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from services.core.tables.base import Base, Counter, Id, list_indexes, now
from services.core.tables.projects import Owned


class Alias(Owned, Base):
    """A name of a project that stands for one of its models at a time, such as `production`; `gate` has the bounds of a
    forgetting report that lets it move (`services.core.gates`).
    """

    __tablename__ = "aliases"
    __table_args__ = (
        UniqueConstraint("project_id", "name"),
        Index("ix_aliases_created", "created_at", "id"),
        Index("ix_aliases_project", "project_id", "created_at", "id"),
        *list_indexes("aliases", ("model_id",), ("name", "promoted_at")),
    )

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    name: Mapped[str] = mapped_column(String(64))
    model_id: Mapped[str] = mapped_column(ForeignKey("models.id"))
    note: Mapped[str] = mapped_column(Text, default="")
    promoted_by: Mapped[str] = mapped_column(String(128))
    promoted_at: Mapped[datetime] = mapped_column(default=now)
    gate: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    created_at: Mapped[datetime] = mapped_column(default=now)


class Promotion(Base):
    """One move of an alias: `action` is promoted, rolled_back or removed. Rows are only added; they outlive models.

    `report_id` is the forgetting report that its gate has looked at, `override` why it moved against that.
    """

    __tablename__ = "promotions"
    __table_args__ = (
        Index("ix_promotions_alias", "project_id", "alias", "seq"),
        # lists
        Index("ix_promotions_by_at", "project_id", "alias", "at", "seq"),
        *(Index(f"ix_promotions_by_{name}", "project_id", "alias", name, "at", "seq")
          for name in ("action", "actor", "to_id")),
    )  # fmt: skip

    seq: Mapped[int] = mapped_column(Counter, primary_key=True, autoincrement=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"))
    alias: Mapped[str] = mapped_column(String(64))
    action: Mapped[str] = mapped_column(String(16))
    from_id: Mapped[str | None] = mapped_column(Id)
    to_id: Mapped[str | None] = mapped_column(Id)
    actor: Mapped[str] = mapped_column(String(128))
    note: Mapped[str] = mapped_column(Text, default="")
    override: Mapped[str | None] = mapped_column(Text)
    report_id: Mapped[str | None] = mapped_column(Id)
    at: Mapped[datetime] = mapped_column(default=now)


class Lineage(Base):
    """`child_id` was made from `input_id`, whatever has become of the job that did it."""

    __tablename__ = "lineage"

    child_id: Mapped[str] = mapped_column(Id, primary_key=True)
    input_id: Mapped[str] = mapped_column(Id, primary_key=True, index=True)
