"""Aliases of models: `@production` stands for one model of a project at a time, and every move is kept.

They belong to projects and not to names of models: what is promoted next often has another name, that of its stage.
"""

from collections.abc import Iterable, Sequence

from sqlalchemy import delete, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from services.core import gates, lineage
from services.core.errors import Conflict, FieldError, NotFound, ValidationFailed
from services.core.ids import new_id
from services.core.scope import Scope
from services.core.tables import Alias, Model, Promotion
from services.core.tables.base import now

MARK = "@"


def get(session: Session, project_id: str, name: str, *, for_update: bool = False) -> Alias:
    """The alias of a project, or NotFound."""
    asked = select(Alias).where(Alias.project_id == project_id, Alias.name == name)
    if for_update:
        asked = asked.with_for_update().execution_options(populate_existing=True)
    row = session.scalars(asked).first()
    if row is None:
        raise NotFound(f"there is no alias {name}")
    return row


def model_id(session: Session, scope: Scope, given: str) -> str:
    """The id that an alias such as `@production` stands for now; any other id as it is.

    Raises NotFound, and ValidationFailed when several of the caller's projects have such an alias.
    """
    return _alias(session, scope, given).model_id if given.startswith(MARK) else given


def _alias(session: Session, scope: Scope, given: str) -> Alias:
    named = scope.select(Alias).where(Alias.name == given.removeprefix(MARK))
    found = session.scalars(named.order_by(Alias.project_id).limit(2)).all()
    if not found:
        raise NotFound(f"there is no model {given}: no alias of this name")
    if len(found) > 1:
        detail = f"several projects have an alias {given}; say which"
        raise ValidationFailed(detail, [FieldError("query:project", detail)])
    return found[0]


def standing(session: Session, scope: Scope, given: str) -> list[str]:
    """The id that an alias such as `@production` stands for now, and those that going back would lead to; raises as
    `model_id` does.
    """
    alias = _alias(session, scope, given)
    stack = _stack(reversed(moves(session, alias.project_id, alias.name)))
    return list(dict.fromkeys([alias.model_id, *reversed(stack)]))


def resolved(session: Session, project_id: str, given: Iterable[str], *, hold: bool = True) -> dict[str, str]:
    """For each alias among ids of models, the model of the project that it stands for; those that exist.

    With `hold`, they stand for it until the transaction ends.
    """
    names = {value.removeprefix(MARK) for value in given if value.startswith(MARK)}
    if not names:
        return {}
    named = select(Alias).where(Alias.project_id == project_id, Alias.name.in_(names))
    if hold:
        named = named.with_for_update(read=True).execution_options(populate_existing=True)
    found = session.scalars(named)
    return {f"{MARK}{row.name}": row.model_id for row in found}


def promote(session: Session, project_id: str, name: str, model: str, actor: str, note: str = "",
            override: str | None = None) -> Alias:  # fmt: skip
    """Have the alias stand for a model of its project, from now on. Standing there already, nothing changes.

    ValidationFailed, naming `/model_id`, when the project has no such model; Conflict when the alias has a gate that
    the model does not pass, or when the model holds data that have to be erased, unless `override` says why it moves
    all the same.
    """
    # held: it is not deleted meanwhile
    row = Scope.of(project_id).find(session, Model, model, with_for_update={"read": True})
    if row is None:
        detail = f"model {model} does not exist in the alias's project"
        raise ValidationFailed(detail, [FieldError("/model_id", detail)])
    try:
        with session.begin_nested():
            alias = get(session, project_id, name, for_update=True)
    except NotFound:
        _refuse_marked(session, name, model, override)
        return _first(session, project_id, name, model, actor, note)
    if alias.model_id == model:
        return alias
    _refuse_marked(session, name, model, override)
    found = gates.check(session, alias, row)
    if not found.passes and override is None:
        raise Conflict(
            f"the gate of {MARK}{name} is closed to {model}: {'; '.join(found.refusals)}. Give an override with the "
            "reason to move it all the same",
            [FieldError("/model_id", refusal) for refusal in found.refusals],
        )
    needed = override if not found.passes or lineage.marks_of(session, [model]) else None
    return _move(session, alias, model, "promoted", actor, note, needed, found.report)


