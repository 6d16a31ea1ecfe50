"""What the measure of a line of models takes: every model reads the held-out samples of each modality that it knows."""

from medcoss.specs import ForgettingSpec
from medcoss.specs.costs import Shape
from medcoss.specs.encoder import EncoderConfig
from medcoss.specs.footprint import FLOAT, Hardware, inference
from medcoss.specs.forgetting import labels
from services.core.forecast import BYTE, UNKNOWN_SIZES, Figure, Forecast, Work, forecast
from services.core.inputs import Inputs


@forecast.register
def _(spec: ForgettingSpec, found: Inputs, paths: list[str], hardware: Hardware) -> Forecast:
    models = [model for name in spec.models if (model := found.model(name)) is not None]
    datasets = [dataset for name in spec.datasets if (dataset := found.dataset(name)) is not None]
    named = dict(zip(labels(one.modality for one in datasets), datasets, strict=True))
    parts = {label: min(one.splits.get(spec.split, 0), spec.samples) for label, one in named.items()}
    passes, operations, parameters = 0, 0.0, 0
    memory: dict[str, int] = {}
    known = True
    for model in models:
        try:
            config = EncoderConfig(**model.config)
        except TypeError:
            known = False
            continue
        for label, one in named.items():
            if one.modality not in model.modalities:
                continue
            # the features, the masked passes, and what a probe learns from
            train = min(one.splits.get("train", 0), spec.probe_samples) if one.classes and not one.has_masks else 0
            count = parts[label] * (1 + spec.masks) + train * (spec.probe != "none")
            cost, held = inference(config, Shape.of(one.kind, one.sample_shape), "encoder", 0,
                                   min(spec.batch_size, max(count, 1)), hardware.on_gpu)  # fmt: skip
            passes, operations = passes + count, operations + count * cost.operations
            parameters, memory = max(parameters, cost.parameters), max(memory, held, key=lambda m: sum(m.values()))
    told = f"of the split '{spec.split}', at most {spec.samples} of each dataset"
    sizes = "counted from the models' sizes, of the largest one"
    reads = f"features, {spec.masks} masks, and samples that probes learn from"
    nothing = "nothing is trained" if not spec.fresh_steps else "steps of heads are not counted as steps of a training"
    return Forecast(
        samples=Figure(sum(parts.values()), "sample", told, parts),
        batches=Figure(-(-passes // spec.batch_size), "batch", f"{passes} samples pass one of {len(models)} "
                       f"models, {spec.batch_size} at once: {reads}"),
        steps=Figure(None, "step", nothing),
        parameters=Figure(parameters if known else None, "parameter", sizes if known else UNKNOWN_SIZES),
        memory=Figure(sum(memory.values()) if known else None, BYTE, sizes if known else UNKNOWN_SIZES, memory),
        storage=Figure(None, BYTE, "a table and a picture, some 100 kB; no checkpoints"),
        work=Work(passes, "sample", operations if known else None, 2 if hardware.on_gpu else FLOAT, modality=None),
    )  # fmt: skip
