"""Model cards (Mitchell et al., FAT* 2019): what a model is, what it was made from and how, and what was measured."""

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy.orm import Session

from medcoss.specs import EVERY_KIND
from services.core.lineage import ancestry
from services.core.lines import Stage, line_of
from services.core.scope import Scope
from services.core.tables import Dataset, Deployment, Evaluation, Job, Model

# of the newest evaluations
_EVALUATIONS = 20


def card_of(session: Session, scope: Scope, model: Model) -> dict[str, Any]:
    """The card of a model as plain data."""
    line = line_of(session, scope, model)
    graph = ancestry(session, scope, model.id)
    return {
        "id": model.id, "name": model.name, "notes": model.notes, "created_at": model.created_at.isoformat(),
        "task": model.task, "modality": model.modality, "modalities": model.info.get("modalities", []),
        "classes": model.info.get("classes"), "size": model.info.get("size"), "config": model.info.get("config", {}),
        "made_with": model.info.get("made_with", {}),
        "stages": [_stage(session, stage) for stage in line],
        "training": _settings(session, model.job_id),
        "data": [_data(session, node.id) | {"sha256": node.sha256} for node in graph.nodes if node.noun == "dataset"],
        "metrics": model.info.get("metrics", {}),
        "evaluations": _evaluations(session, scope, model.id),
        "forgetting": next((s.report for s in reversed(line) if s.report), None),
        "leakage": model.info.get("leakage", []),
        "deployments": _deployments(session, scope, model.id),
        "content_sha256": next((node.sha256 for node in graph.nodes if node.id == model.id), None),
        "erasures": next((list(node.erasures) for node in graph.nodes if node.id == model.id), []),
    }  # fmt: skip


def _stage(session: Session, stage: Stage) -> dict[str, Any]:
    return {
        "stage": stage.model.info.get("stage"), "model_id": stage.model.id, "name": stage.model.name,
        "learnt": stage.learnt, "datasets": stage.dataset_ids, "buffers": stage.buffer_ids,
        "settings": _settings(session, stage.model.job_id), "metrics": stage.model.info.get("metrics", {}),
        "made_with": stage.model.info.get("made_with", {}),
    }  # fmt: skip


def _settings(session: Session, job_id: str | None) -> dict[str, Any]:
    """What a job was asked for that is not at its default; nothing of a job that has been deleted."""
    job = session.get(Job, job_id) if job_id else None
    if job is None or job.kind not in EVERY_KIND:
        return {}
    fields = EVERY_KIND[job.kind].spec.model_fields
    given = {n: v for n, v in job.spec.items() if n in fields and v != _plain(fields[n].default)}
    # cards are passed on: how many were left out, not who
    given |= {name: len(given[name]) for name in ("without_patients", "without_files") if name in given}
    return {"job_id": job.id, "kind": job.kind, **given}


def _plain(default: Any) -> Any:
    return list(default) if isinstance(default, tuple) else default


def _data(session: Session, dataset_id: str) -> dict[str, Any]:
    row = session.get(Dataset, dataset_id)
    if row is None:
        return {"id": dataset_id, "deleted": True}
    info = row.info or {}
    return {
        "id": row.id, "name": row.name, "role": row.role, "modality": row.modality, "samples": info.get("samples"),
        "splits": info.get("splits"), "recipe": info.get("recipe", {}).get("name"), "files": row.file_count,
        "total_bytes": row.total_bytes, "settings": _settings(session, row.job_id),
    }  # fmt: skip


def _evaluations(session: Session, scope: Scope, model_id: str) -> list[dict[str, Any]]:
    mine = scope.select(Evaluation).where(Evaluation.model_id == model_id)
    newest = session.scalars(mine.order_by(Evaluation.created_at.desc(), Evaluation.id).limit(_EVALUATIONS))
    return [
        {"id": row.id, "task": row.task, "dataset": row.dataset_name, "dataset_id": row.dataset_id, "split": row.split,
         "headline": row.headline, "score": row.score, "interval": row.info.get("intervals", {}).get(row.headline)}
        for row in newest
    ]  # fmt: skip


