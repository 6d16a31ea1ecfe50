"""The rehearsal buffer: cluster counts, distances, and which samples are chosen."""

import re
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from medcoss.run import LocalRun
from medcoss.specs.plan import cluster_counts
from medcoss.training.choosing import select_nearest
from medcoss.training.clustering import cluster, own_distances
from tests.parity.models import Models
from tests.parity.report import EXACT, VALUES, Check, Limit

_TABLE = re.compile(r"size_table_num_center_(?P<centers>[\d.e-]+)_ratio_(?P<ratio>[\d.e-]+)$")
_INERTIA = Limit("rel", 1e-5)


def check_buffer(check: Check, models: Models) -> None:
    """Selected indices of every case, from the given assignment and centres."""
    told = check.arguments
    told = told if "features" in told else check.goldens.json("rules.json")["buffer"]
    given = told["features"]
    values = check.goldens.fill.make_input(
        "features", given["seed"], batch=given["N"], channels=given["D"], length=given["true_clusters"]
    )
    check.equal("features: sha256", check.goldens.fill.sha256(values), given["sha256"])
    if "features_check" in check.golden:
        rows = check.golden.shape("features_check")[0]
        check.compare("features_check", values[:rows], EXACT)
    for name, case in told["cases"].items():
        _case(check, name, case, values)
    check_size_tables(check, told)


def _case(check: Check, name: str, case: dict[str, Any], values: np.ndarray) -> None:
    labels, centres = check.golden.array(f"{name}_labels"), check.golden.array(f"{name}_centers")
    clusters, quota = cluster_counts(len(values), case["num_center"], case["buffer_ratio"])
    check.equal(f"{name}: clusters, quota", [clusters, quota], [case["num_clusters"], case["per_cluster"]])
    sizes = np.bincount(labels, minlength=len(centres)).tolist()
    check.equal(f"{name}: cluster_sizes", sizes, case["cluster_sizes"])
    distances = own_distances(values, labels, centres)
    golden = check.golden.array(f"{name}_distances")
    check.within(f"{name}_distances", float(np.abs(distances - golden).max() / golden.mean()), VALUES)
    inertia = float((distances.astype(np.float64) ** 2).sum())
    given = case["inertia_random_state0_n_init1"]
    check.within(f"{name}: inertia of the given centres", abs(inertia / given - 1), _INERTIA)
    if "inertia_best_of_10" in case:
        with tempfile.TemporaryDirectory() as work:
            ours = cluster(values.copy(), clusters, 0, LocalRun(Path(work))).inertia
        # another algorithm from another start: no number of ours has to be equal
        best = case["inertia_best_of_10"]
        check.note(f"{name}: inertia_best_of_10", f"{best:.6g}; our clustering {ours:.6g} ({ours / best - 1:+.1%})")
    chosen = select_nearest(values, labels, centres, case["per_cluster"])
    check.equal(f"{name}: selected", len(chosen), case["selected"])
    check.compare(f"{name}_selected", chosen, EXACT)
    check.compare(f"{name}_selected_cluster", labels[chosen], EXACT)


def check_size_tables(check: Check, told: dict[str, Any]) -> None:
    """Clusters and quota for many sizes of a data set."""
    for key, table in told.items():
        match = _TABLE.match(key)
        if match is None:
            continue
        fractions = float(match["centers"]), float(match["ratio"])
        wrong = []
        for size, row in table.items():
            expected = (row["num_clusters"], row["per_cluster"])
            # no cluster at all, and the published code fails; ours makes one
            if expected[0] == 0:
                expected = (1, max(int(int(size) * fractions[1]), 1))
            if cluster_counts(int(size), *fractions) != expected:
                wrong.append(size)
        check.equal(f"{key}, {len(table)} sizes", wrong, [])
