"""The engine: the same bytes however the work is divided, interrupted or killed, in memory that does not grow."""

import json
import random
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from medcoss.data.shards import ShardReader
from medcoss.preprocess.engine import parts, produce
from medcoss.preprocess.engine.pool import TaskFailed
from medcoss.preprocess.raw import NotBrought
from medcoss.preprocess.run import merge_chunks, preprocess, preprocess_chunk
from medcoss.run import BadInput, LocalRun, Stopped, sha256_file
from medcoss.specs.recipes.base import RecipeSpec
from medcoss.specs.records import DatasetInfo
from tests.medcoss.preprocess import odd_recipe
from tests.medcoss.preprocess.files import Outline, put
from tests.medcoss.preprocess.odd_recipe import Odd, Surveyed, options

WORDS = ("ok 2", "ok 1", "bad 1", "ok 3", "left 2", "ok 0", "ok 1")


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """A hundred files, each with a content of its own."""
    for i in range(100):
        put(tmp_path / "many" / f"p{i % 30:02}_{i:03}.txt", f"{WORDS[i % 7]} {i}".encode())
    put(tmp_path / "many" / "notes.md", b"hello")
    return tmp_path / "many"


def run(raw: Path, out: Path, processes: int | None = 1, salt: bytes = b"", **more: Any) -> DatasetInfo:
    return preprocess(options(**more), raw, out / "made" / "dataset", LocalRun(out / "run"), salt=salt,
                      processes=processes)  # fmt: skip


def made(out: Path) -> dict[str, str]:
    """Hashes of the dataset and of the report."""
    return {p.relative_to(out).as_posix(): sha256_file(p) for p in (out / "made").rglob("*") if p.is_file()}


def report(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "run" / "artifacts" / "report.json").read_text())
    return found


