"""Specs from `--spec` and `--set`."""

import json
import sys
from pathlib import Path
from typing import Any

import typer


def build_spec(path: Path | None, settings: list[str]) -> dict[str, Any]:
    """The spec in a JSON file (`-` is standard input) with `key=value` settings on top.

    Keys are dotted for nested fields; values are JSON, or else text. Raises BadParameter.
    """
    spec = _read(path) if path is not None else {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or not all(key.split(".")):
            raise typer.BadParameter(f"--set {setting}: expected key=value, e.g. --set recipe.name=image_folder")
        _put(spec, key, _value(value))
    return spec


def read_json(path: Path, option: str = "") -> Any:
    """The JSON document in a file (`-` is standard input). Raises BadParameter, which names the option."""
    try:
        return json.loads(sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8"))
    except OSError as error:
        raise typer.BadParameter(f"{option}{path}: {error.strerror}") from error
    except ValueError as error:
        raise typer.BadParameter(f"{option}{path}: not JSON ({error})") from error


def _read(path: Path) -> dict[str, Any]:
    document = read_json(path, "--spec ")
    if not isinstance(document, dict):
        raise typer.BadParameter(f"--spec {path}: expected a JSON object of fields")
    return document


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _put(spec: dict[str, Any], key: str, value: Any) -> None:
    *parents, last = key.split(".")
    place = spec
    for number, parent in enumerate(parents, start=1):
        inner = place.setdefault(parent, {})
        if not isinstance(inner, dict):
            raise typer.BadParameter(f"--set {key}: {'.'.join(parents[:number])} is {inner!r}, which has no fields")
        place = inner
    place[last] = value