def _deployments(session: Session, scope: Scope, model_id: str) -> list[str]:
    mine = scope.select(Deployment).where(Deployment.model_id == model_id).order_by(Deployment.id)
    return [f"{row.name}, version {row.version}" for row in session.scalars(mine)]


def markdown(card: dict[str, Any]) -> str:
    """A card for people."""
    parts = [f"# {card['name']}", "", card["notes"], ""] if card["notes"] else [f"# {card['name']}", ""]
    parts += _table(("", ""), [
        ("Id", card["id"]), ("Task", card["task"]), ("Reads", card["modality"]),
        ("Has learnt", ", ".join(card["modalities"]) or "nothing yet"), ("Classes", ", ".join(card["classes"] or [])),
        ("Size", card["size"]), ("Made", card["created_at"]), ("Made with", _pairs(card["made_with"])),
        ("SHA-256 of its files", card["content_sha256"]), ("Served as", "; ".join(card["deployments"])),
    ])  # fmt: skip
    if card["stages"]:
        parts += ["", "## Stages", ""]
        parts += _table(("Stage", "Model", "Learnt", "Data", "Rehearsal", "Settings"), [
            (s["stage"], s["model_id"], ", ".join(s["learnt"]), ", ".join(s["datasets"]), ", ".join(s["buffers"]),
             _pairs(_short(s["settings"])))
            for s in card["stages"]
        ])  # fmt: skip
    if card["task"] != "encoder":
        parts += ["", "## Training", "", _pairs(_short(card["training"])) or "not on record any more"]
    parts += ["", "## Data", ""]
    parts += _table(("Dataset", "Name", "Role", "Modality", "Samples", "Files", "Settings", "SHA-256 of its files"), [
        (d["id"], d.get("name", "deleted"), d.get("role"), d.get("modality"), d.get("samples"), d.get("files"),
         ", ".join(filter(None, (d.get("recipe"), _pairs(_short(d.get("settings", {})))))), d.get("sha256"))
        for d in card["data"]
    ])  # fmt: skip
    parts += _measured(card)
    if card["erasures"]:
        parts += ["", "## Erasures", "", f"It holds data that have to be erased: {', '.join(card['erasures'])}."]
    if card["leakage"]:
        parts += ["", "## Leakage", ""]
        parts += [f"- {one['patients']} patients in {one['measured_on']}: {one['reason']}" for one in card["leakage"]]
    return "\n".join(parts) + "\n"


def _measured(card: dict[str, Any]) -> list[str]:
    parts: list[str] = []
    if card["metrics"]:
        parts += ["", "## Metrics", "", *_table(("Name", "Value"), _numbers(card["metrics"]))]
    if card["evaluations"]:
        rows = [
            (e["id"], e["task"], e["dataset"], e["split"], f"{e['headline']} {e['score']:.4g}", _ends(e["interval"]))
            for e in card["evaluations"]
        ]
        parts += ["", "## Evaluations", ""]
        parts += _table(("Evaluation", "Task", "Dataset", "Split", "Score", "95 % interval"), rows)
    if card["forgetting"]:
        parts += ["", "## Forgetting", "", *_table(("Name", "Value"), _numbers(card["forgetting"]))]
    return parts


def _numbers(values: dict[str, float]) -> list[tuple[str, str]]:
    return [(name, f"{value:.4g}") for name, value in values.items()]


def _ends(interval: Sequence[float] | None) -> str:
    return f"{interval[0]:.4g} to {interval[1]:.4g}" if interval else ""


def _short(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings without what other columns tell."""
    told = {"kind", "dataset", "model", "init_model", "rehearsal", "output_name", "measured_on", "joint", "recipe"}
    return {name: value for name, value in settings.items() if name not in told}


def _pairs(values: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[str]:
    def line(cells: Sequence[Any]) -> str:
        shown = ("" if cell is None else str(cell).replace("|", "\\|").replace("\n", " ") for cell in cells)
        return f"| {' | '.join(shown)} |"

    return [line(head), "|" + "---|" * len(head), *(line(row) for row in rows)]
