"""Where the time of one answer goes."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from services.core import tracing
from services.inference import metrics
from services.inference.schemas import TimingMs

STAGES = ("queue", "fetch", "decode", "preprocess", "infer", "postprocess")


@dataclass
class Timing:
    """Milliseconds of the stages of one answer: waiting for a turn, fetching what was named by reference, reading the
    file, preparing it, the model server, putting the answer together.
    """

    queue: float = 0.0
    fetch: float = 0.0
    decode: float = 0.0
    preprocess: float = 0.0
    infer: float = 0.0
    postprocess: float = 0.0
    started: float = field(default_factory=time.perf_counter)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time spent inside to one of STAGES."""
        before = time.perf_counter()
        try:
            with tracing.span(f"inference {name}"):
                yield
        finally:
            setattr(self, name, getattr(self, name) + (time.perf_counter() - before) * 1000)

    @property
    def total(self) -> float:
        """Time since the timing was made, and of waiting before."""
        return self.queue + (time.perf_counter() - self.started) * 1000

    def told(self, model: str) -> TimingMs:
        """The answer's timing, which is noted for the `model`, too."""
        spent = {name: round(getattr(self, name), 2) for name in STAGES}
        for name, value in spent.items():
            metrics.stage(model, name, value / 1000)
        return TimingMs(**spent, total=round(self.total, 2))
