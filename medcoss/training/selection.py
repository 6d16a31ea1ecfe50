"""Which weights a run keeps: the last ones, their moving average, or those with the best validation score."""

from collections.abc import Callable
from typing import Any

from timm.utils import ModelEmaV3
from torch import Tensor, nn

from medcoss.specs.training import FinetuneOptions

Scores = Callable[[nn.Module], dict[str, float]]


class Selection:
    """Follows a run of `model` after every step; all of its state is in the checkpoints.

    `scores` gives the validation scores of a model, of which `metric` decides: of equal ones the later weights are
    kept. Averages and best weights are held where `main` says so, by the process that validates and stores.
    """

    def __init__(self, model: nn.Module, spec: FinetuneOptions, metric: str, scores: Scores | None, main: bool,
                 per_epoch: int) -> None:  # fmt: skip
        self.model, self.metric, self.scores, self.per_epoch = model, metric, scores, per_epoch
        self.patience, self.keeps_best = spec.early_stopping, spec.keep == "best"
        # the decay rises from 0, so that short runs do not hold on to the weights of the start
        average = spec.ema_decay is not None and main
        self.average = ModelEmaV3(model, decay=spec.ema_decay, use_warmup=True) if average else None
        self.ended, self.done, self.best_step, self.improved = False, 0, 0, 0
        self.best: float | None = None
        self.weights: dict[str, Tensor] | None = None

    @property
    def judged(self) -> nn.Module:
        """What is validated and stored: the moving average, if there is one."""
        return self.model if self.average is None else self.average.module

    def stepped(self, done: int) -> None:
        """Follow the weights after `done` optimizer steps."""
        self.done = done
        if self.average is not None:
            self.average.update(self.model, step=done)

    def validate(self) -> dict[str, float]:
        """Scores of the present weights as `val/...`, which are remembered if they are the best so far."""
        if self.scores is None:
            return {}
        found = self.scores(self.judged)
        value = found.get(self.metric)
        if value is not None and (self.best is None or value >= self.best):
            self.improved = self.done if self.best is None or value > self.best else self.improved
            self.best, self.best_step = value, self.done
            if self.keeps_best:
                self.weights = {n: t.detach().to("cpu", copy=True) for n, t in self.judged.state_dict().items()}
        waited = (self.done - self.improved) / self.per_epoch
        self.ended = self.patience is not None and waited >= self.patience
        return {f"val/{name}": number for name, number in found.items()}

    def state(self) -> dict[str, Any]:
        """All that `restore` needs."""
        average = None if self.average is None else self.average.module.state_dict()
        return {"best": self.best, "best_step": self.best_step, "improved": self.improved, "ended": self.ended,
                "weights": self.weights, "average": average}  # fmt: skip

    def restore(self, done: int, state: dict[str, Any]) -> None:
        """Go on from the state after `done` steps; a checkpoint of an earlier version has none."""
        self.done = done
        if not state:
            return
        self.best, self.best_step, self.improved = state["best"], state["best_step"], state["improved"]
        self.ended, self.weights = state["ended"], state["weights"]
        if self.average is not None and state["average"] is not None:
            self.average.module.load_state_dict(state["average"])

    def apply(self) -> str:
        """Bring the model to the weights that the run keeps; what they are, in words."""
        if self.weights is not None:
            self.model.load_state_dict(self.weights)
            return f"the weights of step {self.best_step} are kept, with the best val/{self.metric}: {self.best:.4f}"
        if self.average is not None:
            self.model.load_state_dict(self.average.module.state_dict())
        return "the last weights are kept"
