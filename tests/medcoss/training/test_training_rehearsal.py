"""The rehearsal buffer: which samples are kept of an earlier stage."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medcoss.data.shards import ShardReader
from medcoss.run import BadInput, LocalRun
from medcoss.specs.buffers import BuildBufferSpec
from medcoss.specs.plan import cluster_counts
from medcoss.training.choosing import Asked, Chosen, choose, refilled, select_nearest
from medcoss.training.rehearsal import build_buffer
from tests.medcoss.export.small_models import write_model
from tests.medcoss.training.small import DATASET, MODEL, reports, xrays


def spec(**more: object) -> BuildBufferSpec:
    return BuildBufferSpec(model=MODEL, dataset=DATASET, **more)  # type: ignore[arg-type]


def test_counts_are_the_published_ones_from_a_hundred_samples_on(parity: Path) -> None:
    rules = json.loads((parity / "rules.json").read_text())["buffer"]
    for size, expected in rules["size_table_num_center_0.01_ratio_0.05"].items():
        found = cluster_counts(int(size), 0.01, 0.05)
        if int(size) >= 100:
            assert found == (expected["num_clusters"], expected["per_cluster"]), size
        else:
            # published: no clusters, which fails
            assert found[0] == 1
            assert found[1] == max(int(int(size) * 0.05), 1)
    for case in rules["cases"].values():
        assert cluster_counts(2000, case["num_center"], case["buffer_ratio"]) == (
            case["num_clusters"], case["per_cluster"]
        )  # fmt: skip


@given(st.integers(1, 5000), st.floats(0.001, 1), st.floats(0.001, 1))
def test_there_is_always_something_to_keep(samples: int, centres: float, share: float) -> None:
    clusters, quota = cluster_counts(samples, centres, share)
    assert 1 <= clusters <= samples
    assert quota >= 1
    assert clusters * quota <= max(samples * share, clusters) + 1e-9


def test_selection_is_the_published_one(parity: Path) -> None:
    sys.path.insert(0, str(parity))
    try:
        import fill
    finally:
        sys.path.remove(str(parity))
    rules = json.loads((parity / "rules.json").read_text())["buffer"]
    made = rules["features"]
    values = fill.make_input("features", made["seed"], batch=made["N"], channels=made["D"],
                             length=made["true_clusters"])  # fmt: skip
    assert fill.sha256(values) == made["sha256"]
    golden = np.load(parity / "buffer.npz")
    for name, case in rules["cases"].items():
        chosen = select_nearest(values, golden[f"{name}_labels"], golden[f"{name}_centers"], case["per_cluster"])
        assert np.array_equal(chosen, golden[f"{name}_selected"]), name
        assert len(chosen) == case["selected"]


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 40), st.integers(1, 5), st.integers(1, 6), st.integers(0, 99))
def test_the_nearest_of_each_cluster_are_taken(count: int, clusters: int, quota: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    values, centres = rng.normal(size=(count, 3)), rng.normal(size=(clusters, 3))
    assignment = rng.integers(0, clusters, count)
    chosen = select_nearest(values, assignment, centres, quota)
    assert len(set(chosen)) == len(chosen)
    for cluster, centre in enumerate(centres):
        members = np.flatnonzero(assignment == cluster)
        taken = [i for i in chosen if assignment[i] == cluster]
        assert len(taken) == min(quota, len(members))
        distance = np.linalg.norm(values - centre, axis=1)
        left = set(members) - set(taken)
        assert list(distance[taken]) == sorted(distance[taken])
        assert not left or not taken or distance[taken].max() <= min(distance[list(left)])


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_what_small_clusters_cannot_give_comes_from_the_next_nearest(data: st.DataObject) -> None:
    clusters, quota = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 5))
    count = data.draw(st.integers(clusters * quota, 60))
    assignment = np.array(data.draw(st.lists(st.integers(0, clusters - 1), min_size=count, max_size=count)))
    # few different distances: ties are common
    distance = np.array(data.draw(st.lists(st.integers(0, 4), min_size=count, max_size=count)), dtype=np.float64)
    chosen = refilled(assignment, distance, clusters, quota)
    assert len(chosen) == len(set(chosen)) == clusters * quota
    for cluster in range(clusters):
        members = [i for i in range(count) if assignment[i] == cluster]
        nearest = sorted(members, key=lambda i: (distance[i], i))[:quota]
        assert set(nearest) <= set(chosen)
    first = [
        i
        for c in range(clusters)
        for i in sorted(np.flatnonzero(assignment == c), key=lambda i: (distance[i], i))[:quota]
    ]
    assert list(chosen[: len(first)]) == first, "the published selection comes first"
    rest = sorted(set(range(count)) - set(first), key=lambda i: (distance[i], i))
    assert list(chosen[len(first) :]) == rest[: clusters * quota - len(first)]


STRATEGIES = ("kmeans", "random", "herding", "farthest_point")


def blobs(seed: int, count: int = 300) -> np.ndarray:
    """Features in groups of very unequal sizes, with a few far away."""
    rng = np.random.default_rng(seed)
    group = rng.choice(6, count, p=[0.6, 0.2, 0.1, 0.05, 0.03, 0.02])
    return (rng.normal(0, 6, (6, 16))[group] + rng.normal(0, 1, (count, 16))).astype(np.float32)


def chosen(strategy: str, values: np.ndarray, clusters: int, quota: int, seed: int, folder: Path) -> Chosen:
    asked = Asked(clusters, quota, seed, LocalRun(folder))
    return choose(strategy, values.copy(), len(values), asked)  # type: ignore[arg-type]


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize(("clusters", "quota"), [(1, 1), (3, 7), (10, 30)])
def test_every_strategy_gives_so_many_different_samples_and_the_same_again(
    tmp_path: Path, strategy: str, clusters: int, quota: int
) -> None:
    values = blobs(0)
    # also where many samples are the same
    values[50:250] = values[50]
    first, again = (chosen(strategy, values, clusters, quota, 3, tmp_path).positions for _ in range(2))
    assert len(set(first.tolist())) == len(first) == clusters * quota
    assert list(first) == list(again)
    assert set(first.tolist()) <= set(range(len(values)))


@pytest.mark.parametrize("strategy", ["random", "farthest_point"])
def test_another_seed_chooses_others(tmp_path: Path, strategy: str) -> None:
    a, b = (set(chosen(strategy, blobs(0), 1, 20, seed, tmp_path).positions.tolist()) for seed in (0, 1))
    assert a != b


@pytest.mark.parametrize("strategy", ["herding", "farthest_point"])
def test_the_first_of_a_choice_are_the_choice_of_fewer(tmp_path: Path, strategy: str) -> None:
    many, few = (chosen(strategy, blobs(1), 1, count, 5, tmp_path).positions for count in (40, 15))
    assert list(many[:15]) == list(few)


def test_each_strategy_is_best_at_what_it_is_for(tmp_path: Path) -> None:
    """Over ten data sets: the mean of herding's samples, the reach of farthest point, the spread of k-means."""
    far_from_mean, radius, inertia = (dict.fromkeys(STRATEGIES, 0.0) for _ in range(3))
    for seed in range(10):
        values = blobs(seed)
        for name in STRATEGIES:
            kept = values[chosen(name, values, 20, 1, seed, tmp_path).positions]
            apart = np.linalg.norm(values[:, None] - kept[None], axis=2).min(axis=1)
            far_from_mean[name] += float(np.linalg.norm(kept.mean(axis=0) - values.mean(axis=0)))
            radius[name] += float(apart.max())
            inertia[name] += float(np.square(apart).sum())
    assert far_from_mean["herding"] < 0.2 * far_from_mean["random"]
    assert radius["farthest_point"] < 0.8 * radius["random"]
    assert min(inertia, key=lambda name: inertia[name]) == "kmeans"


