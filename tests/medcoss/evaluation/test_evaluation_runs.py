"""Several trainings added up: means, deviations, pooled folds, tables, pictures."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medcoss.evaluation.metrics import classification_scores
from medcoss.evaluation.runs import Ran, markdown, pooled, shown, spread, summarised
from medcoss.evaluation.runs_picture import draw_runs
from medcoss.specs.records import EvaluationInfo
from medcoss.specs.run_records import RunRecord


def ran(run: int, encoder: str | None, seed: int, **metrics: float) -> Ran:
    named = {name.replace("__", "/"): value for name, value in metrics.items()}
    record = RunRecord(run=run, encoder=encoder, seed=seed, model_id=f"mdl_{run}", metrics=named)
    return Ran(record, f"mdl_{encoder}", "tiny")


COMPARED = [
    ran(0, "scratch", 0, val__f1=0.5, test__f1=0.40, test__accuracy=0.5),
    ran(1, "scratch", 10, val__f1=0.6, test__f1=0.50, test__accuracy=0.6),
    ran(2, "continual", 0, val__f1=0.9, test__f1=0.70, test__accuracy=0.7),
    ran(3, "continual", 10, val__f1=0.8, test__f1=0.60, test__accuracy=0.7, test__auc=0.9),
]


def test_the_spread_is_that_of_a_sample() -> None:
    found = spread([1.0, 2.0, 4.0])
    assert (found.mean, found.sd) == (pytest.approx(7 / 3), pytest.approx(np.std([1, 2, 4], ddof=1)))
    assert (found.low, found.high, found.runs) == (1.0, 4.0, 3)
    assert spread([0.25]).sd is None


def test_encoders_are_compared_in_pairs_and_the_best_is_that_of_the_validation() -> None:
    info = summarised("classification", COMPARED)
    scratch, continual = info.groups
    assert scratch.difference == {}
    gain = continual.difference["test/f1"]
    assert (gain.mean, gain.sd) == (pytest.approx(0.2), pytest.approx(np.std([0.3, 0.1], ddof=1)))
    assert "test/auc" not in continual.difference and continual.metrics["test/auc"].runs == 1
    assert (info.best, info.decides) == (2, "val/f1")
    assert shown(info) == ["test/f1", "test/accuracy", "test/auc"], "what was measured on test comes before val"
    table = markdown(info)
    assert "| continual | tiny | 2 | 0.6500 ± 0.0707 | 0.7000 ± 0.0000 | 0.9000 |" in table
    assert "| continual | +0.2000 ± 0.1414 |" in table
    assert "| 3 | continual | 10 |  | mdl_3 | 0.6000 | 0.7000 | 0.9000 |" in table
    assert "Run 2 has the best val/f1." in table


def test_pooled_folds_are_scored_as_one() -> None:
    rng = np.random.default_rng(0)
    labels = np.array([0, 1, 1, 0, 1, 0])
    chances = rng.dirichlet((1, 1), 6).round(6)
    rows = [{"source": f"{i}", "label": "ab"[n], "probabilities": p.tolist()}
            for i, (n, p) in enumerate(zip(labels, chances, strict=True))]  # fmt: skip
    folds = [EvaluationInfo(metrics={}, classes=["a", "b"], cases=rows[i::2]) for i in range(2)]
    found = pooled("classification", 5, folds)
    order = [0, 2, 4, 1, 3, 5]
    assert found.metrics == pytest.approx(classification_scores(chances[order], labels[order]), abs=1e-6)
    assert found.confusion is not None
    assert (found.cases, np.sum(found.confusion)) == (6, 6)
    masks = [
        EvaluationInfo(metrics={}, classes=["liver", "tumour"], cases=[
            {"case": f"{fold}", "class": "liver", "dice": 0.9, "hd95_mm": 2.0, "empty": None},
            {"case": f"{fold}", "class": "tumour", "dice": 0.1 * fold, "hd95_mm": None, "empty": "predicted"},
        ]) for fold in range(2)
    ]  # fmt: skip
    of_masks = pooled("segmentation", 0, masks)
    assert of_masks.cases == 2
    assert of_masks.metrics == pytest.approx(
        {"dice": 0.475, "dice/liver": 0.9, "dice/tumour": 0.05, "hd95_mm": 2.0, "hd95_mm/liver": 2.0}
    )


def test_a_picture_shows_every_score(tmp_path: Path) -> None:
    draw_runs(summarised("classification", COMPARED), tmp_path / "runs.png")
    one = summarised("segmentation", [ran(0, None, 0, val__dice=0.5)])
    draw_runs(one, tmp_path / "one.png")
    wide, small = (Image.open(tmp_path / name).size for name in ("runs.png", "one.png"))
    assert wide[0] > 2 * small[0] > 0
