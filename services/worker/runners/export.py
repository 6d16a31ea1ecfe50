"""`export`: a model into Triton, checked against PyTorch's answers before anyone may use it."""

from contextlib import ExitStack
from pathlib import Path

from medcoss.export.export import export
from medcoss.run import BadInput
from medcoss.specs import ExportSpec
from medcoss.specs.records import GOLDEN, DeploymentInfo
from services.core.served_names import triton_name
from services.worker.context import WorkerRun
from services.worker.protocol import ChildJob, DeploymentOutput, ResultReport
from services.worker.runners.threads import limit_threads
from services.worker.triton import TritonRepository


def run(job: ChildJob, work: Path, context: WorkerRun) -> ResultReport:
    """Write the ONNX model, load it, compare, and hand the deployment over for registration."""
    spec = ExportSpec.model_validate(job.spec)
    limit_threads(context)
    # a folder of its own in Triton's repository: earlier versions go on serving whatever becomes of this one
    own = spec.model_copy(update={"name": triton_name(spec.name, job.version)})
    with ExitStack() as stack:
        model = stack.enter_context(context.input(spec.model))
        dataset = stack.enter_context(context.input(job.golden)) if job.golden else None
        info = export(
            own, model, work / "repository", context.settings.triton_backend, job.version, context, dataset
        )  # fmt: skip
    context.progress(2, 4, "loading into Triton")
    repository = TritonRepository(context.settings, context.store)
    folder = work / "repository" / info.triton_model
    try:
        repository.add(folder)
        difference = repository.compare(info, folder / GOLDEN, info.tolerance)
    except BadInput as error:
        repository.remove(info.triton_model)
        raise BadInput(error.message, "/spec/tolerance") from error
    except BaseException:
        repository.remove(info.triton_model)
        raise
    context.progress(4, 4, "served")
    context.log(f"largest difference to PyTorch over HTTP, on {info.golden} inputs: {difference:.2e}")
    served: DeploymentInfo = info.model_copy(update={"name": spec.name, "max_difference": difference})
    output = DeploymentOutput(
        id=job.output_id, name=spec.name, prefix=f"triton/{info.triton_model}", info=served, model_id=spec.model,
        activate=spec.activate,
    )  # fmt: skip
    return ResultReport(outputs=[output], metrics={"max_difference": difference})