def test_the_radius_of_farthest_point_is_at_most_twice_the_best(tmp_path: Path) -> None:
    values = np.array([[0.0], [1.0], [10.0], [11.0], [20.0]], np.float32)
    for seed in range(5):
        assert chosen("farthest_point", values, 1, 3, seed, tmp_path).metrics["radius"] <= 2 * 0.5


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("rehearsal") / "model", "encoder", ["xray", "report"])


def test_a_buffer_is_a_small_reproducible_part_of_the_training_split(tmp_path: Path, encoder: Path) -> None:
    data = xrays(tmp_path / "data", 24)
    made = []
    for name in ("a", "b"):
        run = LocalRun(tmp_path / "run")
        build_buffer(spec(centers_fraction=0.25, buffer_fraction=0.5), encoder, data, tmp_path / name, run)
        made.append(ShardReader(tmp_path / name))
    first, second = made
    assert first.rows == second.rows
    assert first.info.role == "buffer"
    assert first.info.samples == len(first)
    assert len(first) == 12
    assert {row.split for row in first.rows} == {"train"}
    assert len({row.id for row in first.rows}) == len(first)
    original = ShardReader(data)
    for i, row in enumerate(first.rows):
        assert np.array_equal(first.stored_image(i), original.stored_image(int(row.id)))
    assert first.info.recipe == original.info.recipe


