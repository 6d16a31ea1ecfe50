"""Options that say nothing when training goes on from a model."""

from medcoss.run import RunContext
from medcoss.specs.base import Spec
from medcoss.specs.records import ModelInfo


def log_ignored(spec: Spec, model: ModelInfo, context: RunContext) -> None:
    """Log a warning for every option given that `init_model` has decided otherwise."""
    own = {"size": model.size} | {name: model.config.get(name) for name in ("attention", "positions")}
    for name, value in own.items():
        given = getattr(spec, name, value)
        if name in spec.model_fields_set and given != value:
            context.log(f"{name}={given!r} is ignored: init_model has {name} {value!r}", "warning")
