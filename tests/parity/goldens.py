"""A folder of golden numbers: manifest, generator of weights and inputs, records."""

import importlib.util
import json
import os
import sys
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

REPOSITORY = Path(__file__).resolve().parents[2]
# what another folder may lack; its records do not depend on the folder's seeds
_SHARED = ("fill.py", "fill_checksums.json", "state_dict_keys.json", "downstream_keys.json")


def default_folder() -> Path:
    """The folder of the published goldens (MEDCOSS_TEST_PARITY)."""
    return Path(os.environ.get("MEDCOSS_TEST_PARITY", REPOSITORY.parent / "shared" / "parity"))


class Records:
    """The arrays of one golden npz file, by name, and which of them were looked at.

    A packed array has a shape, statistics and values (`fill.pack`); others are stored as they are.
    """

    def __init__(self, path: Path) -> None:
        with np.load(path) as stored:
            self.raw: dict[str, NDArray[Any]] = {key: stored[key] for key in stored.files}
        self.packed = {key.removesuffix("__shape") for key in self.raw if key.endswith("__shape")}
        self.seen: set[str] = set()

    @property
    def names(self) -> list[str]:
        """Names of all arrays, sorted."""
        return sorted(self.packed | {key for key in self.raw if key.rpartition("__")[0] not in self.packed})

    def __contains__(self, name: str) -> bool:
        return name in self.packed or name in self.raw

    def array(self, name: str) -> NDArray[Any]:
        """The whole array, which counts as looked at: an input. Raises KeyError when only a part was stored."""
        self.seen.add(name)
        return self.raw[f"{name}__full" if name in self.packed else name]

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of an array."""
        if name in self.packed:
            return tuple(int(n) for n in self.raw[f"{name}__shape"])
        return self.raw[name].shape

    @property
    def unseen(self) -> list[str]:
        """Names of the arrays that nothing was compared with."""
        return [name for name in self.names if name not in self.seen]


class Goldens:
    """One folder in the published format; `fill.py` and the key lists come from the default folder if it has none."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))

    @property
    def files(self) -> dict[str, dict[str, Any]]:
        """Arguments of every golden file, by name."""
        return self.manifest.get("files", {})

    def present(self) -> Iterator[str]:
        """Names of the files in the folder."""
        for path in sorted(self.folder.iterdir()):
            if path.name != "__pycache__" and not path.name.startswith("."):
                yield path.name

    def path(self, name: str) -> Path:
        """Where a file lies: here, or, for what does not depend on seeds, in the default folder."""
        here = self.folder / name
        return here if here.exists() or name not in _SHARED else default_folder() / name

    def json(self, name: str) -> Any:
        """Content of a JSON file."""
        return json.loads(self.path(name).read_text(encoding="utf-8"))

    def has(self, name: str) -> bool:
        """True when `json` and `path` find the file."""
        return self.path(name).is_file()

    def records(self, name: str) -> Records:
        """The arrays of an npz file."""
        return Records(self.folder / name)

    @cached_property
    def fill(self) -> ModuleType:
        """The generator of weights and inputs."""
        spec = importlib.util.spec_from_file_location("medcoss_parity_fill", self.path("fill.py"))
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
        try:
            spec.loader.exec_module(module)
        finally:
            sys.dont_write_bytecode = before
        return module

    def make(self, spec: dict[str, Any], **more: Any) -> Any:
        """An input of the manifest, e.g. `{"kind": "2d", "seed": 11, "batch": 2, "size": [224, 224]}`."""
        names = ("batch", "size", "channels", "lengths", "length")
        arguments = {name: spec[name] for name in names if name in spec} | more
        return self.fill.make_input(spec["kind"], spec["seed"], **arguments)

    def input(self, name: str) -> Any:
        """One of the manifest's shared inputs, e.g. `noise_3d`."""
        return self.make(self.manifest["inputs"][name])
