"""A matrix of Prometheus from its bytes to columns, without a Python object for each sample.

Samples are cut out of the answer by position and parsed by simdjson into one buffer of floats for each series; what is
left is small and ordinary JSON. Measured beside other ways in docs/performance.md. Anything unusual (NaN, infinities,
white space between brackets) takes the ordinary way, series by series or for the whole answer.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterator
from typing import Any

Labels = dict[str, str]
Columns = tuple["array[float]", "array[float]"]

_OPEN, _CLOSE = b'"values":[', b"]]"
# Samples are text in quotes. White space in their place leaves numbers, which mean the same in JSON.
_WITHOUT_QUOTES = bytes.maketrans(b'"', b" ")


def read(body: bytes) -> tuple[dict[str, Any], list[tuple[Labels, Columns]]]:
    """Split an answer of ``/api/v1/query_range``.

    Args:
        body: the whole answer, UTF-8 JSON.

    Returns:
        The answer with an index in place of each series' samples, and for each series its labels and its columns:
        times (epoch seconds) and values, both of shape ``(n,)``.

    Raises:
        ValueError: it is not JSON, or not of the API's shape.
    """
    cuts = list(_cuts(body))
    pieces, position = [], 0
    for number, (begin, end) in enumerate(cuts):
        pieces += [body[position:begin], str(number).encode()]
        position = end
    try:
        frame = json.loads(b"".join([*pieces, body[position:]]))
        series = [_one(one, body, cuts) for one in _results(frame)]
    except (ValueError, KeyError, TypeError, IndexError, AttributeError):
        # The pieces were not where this server puts them.
        frame = json.loads(body)
        try:
            series = [_one(one, body, []) for one in _results(frame)]
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"a series is not one of the Prometheus API: {error!r}") from error
    return frame, series


def _results(frame: Any) -> list[dict[str, Any]]:
    try:
        data = frame["data"]
        results: list[dict[str, Any]] = data["result"] if data["resultType"] == "matrix" else []
    except (KeyError, TypeError) as error:
        # An error answer has no data; who asked judges it.
        if isinstance(frame, dict):
            return []
        raise ValueError("the answer is not one of the Prometheus API") from error
    return results


def _cuts(body: bytes) -> Iterator[tuple[int, int]]:
    """Begin and end of each series' samples; in a label's text every quote is escaped, so the mark is not there."""
    found = body.find(_OPEN)
    while found >= 0:
        begin = found + len(_OPEN) - 1
        found = body.find(_OPEN, begin)
        # From the right only the labels of the next series lie between.
        end = body.rfind(_CLOSE, begin, found if found >= 0 else len(body))
        if end >= 0:
            yield begin, end + len(_CLOSE)


def _one(one: dict[str, Any], body: bytes, cuts: list[tuple[int, int]]) -> tuple[Labels, Columns]:
    labels = {str(name): str(value) for name, value in one["metric"].items() if name != "__name__"}
    samples = one.get("values", [])
    if isinstance(samples, list):
        return labels, _ordinary(samples)
    begin, end = cuts[samples]
    return labels, _columns(body[begin:end])


def _columns(samples: bytes) -> Columns:
    """The columns of ``[[time,"value"],...]``."""
    import simdjson

    try:
        pairs: Any = simdjson.Parser().parse(samples.translate(_WITHOUT_QUOTES))
        both = array("d")
        both.frombytes(pairs.as_buffer(of_type="d"))
        fits = len(both) == 2 * len(pairs)
    except (ValueError, TypeError, RuntimeError):
        return _ordinary(json.loads(samples))
    return (both[0::2], both[1::2]) if fits else _ordinary(json.loads(samples))


def _ordinary(samples: list[Any]) -> Columns:
    return array("d", (float(moment) for moment, _ in samples)), array("d", (float(value) for _, value in samples))