def killed_run(raw: Path, out: Path, part_bytes: int, dots: int) -> str | None:
    """A run that is killed after so many reports of progress; what it has said last, None when it was killed."""
    command = [sys.executable, "-m", "tests.medcoss.preprocess.one_run", str(raw), str(out), str(part_bytes)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        while byte := process.stdout.read(1):
            dots -= byte == b"."
            if not dots:
                process.kill()
            if byte == b"\n":
                return process.stdout.read().decode()
        assert process.wait() < 0, "it has failed"
        return None


# the same bytes


def test_processes_and_parts_do_not_change_a_byte(many: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = run(many, tmp_path / "1")
    monkeypatch.setattr(parts, "PART_BYTES", 3000)
    run(many, tmp_path / "2", 2)
    monkeypatch.setattr(produce, "BATCH_ITEMS", 3)
    run(many, tmp_path / "3", 3)
    assert made(tmp_path / "1") == made(tmp_path / "2") == made(tmp_path / "3")
    assert len(list((tmp_path / "3" / "run" / "parts").iterdir())) > 5
    reader, told = ShardReader(tmp_path / "3" / "made" / "dataset"), report(tmp_path / "3")
    assert info.samples == len(reader) == sum((2, 1, 0, 3, 0, 0, 1)[i % 7] for i in range(100))
    assert (told["inputs"], len(told["bad_files"]), len(told["left_out"])) == (100, 14, 14)
    assert told["ignored"] == ["notes.md"]
    assert [row.source for row in reader.rows] == sorted(row.source for row in reader.rows)
    # nothing of an item that failed halfway is left
    assert not {row.source for row in reader.rows} & {bad["path"] for bad in told["bad_files"]}


def test_a_run_that_is_killed_again_and_again_ends_with_the_same_bytes(many: Path, tmp_path: Path) -> None:
    run(many, tmp_path / "calm")
    draw = random.Random(5)
    kills = 0
    while (said := killed_run(many, tmp_path / "hunted", 1000, draw.randint(5, 12))) is None:
        kills += 1
    assert kills >= 2, said
    assert made(tmp_path / "hunted") == made(tmp_path / "calm")
    kept = [part for p in (tmp_path / "hunted/run/parts").iterdir() if (part := parts.Part.named(p.name))]
    assert sum(part.end - part.first for part in kept) == 100, "every item was made once"


@pytest.mark.parametrize("chunks", [1, 3, 7])
def test_merged_chunks_are_the_dataset_of_one_run(many: Path, tmp_path: Path, chunks: int) -> None:
    run(many, tmp_path / "whole", salt=b"s")
    found = []
    for chunk in range(chunks):
        folder = tmp_path / f"chunk{chunk}"
        found += preprocess_chunk(options(), many, chunk, chunks, folder, LocalRun(folder), processes=1)
    context = LocalRun(tmp_path / "merged" / "run")
    random.Random(1).shuffle(found)
    merge_chunks(options(), many, found, tmp_path / "merged" / "made" / "dataset", context, salt=b"s")
    assert made(tmp_path / "merged") == made(tmp_path / "whole")
    if chunks > 1:
        with pytest.raises(ValueError, match=r"do not follow|the parts hold"):
            merge_chunks(options(), many, found[1:], tmp_path / "less" / "dataset", context)


@pytest.mark.parametrize("recipe", [Odd(), Surveyed()])
def test_a_chunk_needs_the_files_of_its_own_part_alone(many: Path, tmp_path: Path, recipe: RecipeSpec) -> None:
    run(many, tmp_path / "whole", recipe=recipe)
    # one store of parts, as chunks of one job have
    context = LocalRun(tmp_path / "merged" / "run")
    names = sorted(path.name for path in many.glob("*.txt"))
    for chunk in range(4):
        outline = Outline(many, tmp_path / f"raw{chunk}")
        preprocess_chunk(options(recipe=recipe), outline.folder, chunk, 4, tmp_path / f"chunk{chunk}", context,
                         bring=outline.bring)  # fmt: skip
        surveys = isinstance(recipe, Surveyed) and chunk == 0
        assert sorted(outline.brought) == (names if surveys else names[25 * chunk : 25 * (chunk + 1)])
    outline = Outline(many, tmp_path / "raw")
    preprocess(options(recipe=recipe), outline.folder, tmp_path / "merged" / "made" / "dataset", context,
               bring=outline.bring)  # fmt: skip
    assert outline.brought == set(), "the parts hold all"
    assert made(tmp_path / "merged") == made(tmp_path / "whole")


def test_archives_are_brought_whole(many: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(many / "more.zip", "w") as archive:
        archive.writestr("p99_100.txt", "ok 2")
    run(many, tmp_path / "whole")
    outline = Outline(many, tmp_path / "raw")
    preprocess(options(), outline.folder, tmp_path / "out" / "made" / "dataset", LocalRun(tmp_path / "out" / "run"),
               bring=outline.bring)  # fmt: skip
    assert made(tmp_path / "out") == made(tmp_path / "whole")


def test_a_recipe_that_reads_what_its_item_does_not_name_ends_the_chunk(
    many: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it would read a file of which only the size is there."""
    monkeypatch.setattr(odd_recipe, "make", lambda spec, item, raw: raw.read("notes.md"))
    outline = Outline(many, tmp_path / "raw")
    with pytest.raises(NotBrought, match=r"notes\.md is read for an item that does not name it"):
        preprocess_chunk(options(), outline.folder, 0, 4, tmp_path / "chunk", LocalRun(tmp_path / "run"), processes=1,
                         bring=outline.bring)  # fmt: skip


# memory


def test_memory_does_not_grow_with_the_number_of_files(tmp_path: Path) -> None:
    peaks = {}
    for count in (2_000, 20_000):
        folder = tmp_path / str(count)
        for i in range(count):
            path = folder / f"{i % 50:02}" / f"{i % 900}_{i:06}.txt"
            if i < 50:
                path.parent.mkdir(parents=True)
            path.write_text(("ok 1", "bad", "ok 0", "left")[i % 4])
        said = killed_run(folder, tmp_path / f"out{count}", 100_000, -1)
        assert said is not None
        samples, own, children = said.split()
        assert int(samples) == count // 4
        peaks[count] = (float(own), float(children))
    grown = [big - small for small, big in zip(peaks[2_000], peaks[20_000], strict=True)]
    assert max(grown) < 10, f"MB more for ten times the files: {peaks}"


# going on


class StopsAfter(LocalRun):
    """A run that is asked to stop once so many inputs are done."""

    limit = 0

    def progress(self, done: int, total: int, message: str = "") -> None:
        super().progress(done, total, message)
        self.lines.append(message)
        self.stop_requested = done >= self.limit


@pytest.mark.parametrize("processes", [1, 2])
def test_what_was_done_before_a_stop_is_not_done_again(many: Path, tmp_path: Path, processes: int) -> None:
    run(many, tmp_path / "calm")
    out = tmp_path / "stopped"
    context = StopsAfter(out / "run")
    context.limit = 40
    with pytest.raises(Stopped):
        preprocess(options(), many, out / "made" / "dataset", context, processes=processes)
    (name,) = context.parts.names()
    part = parts.Part.named(name)
    assert part is not None
    assert part.end >= 40
    assert not (out / "made" / "dataset").exists()
    context.limit = 1000
    context.stop_requested = False
    before = len(context.lines)
    preprocess(options(), many, out / "made" / "dataset", context, processes=processes)
    assert context.lines[before].startswith(f"{part.end} of 100 inputs")
    assert made(out) == made(tmp_path / "calm")


def test_damaged_parts_and_parts_of_other_plans_are_not_used(
    many: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "PART_BYTES", 3000)
    run(many, tmp_path / "a")
    kept = sorted((tmp_path / "a" / "run" / "parts").iterdir())
    assert len(kept) > 3
    kept[1].write_bytes(kept[1].read_bytes()[:-1])
    kept[2].write_bytes(b"")
    first = made(tmp_path / "a")
    run(many, tmp_path / "a")
    assert made(tmp_path / "a") == first
    # another file: nothing of the old plan fits
    put(many / "p00_000.txt", b"ok 1 more")
    run(many, tmp_path / "a")
    run(many, tmp_path / "fresh")
    assert made(tmp_path / "a") == made(tmp_path / "fresh") != first


# what goes wrong


def test_a_file_that_kills_its_process_is_bad_and_the_only_one(many: Path, tmp_path: Path) -> None:
    put(many / "p05_500.txt", b"kill 1")
    put(many / "p05_501.txt", b"ok 1 501")
    run(many, tmp_path / "out", 2)
    bad = {entry["path"]: entry["reason"] for entry in report(tmp_path / "out")["bad_files"]}
    assert "ended the process" in bad.pop("p05_500.txt")
    assert all("says that it is bad" in reason for reason in bad.values())
    assert len(bad) == 14
    assert "p05_501.txt" in {row.source for row in ShardReader(tmp_path / "out" / "made" / "dataset").rows}


@pytest.mark.parametrize("processes", [1, 2])
def test_what_the_recipe_is_not_prepared_for_is_bad_and_tells_nothing_of_the_content(
    many: Path, tmp_path: Path, processes: int
) -> None:
    put(many / "p00_990.txt", b"break 1")
    put(many / "p00_991.txt", b"shape 1")
    run(many, tmp_path / "out", processes)
    bad = {entry["path"]: entry["reason"] for entry in report(tmp_path / "out")["bad_files"]}
    assert len(bad) == 16
    assert re.fullmatch(r"the recipe is not prepared for this input \(ZeroDivisionError at odd_recipe.py:\d+\); leave "
                        "it out, or report it", bad["p00_990.txt"])  # fmt: skip
    assert "a sample of shape (1, 8, 8) of it, expected (1, 16, 16)" in bad["p00_991.txt"]


@pytest.mark.parametrize(("processes", "error"), [(1, OSError), (2, TaskFailed)])
def test_a_disk_that_fails_is_no_bad_file(many: Path, tmp_path: Path, processes: int, error: type[Exception]) -> None:
    put(many / "p00_999.txt", b"disk")
    with pytest.raises(error, match="No space left"):
        run(many, tmp_path / "out", processes)
    assert not (tmp_path / "out" / "made" / "dataset").exists()


def test_samples_may_depend_on_all_items(many: Path, tmp_path: Path) -> None:
    run(many, tmp_path / "one", recipe=Surveyed())
    run(many, tmp_path / "two", 2, recipe=Surveyed())
    assert made(tmp_path / "one") == made(tmp_path / "two")
    reader = ShardReader(tmp_path / "one" / "made" / "dataset")
    assert len(reader) == 86
    assert {int(reader.stored_image(i).max()) for i in range(86)} == {3 * reader.info.splits["train"]}


def test_too_many_bad_files_leave_a_whole_report_and_no_dataset(many: Path, tmp_path: Path) -> None:
    put(many / "nobody_1.txt", b"ok 1")
    with pytest.raises(BadInput, match=r"^nobody_1.txt: nobody is no patient \(and 14 more, see report.json\). "
                                       r"15 of 101 inputs cannot be used, max_bad_fraction allows 14%"):  # fmt: skip
        run(many, tmp_path / "out", max_bad_fraction=0.14)
    assert len(report(tmp_path / "out")["bad_files"]) == 15
    with pytest.raises(BadInput, match="holds no prepared dataset"):
        ShardReader(tmp_path / "out" / "made" / "dataset")


# patients


def rows(out: Path) -> dict[str, tuple[str, str]]:
    """Split and patient of every source."""
    return {row.source: (row.split, row.patient) for row in ShardReader(out / "made" / "dataset").rows}


def test_patients_stay_whole_and_nameless(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    for i in range(90):
        put(raw / f"x{i}.d" / f"Doe{i % 30}Jane_{i}.txt", f"ok 1 {i}".encode())
    run(raw, tmp_path / "a", salt=b"one")
    found = rows(tmp_path / "a")
    splits: dict[str, set[str]] = {}
    for split, patient in found.values():
        splits.setdefault(patient, set()).add(split)
    assert len(splits) == 30
    assert all(len(kinds) == 1 for kinds in splits.values())
    counts = [kinds.pop() for kinds in splits.values()]
    assert (counts.count("test"), counts.count("val")) == (3, 3)
    # the names of files are the user's; the identifier by itself is nowhere
    for path in tmp_path.rglob("*"):
        if path.is_file() and raw not in path.parents:
            assert b'"Doe1Jane"' not in path.read_bytes(), path
    run(raw, tmp_path / "same", salt=b"one")
    run(raw, tmp_path / "other", salt=b"two")
    assert rows(tmp_path / "same") == found
    assert not {p for _, p in rows(tmp_path / "other").values()} & set(splits)
    assert [s for s, _ in rows(tmp_path / "other").values()] == [s for s, _ in found.values()]
    run(raw, tmp_path / "seed", seed=1)
    assert [s for s, _ in rows(tmp_path / "seed").values()] != [s for s, _ in found.values()]


def test_published_splits_are_kept_and_their_leaks_told(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    for name in ("train/a_1", "test/a_2", "train/b_1", "test/c_1", "b_2", "c_2"):
        put(raw / f"{name}.txt", f"ok 1 {name}".encode())
    put(raw / "train" / "twin.txt", b"ok 1 twin")
    put(raw / "test" / "twin.txt", b"ok 1 twin")
    put(raw / "test" / "triplet.txt", b"ok 1 twin")
    run(raw, tmp_path / "out")
    found = {source.removesuffix(".txt"): split for source, (split, _) in rows(tmp_path / "out").items()}
    assert all(split == source.split("/")[0] for source, split in found.items() if "/" in source)
    assert (found["b_2"], found["c_2"]) == ("train", "test"), "where the patient stands already"
    told = report(tmp_path / "out")
    assert len(told["warnings"]) == 2
    assert told["warnings"][0].startswith("1 patients or groups stand in more than one of the published splits")
    assert told["warnings"][1].startswith("1 inputs have the content of one in another split, e.g. train/twin.txt")
    assert [entry["path"] for entry in told["duplicates"]] == ["test/twin.txt", "train/twin.txt"]
    # of whom nothing is known, the content stands for the patient
    keys = {
        source: patient for source, (_, patient) in rows(tmp_path / "out").items() if "t" in source.split("/")[-1][0]
    }
    assert len(set(keys.values())) == 1


def test_parts_of_two_attempts_at_once_are_followed_as_far_as_they_lead(tmp_path: Path) -> None:
    store = LocalRun(tmp_path / "run").parts
    (tmp_path / "made").mkdir()
    for first, end in ((0, 30), (30, 100), (0, 50), (50, 60), (100, 120)):
        writer = parts.PartWriter(tmp_path / "made", "f" * 16, first)
        (tmp_path / "records").write_bytes(f"{first}-{end}".encode())
        writer.add(tmp_path / "records")
        part = writer.end(end)
        assert part is not None
        store.put(part, end)
    (tmp_path / "here").mkdir()
    found, following = parts.fetched(store, "f" * 16, 0, 110, tmp_path / "here")
    ends = [part.end for path in found if (part := parts.Part.named(path.name))]
    assert (ends, following) == ([30, 100], 100), "the longest one of the first two leads nowhere"
    found[1].write_bytes(b"damaged")
    (tmp_path / "run" / "parts" / found[1].name).write_bytes(b"damaged")
    _, following = parts.fetched(store, "f" * 16, 0, 110, tmp_path / "here")
    assert following == 30
