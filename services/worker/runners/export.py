"""`export`: a model into Triton, checked against PyTorch's answers before anyone may use it."""

from pathlib import Path

from medcoss.export.export import export
from medcoss.specs import ExportSpec
from medcoss.specs.records import DeploymentInfo
from services.core.ids import new_id
from services.worker.context import WorkerRun
from services.worker.protocol import ChildJob, Output, ResultReport
from services.worker.runners.threads import limit_threads
from services.worker.triton import TritonRepository


def run(job: ChildJob, work: Path, context: WorkerRun) -> ResultReport:
    """Write the ONNX model, load it, compare, and hand the deployment over for registration."""
    spec = ExportSpec.model_validate(job.spec)
    limit_threads(context)
    with context.input(spec.model) as model:
        info = export(spec, model, work / "repository", context.settings.triton_backend, job.version, context)
    context.progress(2, 4, "loading into Triton")
    repository = TritonRepository(context.settings, context.store)
    repository.add(work / "repository" / info.triton_model)
    try:
        difference = repository.compare(info, work / "repository" / "golden.npz", spec.tolerance)
    except BaseException:
        repository.remove(info.triton_model)
        raise
    context.progress(4, 4, "served")
    context.log(f"largest difference to PyTorch over HTTP: {difference:.2e}")
    served: DeploymentInfo = info.model_copy(update={"max_difference": difference})
    output = Output(
        resource="deployment", id=new_id("dep"), name=spec.name, prefix=f"triton/{info.triton_model}", files=[],
        info=served.model_dump(mode="json"), model_id=spec.model,
    )  # fmt: skip
    return ResultReport(outputs=[output], metrics={"max_difference": difference})
