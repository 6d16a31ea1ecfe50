"""Whether the system has ended processes of this control group because memory had run out."""

import re
from pathlib import Path

_SELF, _ROOT = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")
_COUNT = re.compile(r"^oom_kill (\d+)$", re.MULTILINE)


def oom_kills(root: Path = _ROOT, own: Path = _SELF) -> int | None:
    """Processes that the out-of-memory killer has ended in this control group so far; None where it does not tell."""
    for path in _candidates(root, own):
        try:
            found = _COUNT.search(path.read_text())
        except OSError:
            continue
        if found:
            return int(found[1])
    return None


def _candidates(root: Path, own: Path) -> list[Path]:
    """Version 2 has one hierarchy, version 1 one for memory; a container sees its own group as the root."""
    try:
        lines = [line.split(":", 2) for line in own.read_text().splitlines()]
    except OSError:
        return []
    found = []
    for number, controllers, group in (line for line in lines if len(line) == 3):
        inner = group.strip().lstrip("/")
        if number == "0":
            found += [root / inner / "memory.events", root / "memory.events"]
        elif "memory" in controllers.split(","):
            found += [root / "memory" / inner / "memory.oom_control", root / "memory" / "memory.oom_control"]
    return found
