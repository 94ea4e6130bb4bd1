"""RE2 expressions on Python's ``re``: the common part of both is translated, the rest is refused."""

from __future__ import annotations

import re
from functools import lru_cache

from runbook_lib.lab.metrics.errors import QueryError

# Each of these means something else in Python than in RE2, or does not exist in RE2.
_REFUSED = re.compile(
    r"""\\[1-9]            # back-references do not exist in RE2
      | \\[pPQECzAZGXR]    # classes and anchors with other meanings
      | \(\?(?:[=!>(#]|<[=!]|P[=>])
      | (?<!\\)[*+?}]\+    # possessive repetition
      | \[\[?:             # POSIX classes
      | &&|--|~~|\|\|(?=[^]]*\])
    """,
    re.VERBOSE,
)
_PART = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\$|.", re.DOTALL)


@lru_cache(maxsize=512)
def compile_regex(expression: str) -> re.Pattern[str]:
    """Compile an RE2 expression for use with ``fullmatch``.

    Args:
        expression: as written in a matcher or in ``label_replace``.

    Returns:
        A pattern in which ``.`` matches newlines and classes are ASCII, as in RE2.

    Raises:
        QueryError: not valid, or outside of what means the same in both engines.
    """
    refused = _REFUSED.search(expression.replace("\\\\", ""))
    if refused:
        raise QueryError(f"regular expression {expression!r}: {refused.group()!r} is outside the subset of the store")
    # Python's "$" also matches before a trailing newline, RE2's does not.
    translated = "".join(r"\Z" if part == "$" else part for part in _PART.findall(expression))
    try:
        return re.compile(translated, re.DOTALL | re.ASCII)
    except re.error as error:
        raise QueryError(f"invalid regular expression {expression!r}: {error}") from error


_REFERENCE = re.compile(r"\$(?:(\$)|(\w+)|\{(\w+)\})", re.ASCII)


def expand(match: re.Match[str], template: str) -> str:
    """Fill ``$1``, ``${1}``, ``$name`` and ``$$`` of a template; an unknown reference becomes empty."""

    def fill(reference: re.Match[str]) -> str:
        if reference.group(1):
            return "$"
        name = reference.group(2) or reference.group(3)
        try:
            return match.group(int(name) if name.isdecimal() else name) or ""
        except IndexError:
            return ""

    return _REFERENCE.sub(fill, template)