def test_small_clusters_are_reported_and_the_buffer_has_its_size(tmp_path: Path, encoder: Path) -> None:
    # as many places as samples: no clustering of equal sizes would be an accident
    data, run = xrays(tmp_path / "data", 24), LocalRun(tmp_path / "run")
    info = build_buffer(spec(centers_fraction=0.25, buffer_fraction=1.0), encoder, data, tmp_path / "buffer", run)
    assert info.samples == 24
    assert {row.id for row in ShardReader(tmp_path / "buffer").rows} == {str(i) for i in range(24)}
    values = run.history[-1][1]
    assert (values["samples"], values["clusters"], values["quota"]) == (24, 6, 4)
    assert 0 < values["small_clusters"] < 6
    assert values["shortfall"] >= values["small_clusters"]
    assert (
        f"warning: {values['small_clusters']} of 6 clusters hold fewer than 4 samples; "
        f"the {values['shortfall']} missing are the next nearest of the others"
    ) in run.lines
    assert not list(tmp_path.glob(".features*")), "the features do not stay behind"


def test_padding_masks_of_others_do_not_choose_the_buffer(tmp_path: Path) -> None:
    # the published batches mix them up, so a sample's feature would depend on who shares its batch
    mixed = write_model(tmp_path / "model", "encoder", ["report"])
    config = json.loads((mixed / "config.json").read_text())
    config["config"]["attention"] = "published_batched"
    (mixed / "config.json").write_text(json.dumps(config))
    data = reports(tmp_path / "data", 30)
    for size in (1, 7):
        options = spec(centers_fraction=0.2, buffer_fraction=0.5, batch_size=size)
        build_buffer(options, mixed, data, tmp_path / f"buffer{size}", LocalRun(tmp_path / f"run{size}"))
    assert ShardReader(tmp_path / "buffer1").rows == ShardReader(tmp_path / "buffer7").rows


def test_a_buffer_of_reports(tmp_path: Path, encoder: Path) -> None:
    info = build_buffer(spec(buffer_fraction=0.5), encoder, reports(tmp_path / "data"), tmp_path / "buffer",
                        LocalRun(tmp_path / "run"))  # fmt: skip
    assert (info.modality, info.samples) == ("report", 8)
    assert ShardReader(tmp_path / "buffer").text(0)


def test_a_buffer_needs_an_encoder_that_knows_the_data(tmp_path: Path) -> None:
    other = write_model(tmp_path / "mr", "encoder", ["mr"])
    with pytest.raises(BadInput, match="has not learnt 'xray'"):
        build_buffer(spec(), other, xrays(tmp_path / "data"), tmp_path / "out", LocalRun(tmp_path / "run"))
    classifier = write_model(tmp_path / "classifier", "classification", ["xray"], ["a", "b"])
    with pytest.raises(BadInput, match=r"^model: .*expected an encoder"):
        build_buffer(spec(), classifier, xrays(tmp_path / "more"), tmp_path / "out", LocalRun(tmp_path / "run"))


@pytest.mark.parametrize("strategy", STRATEGIES[1:])
def test_a_buffer_by_another_strategy_has_the_size_of_the_published_one(
    tmp_path: Path, encoder: Path, strategy: str
) -> None:
    run = LocalRun(tmp_path / "run")
    options = spec(strategy=strategy, centers_fraction=0.25, buffer_fraction=0.5)
    info = build_buffer(options, encoder, xrays(tmp_path / "data", 24), tmp_path / "buffer", run)
    assert (info.role, info.samples, run.history[-1][1]["samples"]) == ("buffer", 12, 12)
    assert len({row.id for row in ShardReader(tmp_path / "buffer").rows}) == 12


def test_a_budget_is_shared_by_all_modalities_and_buffers_are_made_smaller_from_themselves(
    tmp_path: Path, encoder: Path
) -> None:
    data, run, size = xrays(tmp_path / "data", 24), LocalRun(tmp_path / "run"), 32 * 48
    alone = write_model(tmp_path / "alone", "encoder", ["xray"])
    options = spec(centers_fraction=0.25, buffer_fraction=0.5, buffer_budget_bytes=10 * size)
    first = build_buffer(options, alone, data, tmp_path / "first", run)
    # of 12 samples by the fraction, 10 fit in: one of each of 10 clusters, or more of fewer ones
    assert 6 <= first.samples <= 10
    second = build_buffer(options, encoder, tmp_path / "first", tmp_path / "second", run)
    assert second.samples <= 5
    kept = [{row.id for row in ShardReader(tmp_path / name).rows} for name in ("first", "second")]
    assert kept[1] < kept[0]
    stored = sum(f.stat().st_size for f in (tmp_path / "second").glob("*.b2nd"))
    assert stored <= 5 * size + 4096
    with pytest.raises(BadInput, match="buffer_budget_bytes: 2,000 bytes shared by 2 buffers do not hold one"):
        build_buffer(spec(buffer_budget_bytes=2000), encoder, data, tmp_path / "none", run)
    with pytest.raises(BadInput, match="give the prepared dataset that it was chosen from, or buffer_budget_bytes"):
        build_buffer(spec(), encoder, tmp_path / "first", tmp_path / "none", run)
