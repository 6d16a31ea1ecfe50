"""Forecasts of what reads a whole dataset once: `build_buffer`, `embed` and `predict` jobs."""

from dataclasses import replace

from medcoss.specs import BuildBufferSpec, EmbedSpec, PredictSpec, fit
from medcoss.specs.footprint import CHECKPOINTS, FLOAT, Hardware
from medcoss.specs.plan import all_batches, buffer_counts
from medcoss.specs.records import DatasetInfo
from services.core.forecast import BYTE, Figure, Forecast, blank, forecast, reading
from services.core.inputs import Inputs


@forecast.register
def _(spec: BuildBufferSpec, found: Inputs, paths: list[str], hardware: Hardware) -> Forecast:
    dataset, model = found.dataset(spec.dataset), found.model(spec.model)
    assert dataset is not None and model is not None
    count = dataset.splits.get("train", 0)
    clusters, quota = buffer_counts(dataset, spec, len(model.modalities))
    chosen, by_clusters = clusters * quota, spec.strategy == "kmeans"
    parameters, memory, work = reading(model, dataset, count, spec.batch_size, hardware.on_gpu)
    stored = found.datasets[spec.dataset].total_bytes
    width = int(model.config.get("dim", 0))
    if spec.strategy == "random":
        # no sample is looked at
        work = replace(work, operations=0.0)
    else:
        work = replace(work, choosing=float(count) * (clusters if by_clusters else chosen) * width)
    kept = round(stored * chosen / max(dataset.samples, 1))
    parts = {"buffer": kept, "features": 0 if spec.strategy == "random" else CHECKPOINTS * FLOAT * count * width}
    few = by_clusters and dataset.role == "prepared" and int(count * spec.centers_fraction) < 1
    return Forecast(
        samples=Figure(count, "sample", f"training samples of the dataset, of which {chosen} are chosen: "
                       + (f"{clusters} clusters, {quota} samples each" if by_clusters else f"by {spec.strategy}")),
        batches=Figure(all_batches(count, spec.batch_size), "batch", f"{spec.batch_size} samples at once, each once"),
        steps=blank("step", "nothing is trained"),
        parameters=parameters, memory=memory, work=work,
        storage=Figure(sum(parts.values()), BYTE, f"the dataset's {stored:,} bytes by the share of samples that is "
                       "chosen, and up to three checkpoints of the features while it runs", parts),
        warnings=(fit.Misfit("centers_fraction", f"{spec.centers_fraction:g} of {count} samples is not one centre; one "
                             "is taken, which says little of what the data hold"),) * few,
    )  # fmt: skip


@forecast.register
def _(spec: EmbedSpec, found: Inputs, paths: list[str], hardware: Hardware) -> Forecast:
    dataset, model = found.dataset(spec.dataset), found.model(spec.model)
    assert dataset is not None and model is not None
    count = dataset.splits.get(spec.split, 0) if spec.split else dataset.samples
    parameters, memory, work = reading(model, dataset, count, spec.batch_size, hardware.on_gpu)
    vectors = FLOAT * count * int(model.config.get("dim", 0))
    parts = {"vectors": 2 * vectors, "features": CHECKPOINTS * vectors}
    return Forecast(
        samples=Figure(count, "sample", f"samples of the split '{spec.split}'" if spec.split else "all samples"),
        batches=Figure(all_batches(count, spec.batch_size), "batch", f"{spec.batch_size} samples at once, each once"),
        steps=blank("step", "nothing is trained"), parameters=parameters, memory=memory, work=work,
        storage=Figure(sum(parts.values()), BYTE, "the vectors as Parquet and as npy, one a sample, and up to three "
                       "checkpoints of them while it runs; of volumes fewer are kept, one a study", parts),
    )  # fmt: skip


@forecast.register
def _(spec: PredictSpec, found: Inputs, paths: list[str], hardware: Hardware) -> Forecast:
    dataset, model = found.dataset(spec.dataset), found.model(spec.model)
    assert model is not None
    files = found.datasets[spec.dataset].file_count
    unit = "file" if dataset is None else "sample"
    count = files if dataset is None else dataset.splits.get(spec.split, 0) if spec.split else dataset.samples
    seen = DatasetInfo(modality=model.modality, kind=model.kind, samples=count, splits={}, recipe=model.recipe,
                       sample_shape=model.sample_shape)  # fmt: skip
    parameters, memory, work = reading(model, dataset or seen, count, spec.batch_size, hardware.on_gpu)
    how = f"{files} files of the dataset, at most as many images or volumes" if dataset is None else "samples"
    batches = blank("batch", "how many windows a file has is known once it is read")
    if dataset is not None:
        batches = Figure(all_batches(count, spec.batch_size), "batch", f"{spec.batch_size} samples at once, each once")
    return Forecast(
        samples=Figure(count, unit, how), batches=batches, steps=blank("step", "nothing is trained"),
        parameters=parameters, memory=memory, work=replace(work, unit=unit),
        storage=blank(BYTE, "a table, and of a segmenter a mask a file, whose sizes depend on what is found"),
    )  # fmt: skip