def _refuse_marked(session: Session, name: str, model: str, override: str | None) -> None:
    """Conflict for a model that holds data which have to be erased, unless it is said why it is used all the same."""
    marks = lineage.marks_of(session, [model]).get(model)
    if marks and override is None:
        detail = f"it holds data that have to be erased ({', '.join(marks)}); make it anew, and promote that model"
        raise Conflict(
            f"{MARK}{name} cannot move to {model}: {detail}. Give an override with the reason to move it all the same",
            [FieldError("/model_id", detail)],
        )


def _first(session: Session, project_id: str, name: str, model: str, actor: str, note: str) -> Alias:
    moment = now()
    alias = Alias(
        id=new_id("als"), project_id=project_id, name=name, model_id=model, note=note, promoted_by=actor,
        promoted_at=moment, created_at=moment,
    )  # fmt: skip
    try:
        with session.begin_nested():
            session.add(alias)
    except IntegrityError:
        # somebody else has made it at the same moment: this one comes after
        return promote(session, project_id, name, model, actor, note)
    _record(session, alias, "promoted", None, model, actor, note)
    return alias


def set_gate(session: Session, project_id: str, name: str, gate: gates.Gate | None) -> Alias:
    """Bound what the alias may move to from now on; None bounds nothing. It stays where it stands."""
    alias = get(session, project_id, name, for_update=True)
    alias.gate = None if gate is None else gate.stored()
    session.flush()
    return alias


def _move(session: Session, alias: Alias, model: str, action: str, actor: str, note: str,
          override: str | None = None, report: str | None = None) -> Alias:  # fmt: skip
    _record(session, alias, action, alias.model_id, model, actor, note, override, report)
    alias.model_id, alias.note, alias.promoted_by, alias.promoted_at = model, note, actor, now()
    session.flush()
    return alias


def _record(session: Session, alias: Alias, action: str, before: str | None, after: str | None, actor: str,
            note: str, override: str | None = None, report: str | None = None) -> None:  # fmt: skip
    session.add(
        Promotion(
            project_id=alias.project_id, alias=alias.name, action=action, from_id=before, to_id=after, actor=actor,
            note=note, override=override, report_id=report, at=now(),
        )
    )  # fmt: skip
    session.flush()


def roll_back(session: Session, project_id: str, name: str, actor: str, note: str = "") -> Alias:
    """Have the alias stand for the model before its present one; again, for the one before that.

    Conflict when there is none before, or when that was deleted.
    """
    alias = get(session, project_id, name, for_update=True)
    before = _before(reversed(moves(session, project_id, name)))
    if before is None:
        raise Conflict(f"{MARK}{name} has stood for {alias.model_id} alone; there is nothing to go back to")
    if Scope.of(project_id).find(session, Model, before, with_for_update={"read": True}) is None:
        raise Conflict(f"the model before, {before}, was deleted; promote another one")
    return _move(session, alias, before, "rolled_back", actor, note)


def moves(session: Session, project_id: str, name: str, *, limit: int | None = None) -> Sequence[Promotion]:
    """What has happened to an alias, newest first: the last `limit` moves."""
    mine = select(Promotion).where(Promotion.project_id == project_id, Promotion.alias == name)
    return session.scalars(mine.order_by(Promotion.seq.desc()).limit(limit)).all()


def _before(history: Iterable[Promotion]) -> str | None:
    """The model before the present one."""
    stack = _stack(history)
    return stack[-2] if len(stack) > 1 else None


def _stack(history: Iterable[Promotion]) -> list[str]:
    """The models, the present one on top: each promotion puts one there, and each way back takes one off."""
    stack: list[str] = []
    for move in history:
        if move.action == "removed":
            stack = []
        elif move.action == "rolled_back":
            stack.pop()
        elif move.to_id is not None:
            stack.append(move.to_id)
    return stack


def remove(session: Session, project_id: str, name: str, actor: str) -> None:
    """Give the alias up; its history stays."""
    alias = get(session, project_id, name, for_update=True)
    _record(session, alias, "removed", alias.model_id, None, actor, "")
    session.execute(delete(Alias).where(Alias.id == alias.id))
