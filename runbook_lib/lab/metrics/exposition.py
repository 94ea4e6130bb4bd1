"""The text exposition format 0.0.4, read strictly."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from runbook_lib.lab.metrics import labels as label_sets
from runbook_lib.lab.metrics.errors import ExpositionError
from runbook_lib.lab.metrics.labels import METRIC_NAME, Labels
from runbook_lib.lab.metrics.promql.floats import format_open_metrics, parse_float

_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL = re.compile(
    r"""\s*(?: ([a-zA-Z_][a-zA-Z0-9_]*) | "((?:[^"\\]|\\.)*)" )   # a name, or a name in quotes
        \s*(=)?\s*(?: "((?:[^"\\]|\\.)*)" )?\s*(,|(?=\}))""",
    re.VERBOSE,
)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_TYPES = frozenset({"counter", "gauge", "histogram", "summary", "untyped", "unknown", "info", "stateset"})
# The label whose value is a number, and the metric types that give it that meaning.
_NUMBER_LABEL = {"histogram": "le", "summary": "quantile"}


@dataclass(frozen=True, slots=True)
class Sample:
    """One line.

    Attributes:
        time_ms: the page's own time for it; None for the time of the scrape.
    """

    labels: Labels
    value: float
    time_ms: int | None = None


@dataclass(slots=True)
class PageParser:
    """Reads pages of one target; remembers what a series' text meant, since pages repeat it.

    Attributes:
        known: text before the value to labels; the caller may drop entries it no longer needs.
        metadata: metric family to ``type`` and ``help``.
    """

    known: dict[str, Labels] = field(default_factory=dict)
    metadata: dict[str, dict[str, str]] = field(default_factory=dict)

    def parse(self, page: str) -> Iterator[tuple[str, Sample]]:
        """Yield each series' text and sample.

        Raises:
            ExpositionError: a line is not valid; the samples before it were yielded, so a caller that must not take
                half a page collects first.
        """
        types: dict[str, str] = {}
        for number, line in enumerate(page.split("\n"), start=1):
            head, _, tail = line.rpartition(" ")
            labels = self.known.get(head)
            if labels is not None:
                yield head, Sample(labels, _value(tail, number))
            elif line.startswith("#"):
                self._comment(line, number, types)
            elif line.strip():
                yield self._line(line, number, types)

    def _comment(self, line: str, number: int, types: dict[str, str]) -> None:
        words = line.split(None, 3)
        if len(words) < 3 or words[0] != "#" or words[1] not in {"HELP", "TYPE"}:
            return
        name, rest = words[2], words[3].strip() if len(words) > 3 else ""
        if not _NAME.fullmatch(name):
            raise ExpositionError(f"invalid metric name {name!r}", number)
        entry = self.metadata.setdefault(name, {"type": "unknown", "help": "", "unit": ""})
        if words[1] == "HELP":
            entry["help"] = _ESCAPE.sub(lambda escape: "\n" if escape.group(1) == "n" else escape.group(1), rest)
        elif rest not in _TYPES:
            raise ExpositionError(f"invalid metric type {rest!r}; allowed: {', '.join(sorted(_TYPES))}", number)
        else:
            types[name] = rest
            entry["type"] = "unknown" if rest == "untyped" else rest

    def _line(self, line: str, number: int, types: dict[str, str]) -> tuple[str, Sample]:
        match = _NAME.match(line)
        name, position = (match.group(), match.end()) if match else ("", 0)
        pairs: dict[str, str] = {}
        if line[position : position + 1] == "{":
            position = _read_labels(line, position + 1, number, pairs)
        if name:
            pairs[METRIC_NAME] = name
        if not pairs.get(METRIC_NAME):
            raise ExpositionError("a sample needs a metric name", number)
        text, rest = line[:position], line[position:].split()
        if not 1 <= len(rest) <= 2 or (not line[position].isspace() and line[position - 1] != "}"):
            raise ExpositionError(f"expected a value and an optional timestamp after {text!r}", number)
        _normalise_number(pairs, types)
        labels = label_sets.make_labels(pairs)
        value = _value(rest[0], number)
        if len(rest) == 2:
            return text, Sample(labels, value, _time(rest[1], number))
        self.known[text] = labels
        return text, Sample(labels, value)


def _read_labels(line: str, position: int, number: int, pairs: dict[str, str]) -> int:
    """Read ``a="1",b="2"}`` into ``pairs``; returns the position after the brace."""
    while line[position : position + 1].isspace():
        position += 1
    while line[position : position + 1] != "}":
        match = _LABEL.match(line, position)
        if match is None:
            raise ExpositionError(f"invalid labels at {line[position : position + 30]!r}", number)
        bare, quoted, equals, value, _ = match.groups()
        name = bare if bare is not None else _unescape(quoted)
        if equals is None and quoted is not None and value is None:
            # The metric's own name may stand in quotes inside the braces.
            name, value = METRIC_NAME, name
        elif equals is None or value is None:
            raise ExpositionError(f"label {name!r} has no value", number)
        else:
            value = _unescape(value)
        if name in pairs:
            raise ExpositionError(f"label {name!r} is given twice", number)
        pairs[name] = value
        position = match.end()
        while line[position : position + 1].isspace():
            position += 1
    return position + 1


def _unescape(value: str) -> str:
    return _ESCAPE.sub(lambda escape: {"n": "\n", "\\": "\\", '"': '"'}.get(escape.group(1), escape.group()), value)


def _normalise_number(pairs: dict[str, str], types: dict[str, str]) -> None:
    """Write bucket bounds and quantiles as Prometheus 3 does, so that ``le="1"`` and ``le="1.0"`` are one series."""
    name = pairs[METRIC_NAME]
    family = name.removesuffix("_bucket") if "le" in pairs else name
    label = _NUMBER_LABEL.get(types.get(family, ""))
    if label in pairs:
        try:
            pairs[label] = format_open_metrics(parse_float(pairs[label]))
        except ValueError:
            return


def _value(written: str, number: int) -> float:
    try:
        return parse_float(written)
    except ValueError as error:
        raise ExpositionError(f"invalid value {written!r}", number) from error


def _time(written: str, number: int) -> int:
    try:
        return int(written)
    except ValueError as error:
        raise ExpositionError(f"invalid timestamp {written!r}; it is a number of milliseconds", number) from error
