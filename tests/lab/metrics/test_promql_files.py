"""Prometheus's own test files, where they are at hand: no answer may differ from theirs.

``RUNBOOK_PROMQL_TESTDATA`` names the folder ``promql/promqltest/testdata`` of the Prometheus module. A query or data
that the store does not claim is counted as refused; a number that differs is wrong, and there is none.
"""

from __future__ import annotations

import math
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from runbook_lib.lab.metrics.api import parse_duration
from runbook_lib.lab.metrics.errors import QueryError, StoreError
from runbook_lib.lab.metrics.labels import Labels, get, make_labels
from runbook_lib.lab.metrics.promql import floats
from runbook_lib.lab.metrics.promql.evaluator import Evaluation, Options
from runbook_lib.lab.metrics.promql.nodes import Node, Selector, Text, kind
from runbook_lib.lab.metrics.promql.parse import parse
from runbook_lib.lab.metrics.promql.series import Grid
from runbook_lib.lab.metrics.store import Store

FOLDER = os.environ.get("RUNBOOK_PROMQL_TESTDATA", "")
FILES = sorted(Path(FOLDER).glob("*.test")) if FOLDER else []
# The engine of the files runs with this feature flag and with a minute as the default step of subqueries.
OPTIONS = Options(default_step_ms=60_000, delayed_name_removal=True)
TOLERANCE = 1e-6

_EVAL = re.compile(
    r"eval(?:_(?P<mark>fail|warn|ordered|info))?\s+"
    r"(?:instant\s+(?:at\s+(?P<at>\S+)\s+)?|range\s+from\s+(?P<start>\S+)\s+to\s+(?P<end>\S+)\s+step\s+(?P<step>\S+)\s+)"
    r"(?P<query>.+)"
)
_NUMBER = r"(?:[+-]?(?:\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+|[Ii]nf|NaN|0[xX][0-9a-fA-F]+))"
_ITEM = re.compile(rf"(?P<first>{_NUMBER}|_|stale)(?:(?P<delta>[+-]{_NUMBER})?x(?P<times>\d+))?")

Expected = list[float | None]
Row = tuple[Labels, Expected]


@dataclass
class Case:
    """One evaluation of a file, with its data and what it must give."""

    query: str
    times: tuple[int, int, int]
    is_range: bool
    fails: bool
    ordered: bool
    lines: list[str]
    store: Store
    foreign: frozenset[str]
    where: str


@dataclass
class Data:
    """What the loads so far have left; ``foreign`` names metrics with samples that the store does not keep."""

    store: Store = field(default_factory=lambda: Store(1e12))
    foreign: set[str] = field(default_factory=set)


def _ms(text: str) -> int:
    sign = -1 if text.startswith("-") else 1
    return sign * parse_duration(text.lstrip("-"), "time")


def _blocks(path: Path) -> Iterator[tuple[int, list[str]]]:
    """A command and the indented lines below it."""
    block: list[str] = []
    first = 0
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip() or line.strip().startswith("#"):
            if not line.strip() and block:
                yield first, block
                block = []
            continue
        if not block:
            first = number
        block.append(line.strip())
    if block:
        yield first, block


def _split(line: str) -> tuple[str, str]:
    """The series and the rest of a line; braces and quotes may hold spaces."""
    depth = quote = 0
    for index, letter in enumerate(line):
        if quote:
            quote = 0 if letter == chr(quote) and line[index - 1] != "\\" else quote
        elif letter in "\"'`":
            quote = ord(letter)
        elif letter in "{}":
            depth += 1 if letter == "{" else -1
        elif letter.isspace() and not depth:
            return line[:index], line[index:].strip()
    return line, ""


def _labels(text: str) -> Labels:
    if text == "{}":
        return ()
    node = parse(text)
    assert isinstance(node, Selector)
    return make_labels({matcher.name: matcher.value for matcher in node.matchers})


def _values(text: str) -> list[float | None]:
    out: list[float | None] = []
    for item in text.split():
        match = _ITEM.fullmatch(item)
        if match is None:
            raise QueryError(f"samples {item!r} are none of floats")
        times = int(match["times"] or 0)
        if match["first"] == "_":
            out += [None] * max(1, times)
        elif match["first"] == "stale":
            out += [floats.STALE] * (times + 1)
        else:
            first, delta = floats.parse_float(match["first"]), floats.parse_float(match["delta"] or "0")
            value = first
            for _ in range(times + 1):
                out.append(value)
                value += delta
    return out


def _load(data: Data, block: Sequence[str]) -> None:
    step = _ms(block[0].split()[-1])
    loaded: dict[Labels, list[tuple[int, float]]] = {}
    for line in block[1:]:
        text, rest = _split(line)
        try:
            labels = _labels(text)  # a series with "@st" holds start timestamps, which is no selector
            samples = [(i * step, v) for i, v in enumerate(_values(rest)) if v is not None]
        except QueryError:
            data.foreign.add(re.split(r"[{@]", text)[0])
            continue
        loaded[labels] = samples  # the later line of one series counts
        if "with_nhcb" in block[0]:
            data.foreign.add(re.sub("_(bucket|count|sum)$", "", get(labels, "__name__")))
    for labels, samples in loaded.items():
        data.store.insert(labels, samples)


