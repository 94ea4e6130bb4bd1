"""Samples of Prometheus as columns: exactly the numbers that Python reads, whatever the server writes around them."""

from __future__ import annotations

import json
import math
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbook_lib.clients import _matrix

LABELS = st.dictionaries(st.text(min_size=1, max_size=8).filter(lambda name: name != "__name__"), st.text(max_size=20))
VALUES = st.floats(allow_nan=True, allow_infinity=True, width=64)


def written(value: float) -> str:
    """A value as Prometheus writes it: digits without an exponent, or Go's words."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return format(value, "f") if value == int(value) else repr(value)


def answer(series: list[tuple[dict[str, str], list[list[Any]]]], **style: Any) -> bytes:
    """An answer of the API."""
    result = [{"metric": labels, "values": samples} for labels, samples in series]
    body = {"status": "success", "data": {"resultType": "matrix", "result": result}}
    return json.dumps(body, separators=(",", ":"), ensure_ascii=False, **style).encode("utf-8", "surrogatepass")


def bits(value: float) -> bytes:
    """A float's bits, any NaN as one."""
    return struct.pack("d", math.nan if math.isnan(value) else value)


@given(st.lists(st.tuples(LABELS, st.lists(st.tuples(st.integers(0, 2**40), VALUES), max_size=8)), max_size=4))
def test_columns_hold_exactly_the_floats_of_python(
    series: list[tuple[dict[str, str], list[tuple[int, float]]]],
) -> None:
    """Every time and value has the bits that ``float`` gives, whatever the labels hold."""
    body = answer([(labels, [[t / 1000, written(v)] for t, v in points]) for labels, points in series])
    frame, found = _matrix.read(body)
    assert "success" == frame["status"]
    assert [labels for labels, _ in series] == [labels for labels, _ in found]
    for (_, points), (_, (times, values)) in zip(series, found, strict=True):
        assert [t / 1000 for t, _ in points] == list(times)
        assert [bits(float(written(v))) for _, v in points] == [bits(v) for v in values]


@pytest.mark.parametrize(
    "labels",
    [
        pytest.param({"a": '"values":[[1,"2"]]'}, id="a label that looks like samples"),
        pytest.param({"values": "x"}, id="a label of that name"),
        pytest.param({"a": "]]"}, id="closing brackets in a label"),
        pytest.param({"a": '\\"values\\":['}, id="escaped"),
        pytest.param({"zz": ']],"values":[['}, id="all of it"),
    ],
)
def test_labels_are_never_taken_for_samples(labels: dict[str, str]) -> None:
    """The series keep their own numbers."""
    _, found = _matrix.read(answer([(labels, [[1, "2"]]), (labels, [[3, "4"]])]))
    assert [(labels, [1.0], [2.0]), (labels, [3.0], [4.0])] == [(name, list(t), list(v)) for name, (t, v) in found]


def test_white_space_takes_the_ordinary_way() -> None:
    """Servers that write their JSON for people are read, too."""
    body = json.dumps(json.loads(answer([({"a": "b"}, [[1, "2"], [2, "NaN"]]), ({}, [[1, "7"]])])), indent=2).encode()
    _, found = _matrix.read(body)
    assert [([1.0, 2.0], 2), ([1.0], 1)] == [(list(t), len(v)) for _, (t, v) in found]


def test_a_series_without_samples_is_empty() -> None:
    """An empty list is no error."""
    _, found = _matrix.read(answer([({"a": "b"}, []), ({"a": "c"}, [[1, "2"]])]))
    assert [0, 1] == [len(t) for _, (t, _) in found]


def test_an_error_answer_has_no_series() -> None:
    """It is judged by who asked."""
    assert ({"status": "error"}, []) == _matrix.read(b'{"status": "error"}')


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"<html>", id="not JSON"),
        pytest.param(b"[1]", id="not an object"),
        pytest.param(answer([({}, [[1, "many"]])]), id="a word"),
        pytest.param(answer([({}, [[1, "true"]])]), id="a word that JSON knows"),
        pytest.param(answer([({}, [[1, "2", 3], [4]])]).replace(b'"2",3', b'"2",3,5'), id="no pairs"),
        pytest.param(b'{"data":{"resultType":"matrix","result":[{"values":[[1,"2"]]}]}}', id="no labels"),
    ],
)
def test_what_is_no_matrix_is_refused(body: bytes) -> None:
    """A wrong number is worse than none."""
    with pytest.raises(ValueError):  # noqa: PT011 - any of JSON's, float's and ours
        _matrix.read(body)
