"""What does not fit together in what is to be served, as far as the description of the model tells."""

from collections.abc import Iterator

from medcoss.specs.export import ExportSpec
from medcoss.specs.fit import Misfit
from medcoss.specs.records import ModelInfo


def exporting(spec: ExportSpec, model: ModelInfo) -> Iterator[Misfit]:
    """What is served has one modality whose preprocessing is known."""
    known = model.modalities if model.task == "encoder" else [model.modality]
    names = ", ".join(known)
    if not known:
        yield Misfit("model", "this encoder has learnt no modality yet; pre-train a stage on one first")
        return
    if spec.modality is None and len(known) > 1:
        yield Misfit("modality", f"this encoder has learnt several modalities ({names}); name the one to serve")
        return
    if spec.modality is not None and spec.modality not in known:
        what = "encoder has learnt" if model.task == "encoder" else f"{model.task} model reads"
        yield Misfit("modality", f"this {what} {names}, not '{spec.modality}'; name one of them")
        return
    modality = served_modality(spec, model)
    if not served_recipe(model, modality):
        yield Misfit(
            "model",
            f"the model does not say how '{modality}' was preprocessed; go on training it on a prepared dataset first",
        )


def served_modality(spec: ExportSpec, model: ModelInfo) -> str:
    """The modality whose input is exported, of a model that fits."""
    return spec.modality or (model.modalities[0] if model.task == "encoder" else model.modality)


def served_recipe(model: ModelInfo, modality: str) -> dict[str, object]:
    """How a modality was preprocessed; empty when the model does not say.

    Of a fine-tuned model that is how its own data was, not that of the encoder that it was made of.
    """
    if model.task != "encoder":
        return model.recipe if modality == model.modality else {}
    return model.recipes.get(modality) or (model.recipe if modality == model.modality else {})
