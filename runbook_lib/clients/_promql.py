"""Builds PromQL from a query's text: every value is checked or quoted, so that none can change the question."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from string import Template

from runbook_lib.errors import CatalogError, ParameterError
from runbook_lib.model.evidence import Scalar

_METRIC_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
# What RE2 gives a meaning; https://github.com/google/re2/wiki/Syntax
_REGEX_META = re.compile(r"[\\.+*?()|\[\]{}^$]")


def text(value: str) -> str:
    """A quoted PromQL string, by Go's rules for interpreted string literals.

    Raises:
        ParameterError: the text has no UTF-8 form.
    """
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ParameterError(f"{value!r} is no valid text") from error
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return '"' + "".join(c if c >= " " and c != "\x7f" else f"\\u{ord(c):04x}" for c in escaped) + '"'


def pattern(value: str) -> str:
    """``value`` as a regular expression that matches just it; still to be quoted by ``text``."""
    return _REGEX_META.sub(r"\\\g<0>", value)


def matchers(labels: Mapping[str, object]) -> str:
    """``a="x",b="y"``, the inside of a selector; at least one label, for an empty selector reads everybody's data.

    Raises:
        CatalogError: a name is no label name, or there is no label.
    """
    if not labels:
        raise CatalogError("must name at least one label", key="workload.selector")
    for name in labels:
        if not _LABEL_NAME.fullmatch(name):
            raise CatalogError(f"{name!r} is no label name", key="workload.selector")
    return ",".join(f"{name}={text(str(value))}" for name, value in labels.items())


def metric(name: str, key: str) -> str:
    """A metric or label name as it is.

    Raises:
        CatalogError: it is none.
    """
    if not _METRIC_NAME.fullmatch(name):
        raise CatalogError(f"{name!r} is no name of a metric or label", key=key)
    return name


def duration(seconds: float) -> str:
    """A PromQL duration, ``90s`` or ``1500ms``.

    Raises:
        ParameterError: it is not finite or not above zero.
    """
    if not math.isfinite(seconds) or seconds < 0.001:
        raise ParameterError(f"a duration must be above 0 and finite, not {seconds}")
    milliseconds = round(seconds * 1000)
    return f"{milliseconds // 1000}s" if milliseconds % 1000 == 0 else f"{milliseconds}ms"


def scalar(value: Scalar) -> str:
    """A parameter's value: numbers bare, text quoted.

    Raises:
        ParameterError: it is neither, or not finite.
    """
    if isinstance(value, str):
        return text(value)
    if isinstance(value, bool) or value is None or not math.isfinite(value):
        raise ParameterError(f"{value!r} has no form in PromQL")
    return repr(value)


def fill(template: str, values: Mapping[str, str]) -> str:
    """The query with every placeholder replaced; values must come from the functions above."""
    return Template(template).substitute(values)
