"""The named checks in a health page's body, whichever of the usual shapes it has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

#: What a good check may say; also the service as a whole.
HEALTHY_WORDS = frozenset({"healthy", "ok", "pass", "passing", "up", "true"})

#: Where services put their checks: most; Spring Boot's actuator; many own ones; ASP.NET Core's writers.
_PLACES = ("checks", "components", "dependencies", "entries", "results")
_CHARACTERS = 200


def checks(bodies: Iterable[Any]) -> dict[str, dict[str, Any]]:
    """The checks of all answers of one health page.

    Args:
        bodies: of each answer the body, JSON data.

    Returns:
        Name to ``{said, failing, answers}``: what the check said, a failure before a success, and how many of the
        answers that name it say that it fails.
    """
    found: dict[str, dict[str, Any]] = {}
    for body in bodies:
        for name, said in _of(body).items():
            one = found.setdefault(name, {"said": said, "failing": 0, "answers": 0})
            one["answers"] += 1
            if said.casefold() not in HEALTHY_WORDS:
                one["failing"] += 1
                one["said"] = said
    return found


def _of(body: Any) -> dict[str, str]:
    if not isinstance(body, Mapping):
        return {}
    place: Mapping[str, Any] = next((body[name] for name in _PLACES if isinstance(body.get(name), Mapping)), {})
    told = ((str(name), _said(check)) for name, check in place.items())
    return {name: said for name, said in told if said}


def _said(check: Any) -> str:
    """The word of one check: itself, its status, or the first bad one of several measurements."""
    if isinstance(check, Mapping):
        status = _said(check.get("status"))
        detail = next((str(check[key]) for key in ("error", "output", "description") if check.get(key)), "")
        return status if not detail or status.casefold() in HEALTHY_WORDS else f"{status}: {detail}"[:_CHARACTERS]
    if isinstance(check, list):
        said = [word for word in map(_said, check) if word]
        return next((word for word in said if word.casefold() not in HEALTHY_WORDS), said[0] if said else "")
    return "" if check is None else " ".join(str(check).split())[:_CHARACTERS]