def _cases(path: Path) -> Iterator[Case]:
    data = Data()
    for number, block in _blocks(path):
        index = 0
        while index < len(block):
            following = next(
                (i for i in range(index + 1, len(block)) if re.match(r"(eval|load|clear)\b|eval_|load_", block[i])),
                len(block),
            )
            command = block[index:following]
            index = following
            if command[0].startswith("clear"):
                data = Data()
            elif command[0].startswith("load"):
                _load(data, command)
            elif command[0].startswith("eval"):
                yield _case(command, data, f"{path.name}:{number}")


def _case(block: list[str], data: Data, where: str) -> Case:
    match = _EVAL.fullmatch(block[0])
    assert match is not None, block[0]
    if match["step"]:
        times = _ms(match["start"]), _ms(match["end"]), _ms(match["step"])
    else:
        times = (_ms(match["at"] or "0"),) * 2 + (1,)
    expects = [line for line in block[1:] if line.startswith("expect ")]
    return Case(
        query=match["query"],
        times=times,
        is_range=bool(match["step"]),
        fails=match["mark"] == "fail" or any(line.startswith("expect fail") for line in expects),
        ordered=match["mark"] == "ordered" or "expect ordered" in expects,
        lines=[line for line in block[1:] if line not in expects or line.startswith(("expect range", "expect string"))],
        store=data.store,
        foreign=frozenset(data.foreign),
        where=where,
    )


def _is_foreign(case: Case) -> bool:
    """Whether the answer depends on samples that were left out: native histograms and start timestamps."""
    names = any(re.search(rf"(?<![\w:]){re.escape(name)}(?![\w:])", case.query) for name in case.foreign)
    nameless = bool(case.foreign) and re.search(r"(?<![\w:}\"])\{", case.query) is not None
    return names or nameless or any("{{" in line or line.startswith("expect range") for line in case.lines)


def _evaluate(case: Case, node: Node) -> list[Row] | str:
    start, end, step = case.times
    grid = Grid(start, end, step)
    evaluation = Evaluation(case.store, grid, OPTIONS)
    if isinstance(node, Text):
        return node.value
    if kind(node) == "matrix":
        return [(samples.labels, list(samples.values)) for samples in evaluation.matrix(node)]
    if kind(node) == "scalar":
        return [((), list(evaluation.scalar(node)))]
    return [(series.labels, series.values) for series in evaluation.result(node)]


def _expected(case: Case) -> list[Row] | str:
    if case.lines and case.lines[0].startswith("expect string"):
        return case.lines[0].removeprefix("expect string").strip()[1:-1]
    rows: list[Row] = []
    for line in case.lines:
        text, rest = _split(line)
        if not rest:
            rows.append(((), [floats.parse_float(line)]))
            continue
        values = _values(rest)
        if case.is_range:
            steps = len(Grid(*case.times))
            values += [None] * (steps - len(values))
        rows.append((_labels(text), values))
    return rows


def _close(left: float | None, right: float | None) -> bool:
    if left is None or right is None:
        return left is right
    if math.isnan(left) or math.isnan(right):
        return math.isnan(left) and math.isnan(right)
    return left == right or abs(left - right) <= TOLERANCE * (abs(left) + abs(right))


def _same(expected: list[Row] | str, got: list[Row] | str, *, ordered: bool) -> bool:
    if isinstance(expected, str) or isinstance(got, str):
        return expected == got
    if not ordered:
        expected, got = sorted(expected, key=lambda row: row[0]), sorted(got, key=lambda row: row[0])
    return [row[0] for row in expected] == [row[0] for row in got] and all(
        len(a) == len(b) and all(_close(x, y) for x, y in zip(a, b, strict=True))
        for (_, a), (_, b) in zip(expected, got, strict=True)
    )


def judge(case: Case) -> tuple[str, str]:
    """``right``, ``refused`` or ``wrong``, and why."""
    try:
        node = parse(case.query)
    except QueryError as error:
        return ("right" if case.fails else "refused"), str(error)
    if _is_foreign(case):
        return "refused", "the data holds native histograms or start timestamps"
    try:
        got = _evaluate(case, node)
    except QueryError as error:
        return ("right" if case.fails else "refused"), str(error)
    except StoreError as error:
        return ("right" if case.fails else "wrong"), str(error)
    if case.fails:
        return "wrong", f"must fail, gave {got}"
    expected = _expected(case)
    right = _same(expected, got, ordered=case.ordered and not case.is_range)
    return ("right" if right else "wrong"), f"expected {expected}, got {got}"


@pytest.mark.skipif(not FILES, reason="RUNBOOK_PROMQL_TESTDATA names no folder with test files")
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_no_answer_differs_from_prometheus(path: Path, record_property: Callable[[str, object], None]) -> None:
    """Every evaluation of the file gives the file's numbers or is refused."""
    counts: Counter[str] = Counter()
    wrong: list[str] = []
    for case in _cases(path):
        verdict, why = judge(case)
        counts[verdict] += 1
        if os.environ.get("RUNBOOK_PROMQL_VERBOSE") and verdict == "refused":
            print(f"refused {case.where} {case.query}: {why}")  # noqa: T201
        if verdict == "wrong":
            wrong.append(f"{case.where} {case.query}: {why}")
    for verdict in ("right", "refused", "wrong"):
        record_property(verdict, counts[verdict])
    print(f"{path.stem}: right {counts['right']}, refused {counts['refused']}, wrong {counts['wrong']}")  # noqa: T201
    assert [] == wrong, "\n".join(wrong)
