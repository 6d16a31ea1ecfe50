"""The spans of a training: one a phase, few for its steps, and none of them missing at the end."""

from types import SimpleNamespace
from typing import Any

import pytest

from services.worker import phases
from services.worker.phases import STEPS_S, Phases


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    made: list[tuple[str, dict[str, Any]]] = []
    monkeypatch.setattr(phases.tracing, "past", lambda name, seconds, **known: made.append((name, known)))
    return made


def test_steps_come_in_bundles_and_all_are_told(
    spans: list[tuple[str, dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr(phases, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    training = Phases()
    training.progress("training")
    # it goes on from a checkpoint
    for step in range(24, 64, 4):
        clock[0] += STEPS_S / 4
        training.metrics(step, {"loss": 1.0, "samples_per_s": float(step)})
    training.progress("clustering")
    training.end()
    training.end()
    steps = [known for name, known in spans if name == "steps"]
    assert [(s.get("first_step"), s["last_step"]) for s in steps] == [(None, 24), (25, 40), (41, 56), (57, 60)]
    assert steps[-1]["samples_per_s"] == 60
    assert [name for name, _ in spans if name != "steps"] == ["stage training", "stage clustering"]
