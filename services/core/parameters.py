"""Query parameters that a route does not have: refused, because a filter with a slip in its name would find all."""

from collections.abc import Iterable, Iterator
from typing import Any

from services.core.errors import FieldError, ValidationFailed

_KNOWN = "known_query_parameters"


def check(route: Any, given: Iterable[str]) -> None:
    """ValidationFailed that names each of the `given` parameters that a FastAPI route does not declare."""
    unknown = sorted(set(given) - known(route))
    if not unknown:
        return
    there = ", ".join(sorted(known(route)))
    expected = f"expected one of {there}" if there else "this call takes none"
    detail = f"there is no such parameter; {expected}"
    errors = [FieldError(f"query:{name[:64]}", detail) for name in unknown[:20]]
    raise ValidationFailed(f"{', '.join(e.pointer for e in errors)}: {detail}", errors)


def known(route: Any) -> frozenset[str]:
    """Names of the parameters that a route and what it depends on declare; looked up once for a route."""
    found = vars(route).get(_KNOWN)
    if found is None:
        found = frozenset(_declared(route.dependant))
        setattr(route, _KNOWN, found)
    return frozenset(found)


def _declared(dependant: Any) -> Iterator[str]:
    yield from (parameter.alias for parameter in dependant.query_params)
    for other in dependant.dependencies:
        yield from _declared(other)
