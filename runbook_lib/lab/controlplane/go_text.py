"""Values as Go prints them, where error messages of the real server carry them."""

from __future__ import annotations

from typing import Any


def shown(value: Any) -> str:
    """``map[image:x]`` and ``[a b]``, as Go's ``%v``."""
    if isinstance(value, dict):
        return "map[" + " ".join(f"{key}:{shown(item)}" for key, item in sorted(value.items())) + "]"
    if isinstance(value, list):
        return "[" + " ".join(shown(item) for item in value) + "]"
    if value is None:
        return "<nil>"
    return str(value).lower() if isinstance(value, bool) else str(value)
