"""Label sets: how a time series is named, written and matched."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from runbook_lib.lab.metrics.promql.regex import compile_regex

Labels = tuple[tuple[str, str], ...]
"""Name and value pairs sorted by name; a label with an empty value is the same as no label."""

METRIC_NAME = "__name__"
# Prometheus 3 counts these as part of the metric's name: an operator that changes the meaning drops all three.
_IDENTITY = frozenset({METRIC_NAME, "__type__", "__unit__"})


def make_labels(pairs: Mapping[str, str]) -> Labels:
    """The label set of a mapping; empty values are left out."""
    return tuple(sorted((name, value) for name, value in pairs.items() if value))


def get(labels: Labels, name: str) -> str:
    """The value of one label, or an empty string."""
    for key, value in labels:
        if key == name:
            return value
    return ""


def keep(labels: Labels, names: Iterable[str]) -> Labels:
    """Only the named labels."""
    wanted = frozenset(names)
    return tuple(pair for pair in labels if pair[0] in wanted)


def drop(labels: Labels, names: Iterable[str]) -> Labels:
    """All but the named labels."""
    unwanted = frozenset(names)
    return tuple(pair for pair in labels if pair[0] not in unwanted)


def drop_name(labels: Labels) -> Labels:
    """The labels without the metric's name."""
    return tuple(pair for pair in labels if pair[0] not in _IDENTITY)


def replace(labels: Labels, name: str, value: str) -> Labels:
    """The labels with one of them set, or removed when ``value`` is empty."""
    return make_labels({**dict(labels), name: value})


def quote(value: str) -> str:
    """A label value in double quotes, escaped as in the text format."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def text(labels: Labels) -> str:
    """The series in the notation of PromQL, such as ``up{job="api"}``."""
    rest = ", ".join(f"{name}={quote(value)}" for name, value in labels if name != METRIC_NAME)
    return get(labels, METRIC_NAME) + (f"{{{rest}}}" if rest or not get(labels, METRIC_NAME) else "")


@dataclass(frozen=True, slots=True)
class Matcher:
    """One condition on one label.

    Attributes:
        name: the label.
        op: ``=``, ``!=``, ``=~`` or ``!~``.
        value: text or regular expression, anchored at both ends.
    """

    name: str
    op: str
    value: str
    accepts: Callable[[str], bool] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        wanted = self.value
        if self.op == "=":
            accepts: Callable[[str], bool] = lambda value: value == wanted  # noqa: E731
        elif self.op == "!=":
            accepts = lambda value: value != wanted  # noqa: E731
        else:
            pattern, negated = compile_regex(wanted), self.op == "!~"
            accepts = lambda value: (pattern.fullmatch(value) is None) is negated  # noqa: E731
        object.__setattr__(self, "accepts", accepts)


def matches(labels: Labels, matchers: Iterable[Matcher]) -> bool:
    """True when every matcher accepts the labels; an absent label counts as empty."""
    return all(matcher.accepts(get(labels, matcher.name)) for matcher in matchers)
