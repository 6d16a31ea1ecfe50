"""What the steps of a pipeline take of each other: `{"from": "ct.model"}` in place of an identifier.

Pointers are seen from the step: `/spec/init_model/from`.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Any

from medcoss.specs import EVERY_KIND, JOB_KINDS
from services.core import pending
from services.core.errors import FieldError
from services.core.specs import reference_fields

FROM = "from"
_DEEPEST = 8
_OUTPUT = re.compile(r"([a-z0-9][a-z0-9_-]{0,62})\.([a-z]+)")


@dataclass(frozen=True)
class Link:
    """A field that takes what a step makes: its place in the spec, the dataset or model that it holds, and whose
    `output`.
    """

    place: tuple[str | int, ...]
    resource: str
    step: str
    output: str

    @property
    def pointer(self) -> str:
        """Where it is said."""
        return _pointer(self.place)


def outputs(kind: str) -> list[str]:
    """The datasets and models that a job of a kind makes, which others can take."""
    made = EVERY_KIND[kind].produces if kind in EVERY_KIND else ""
    return [made] if made in pending.PREFIXES else []


def links(kind: str, spec: Mapping[str, Any]) -> tuple[list[Link], list[FieldError]]:
    """What a step takes of others, and what is wrong with how it says so."""
    fields = reference_fields(kind) if kind in JOB_KINDS else {}
    found: list[Link] = []
    errors: list[FieldError] = []
    for place, said in _said(spec, ()):
        resource = fields.get(str(place[0])) if len(place) <= 2 else None
        named = _OUTPUT.fullmatch(said) if isinstance(said, str) else None
        if named is None:
            detail = 'expected the name of a step and what it makes, e.g. "ct.model" or "prepare.dataset"'
            errors.append(FieldError(_pointer(place), detail))
        elif resource is None and kind in JOB_KINDS:
            errors.append(FieldError(_pointer(place), "this field takes nothing that another step makes"))
        elif resource is not None:
            found.append(Link(place, resource, named[1], named[2]))
    return found, errors


def _said(value: Any, place: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """Every `{"from": ...}` of a spec, with its place; none is looked for deeper than any spec goes."""
    if len(place) > _DEEPEST:
        return
    if isinstance(value, Mapping) and place and set(value) == {FROM}:
        yield place, value[FROM]
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _said(inner, (*place, name))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _said(inner, (*place, number))


def _pointer(place: Sequence[str | int]) -> str:
    parts = (str(part).replace("~", "~0").replace("/", "~1") for part in ("spec", *place, FROM))
    return "".join(f"/{part}" for part in parts)


def misplaced(link: Link, kinds: Mapping[str, str]) -> FieldError | None:
    """That there is no such step or output, or that it does not go into the field; None when it does. `kinds` are the
    steps' kinds by their names.
    """
    kind = kinds.get(link.step)
    if kind is None:
        detail = f"there is no step '{link.step}' in this pipeline; its steps are {', '.join(kinds)}"
        return FieldError(link.pointer, detail)
    made = outputs(kind)
    if kind in JOB_KINDS and link.output not in made:
        what = f"makes a {made[0]}: expected {link.step}.{made[0]}" if made else "makes no dataset and no model"
        return FieldError(link.pointer, f"the step '{link.step}' is a {kind} job, which {what}")
    if link.output != link.resource:
        detail = f"this field takes a {link.resource}; {link.step}.{link.output} is a {link.output}"
        return FieldError(link.pointer, detail)
    return None


def filled(spec: Mapping[str, Any], names: Mapping[tuple[str | int, ...], Any]) -> dict[str, Any]:
    """The spec with these values at these places."""

    def fill(value: Any, place: tuple[str | int, ...]) -> Any:
        if place in names:
            return names[place]
        if len(place) > 1:
            # references are in a field, or in a list or an object that is one
            return value
        if isinstance(value, Mapping):
            return {name: fill(inner, (*place, name)) for name, inner in value.items()}
        if isinstance(value, list):
            return [fill(inner, (*place, number)) for number, inner in enumerate(value)]
        return value

    return {name: fill(value, (name,)) for name, value in spec.items()}


def in_order(needs: Mapping[str, Iterable[str]]) -> tuple[list[str], list[list[str]]]:
    """The steps, each behind those that it needs, otherwise as they were given; and the circles among them, whose
    steps and those that wait for them are not in the order.
    """
    left = {name: [other for other in others if other in needs] for name, others in needs.items()}
    circles: list[list[str]] = []
    while True:
        try:
            TopologicalSorter(left).prepare()
            break
        except CycleError as error:
            # each is needed by the next one: the other way round, each needs the next one
            circle = list(reversed(error.args[1][:-1]))
            circles.append(circle)
            for name in circle:
                left.pop(name)
            left = {name: [other for other in others if other in left] for name, others in left.items()}
    order: dict[str, None] = {}
    lost = {name for circle in circles for name in circle}
    free = [name for name in needs if name not in lost]
    while following := next((n for n in free if n not in order and all(o in order or o not in needs for o in needs[n])),
                            None):  # fmt: skip
        order[following] = None
    return list(order), circles


def transitive(names: Iterable[str], needs: Mapping[str, Iterable[str]]) -> set[str]:
    """These steps and all that need them, directly or not."""
    found = set(names)
    while more := {name for name, others in needs.items() if name not in found and found & set(others)}:
        found |= more
    return found
