"""CT and MR preprocessing: volumes, tiles, and the table of facts beside them."""

from importlib.metadata import version
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from medcoss.preprocess.published import ct_tile_slices, in_plane_crop, mr_tile_slices, mr_tiles, resized
from medcoss.run import BadInput
from tests.parity.models import Models
from tests.parity.report import DOUBLE, EXACT, VALUES, Check, Limit, stored_part
from tests.parity.volumes import Steps, steps_of

_LIBRARIES = {"SimpleITK": "SimpleITK", "skimage": "scikit-image", "scipy": "scipy"}
# another linear resampler: off by one unit, on this share of the voxels (published limit)
_UNIT, _SHARE = Limit("abs", 1.0), 0.12
_Z_SCORE = Limit("abs", 1.5e-3)
_PUBLISHED_LIBRARIES = {"SimpleITK": "2.5.7", "skimage": "0.26.0", "scipy": "1.17.1"}


def check_volumes(check: Check, models: Models) -> None:
    """Every step of every volume that the manifest names for the file."""
    same = _same_libraries(check)
    for name, spec in check.arguments["inputs"].items():
        steps = steps_of(check.goldens, name, spec)
        for record in check.golden.names:
            case, _, step = record.rpartition(".")
            if case != name and case not in steps.tiles:
                continue
            if step == "input":
                check.compare(record, steps.volume, EXACT)
            elif record in steps.records:
                _compare(check, record, steps.array(record), same)
        listed = {case for case, _, step in (r.rpartition(".") for r in check.golden.names)
                  if step == "tile" and case.rpartition("_dep")[0] == name}  # fmt: skip
        if listed:
            check.equal(f"{name}: tiles", sorted(steps.tiles), sorted(listed))


def _same_libraries(check: Check) -> bool:
    made = {}
    if (check.goldens.folder / "preprocess.json").is_file():
        made = check.goldens.json("preprocess.json").get("versions", {})
    wanted = _PUBLISHED_LIBRARIES | made
    return all(version(package) == wanted[name] for name, package in _LIBRARIES.items())


def _compare(check: Check, record: str, mine: NDArray[Any], same: bool) -> None:
    """Whole numbers are equal where the libraries are the same; else within the published limits."""
    whole = np.issubdtype(mine.dtype, np.integer)
    if same:
        limit = EXACT if whole else DOUBLE if mine.dtype == np.float64 else VALUES
        check.compare(record, mine, limit)
    elif not whole or mine.shape != check.golden.shape(record):
        check.compare(record, mine, _Z_SCORE)
    else:
        check.golden.seen.add(record)
        part, golden = stored_part(check.golden, record, mine)
        off = np.abs(part.astype(np.int64) - golden)
        check.within(record, float(off.max()) if (off > 0).mean() <= _SHARE else np.inf, _UNIT, "other libraries")


def check_ct_rule(check: Check, models: Models) -> None:
    """Tile boundaries of CT for many depths; the in-plane crop."""
    rule = check.goldens.json(check.file)
    check.equal("tile, stride", [24, 12], [rule["tile"], rule["stride"]])
    wrong = [depth for depth, expected in rule["depth_to_slices"].items()
             if [list(place) for place in ct_tile_slices(int(depth))] != expected]  # fmt: skip
    check.equal(f"depth_to_slices, {len(rule['depth_to_slices'])} depths", wrong, [])
    for size, expected in rule.get("in_plane_crop", {}).items():
        rows, columns = in_plane_crop(*map(int, size.split("x")), published=True)
        mine = {"axis1": [rows.start, rows.stop], "axis2": [columns.start, columns.stop]}
        check.equal(f"in_plane_crop {size}", mine, expected)
    _nothing_else(check, rule, {"tile", "stride", "depth_to_slices", "in_plane_crop"})


def check_mr_rule(check: Check, models: Models) -> None:
    """Tile boundaries of MR for many depths, and which are too shallow."""
    rule = check.goldens.json(check.file)
    check.equal("tile, stride", [16, 8], [rule["tile"], rule["stride"]])
    wrong = []
    for depth, expected in rule["depth_to_slices"].items():
        places = [list(place) for place in mr_tile_slices(int(depth))]
        if places != expected["slices"] or _too_shallow(int(depth)) != (expected["error"] is not None):
            wrong.append(depth)
    check.equal(f"depth_to_slices, {len(rule['depth_to_slices'])} depths", wrong, [])
    _nothing_else(check, rule, {"tile", "stride", "depth_to_slices", "end_crop"})


def _too_shallow(depth: int) -> bool:
    volume = np.arange(depth * 4, dtype=np.float32).reshape(depth, 2, 2)
    try:
        mr_tiles(volume, published=True)
    except BadInput:
        return True
    return False


