"""Several trainings added up: their scores as a table, a picture and JSON."""

from pathlib import Path

from medcoss.evaluation.runs import HELD_OUT, Ran, markdown, summarised
from medcoss.evaluation.runs_picture import draw_runs
from medcoss.specs import CompareSpec, FinetuneRunSpec, FinetuneSpec
from medcoss.specs.records import EvaluationInfo
from medcoss.specs.run_records import RunRecord
from services.worker.context import WorkerRun
from services.worker.protocol import ChildJob, ResultReport, ShareRecord

CASES = f"{HELD_OUT}-evaluation.json"


def added_up(job: ChildJob, spec: FinetuneSpec | CompareSpec, work: Path, context: WorkerRun) -> ResultReport:
    """Put what the child jobs have reached together; with folds, their cases, too."""
    ran = sorted((_ran(share, spec, context) for share in job.shares), key=lambda one: one.record.run)
    info = summarised(spec.task, ran)
    name = "comparison" if isinstance(spec, CompareSpec) else "runs"
    work.mkdir(parents=True, exist_ok=True)
    (work / f"{name}.json").write_text(info.model_dump_json(indent=1))
    (work / f"{name}.md").write_text(markdown(info), encoding="utf-8")
    draw_runs(info, work / f"{name}.png")
    for ending, content_type in (("json", "application/json"), ("md", "text/markdown"), ("png", "image/png")):
        context.artifact(work / f"{name}.{ending}", f"{name}.{ending}", content_type)
    first = info.groups[0]
    if isinstance(spec, CompareSpec):
        metrics = {f"{g.encoder}/{name}": spread.mean for g in info.groups for name, spread in g.metrics.items()}
    else:
        metrics = {name: spread.mean for name, spread in first.metrics.items()}
    context.progress(len(ran), len(ran), "added up")
    best = None if info.best is None else info.runs[info.best].model_id
    return ResultReport(metrics=metrics, runs=info.model_dump(mode="json"), best_model=best)


def _ran(share: ShareRecord, spec: FinetuneSpec | CompareSpec, context: WorkerRun) -> Ran:
    run, outputs = FinetuneRunSpec.model_validate(share.spec), share.result["outputs"]
    record = RunRecord(
        run=run.run, encoder=run.encoder, seed=run.seed, fold=run.fold, job_id=share.job_id,
        model_id=outputs["model"], evaluation_id=outputs.get("evaluation", ""), metrics=share.result["metrics"],
    )  # fmt: skip
    cases = None
    if run.fold is not None:
        cases = EvaluationInfo.model_validate_json(context.store.get_bytes(share.artifacts[CASES]))
    return Ran(record, run.init_model, share.size, cases)
