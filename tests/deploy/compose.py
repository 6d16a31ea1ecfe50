"""The compose file as it is after its variables are filled in, without a docker command."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
DEPLOY = REPOSITORY / "deploy"
COMPOSE = DEPLOY / "docker-compose.yml"
EXAMPLE = DEPLOY / ".env.example"
# ${NAME}, ${NAME:-default} and ${NAME-default}; the innermost ones first
_VARIABLE = re.compile(r"\$\{([A-Za-z_]\w*)(?::?-([^${}]*))?\}")


def variables() -> set[str]:
    """Names of all variables that the file asks for."""
    return set(re.findall(r"\$\{([A-Za-z_]\w*)", COMPOSE.read_text()))


def load(values: Mapping[str, str] = {}) -> dict[str, Any]:
    """The file with `values` and its defaults filled in."""
    text = COMPOSE.read_text()
    for _ in range(4):
        text = _VARIABLE.sub(lambda found: values.get(found[1], found[2] or ""), text)
    assert "${" not in text
    return yaml.load(text, yaml.CSafeLoader)


def example() -> dict[str, str]:
    """Every setting of .env.example, also those in comments, with the value that stands there."""
    found = re.findall(r"^#?([A-Z][A-Z0-9_]*)=(.*)$", EXAMPLE.read_text(), re.MULTILINE)
    names = [name for name, _ in found]
    assert len(names) == len(set(names)), "a setting stands there twice"
    return dict(found)