def check_facts(check: Check, models: Models) -> None:
    """`preprocess.json`: geometry, type and SHA-256 of every step, names of tiles, probes."""
    facts = check.goldens.json(check.file)
    done = {"versions", "ct_tiles_listed_by_published_rule"}
    check.note("versions", f"made with {facts.get('versions')}; equality is asked for with the same libraries")
    check.note("ct_tiles_listed_by_published_rule", "a rule about file names, which our shards do not have")
    for file in sorted(check.goldens.files):
        if not file.startswith("preprocess_"):
            continue
        kind = file.removeprefix("preprocess_").removesuffix(".npz")
        inputs = check.goldens.files[file]["inputs"]
        steps = {name: steps_of(check.goldens, name, spec) for name, spec in inputs.items()}
        done |= _inputs(check, facts, f"{kind}_inputs", inputs, steps)
        for name, found in steps.items():
            done |= _steps(check, facts, name, found)
        done |= _loaded(check, facts, f"{kind}_loaded", steps)
    if "itk_int_probe" in facts:
        done.add("itk_int_probe")
        probe = facts["itk_int_probe"]
        row = sitk.GetImageFromArray(np.array(probe["input"], np.int16)[None, None])
        found = sitk.GetArrayFromImage(resized(row, (1, 1, len(probe["output_16"])), published=True))
        check.equal("itk_int_probe", found.ravel().tolist(), probe["output_16"])
    _nothing_else(check, facts, done)


def _inputs(check: Check, facts: dict[str, Any], key: str, inputs: dict[str, Any], steps: dict[str, Steps]) -> set[str]:
    for name, told in facts.get(key, {}).items():
        spec = inputs[name]
        mine = {"shape_zyx": list(spec["size"]), "spacing_zyx": spec["spacing_zyx"], "seed": spec["seed"],
                "kind": spec["kind"], "sha256": check.goldens.fill.sha256(steps[name].volume)}  # fmt: skip
        check.equal(f"{key}.{name}", {k: mine.get(k) for k in told}, told)
    return {key}


def _steps(check: Check, facts: dict[str, Any], name: str, steps: Steps) -> set[str]:
    """Compare what the table says of one volume; returns the keys."""
    done = set()
    for record, image in steps.images.items():
        if record in facts:
            done.add(record)
            _image_facts(check, record, image, steps, facts[record])
    if f"{name}.tiles" in facts:
        done.add(f"{name}.tiles")
        check.equal(f"{name}.tiles", steps.tiles, [file.partition(".")[0] for file in facts[f"{name}.tiles"]])
    if f"{name}.split_error" in facts:
        done.add(f"{name}.split_error")
        check.equal(f"{name}.split_error", steps.error is None, facts[f"{name}.split_error"] is None)
    return done


def _image_facts(check: Check, record: str, image: sitk.Image, steps: Steps, told: dict[str, Any]) -> None:
    array = steps.array(record)
    extra = steps.facts.get(record, {})
    mine: dict[str, Any] = {
        "spacing_xyz": [round(s, 6) for s in image.GetSpacing()],
        "origin_xyz": [round(s, 6) for s in image.GetOrigin()],
        "direction": [round(s, 6) for s in image.GetDirection()],
        "dtype": str(array.dtype),
        "shape": list(array.shape),
        "sha256": check.goldens.fill.sha256(array),
        "min": array.min().item(),
        "max": array.max().item(),
        "zero_voxels_last_rows": int((array[:, -1] == 0).sum()),
        "zero_voxels_last_columns": int((array[..., -1] == 0).sum()),
        "zero_last_slice": int((array[-1] == 0).sum()),
    } | extra
    mine |= {"zero_voxels_last_row": mine["zero_voxels_last_rows"],
             "zero_voxels_last_column": mine["zero_voxels_last_columns"]}  # fmt: skip
    compared = {key: mine.get(key, "not understood") for key in told}
    for key in ("max_abs_difference_to_independent_clipping",):
        if key in told and abs(compared[key] - told[key]) <= 1e-6:
            compared[key] = told[key]
    different = {key: (compared[key], told[key]) for key in told if compared[key] != told[key]}
    check.equal(record, different, {})


def _loaded(check: Check, facts: dict[str, Any], key: str, steps: dict[str, Steps]) -> set[str]:
    """What the table says about the arrays that the model sees: their shape, and whose transposition they are."""
    if key not in facts:
        return set()
    told = facts[key]
    for name, found in steps.items():
        loaded = sorted(r for r in found.records if r.endswith(".loaded"))
        if not loaded or ("file" in told and not told["file"].startswith(f"{name}_")):
            continue
        array = found.array(loaded[0])
        case = loaded[0].removesuffix(".loaded")
        source = (
            found.array(f"{case}.resized") / np.float32(1024) if key == "ct_loaded" else found.array(f"{case}.tile")
        )
        swapped = bool(np.allclose(array[0], source.swapaxes(1, 2), atol=1e-6))
        mine = {"shape": list(array.shape), "dtype": f"torch.{array.dtype}", "equals_resized_zxy_over_1024": swapped,
                "equals_resized_zyx_over_1024": bool(np.allclose(array[0], source, atol=1e-6)),
                "equals_tile_zxy": swapped, "file": told.get("file")}  # fmt: skip
        check.equal(key, {k: mine.get(k, "not understood") for k in told}, told)
        return {key}
    return set()


def _nothing_else(check: Check, table: dict[str, Any], known: set[str]) -> None:
    for key in table:
        if key not in known:
            check.fail(key, "not understood")
