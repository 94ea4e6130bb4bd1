"""The text exposition format."""

from __future__ import annotations

import math
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbook_lib.lab.metrics import labels as label_sets
from runbook_lib.lab.metrics.errors import ExpositionError
from runbook_lib.lab.metrics.exposition import PageParser, Sample
from runbook_lib.lab.metrics.labels import make_labels
from runbook_lib.lab.metrics.promql.floats import format_float


def parse(page: str) -> list[Sample]:
    return [sample for _, sample in PageParser().parse(page)]


NAMES = st.from_regex(r"[a-zA-Z_:][a-zA-Z0-9_:]{0,8}", fullmatch=True)
LABELS = st.dictionaries(
    st.from_regex(r"[a-zA-Z][a-zA-Z0-9_]{0,8}", fullmatch=True).filter(lambda name: name not in {"le", "quantile"}),
    st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=12),
    max_size=4,
)


@given(name=NAMES, labels=LABELS, value=st.floats())
def test_what_is_written_is_read(name: str, labels: dict[str, str], value: float) -> None:
    """A series in the notation of the format comes back with its labels and its value."""
    wanted = make_labels({**labels, "__name__": name})
    inside = ",".join(f"{key}={label_sets.quote(text)}" for key, text in labels.items())
    (sample,) = parse(f"{name}{{{inside}}} {format_float(value)}\n")
    assert wanted == sample.labels
    assert value == sample.value or (math.isnan(value) and math.isnan(sample.value))


@given(st.text(string.printable, max_size=60))
def test_garbage_is_an_error_with_its_line_or_a_sample(page: str) -> None:
    """No page raises anything but the error of this module."""
    lines = page.count("\n") + 1
    try:
        found = len(parse(page))
    except ExpositionError as error:
        found = error.line_number
    assert 0 <= found <= lines


def test_page_of_a_client_library_is_read() -> None:
    """Every sample of the official client's page is found, with its own time where it has one."""
    from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

    registry = CollectorRegistry()
    Counter("requests", 'with "quotes" and \\', ["path"], registry=registry).labels('a "b" \\ \n}').inc(2)
    Histogram("latency_seconds", "time", buckets=(0.5, 1), registry=registry).observe(0.7)
    found = {label_sets.text(sample.labels): sample.value for sample in parse(generate_latest(registry).decode())}
    assert 2.0 == found['requests_total{path="a \\"b\\" \\\\ \\n}"}']
    assert 1.0 == found['latency_seconds_bucket{le="1.0"}']
    assert 0.0 == found['latency_seconds_bucket{le="0.5"}']


@pytest.mark.parametrize(
    ("written", "stored"),
    [("1", "1.0"), ("0.5", "0.5"), ("1e3", "1000.0"), ("1000000", "1e+06"), ("0.00001", "1e-05"), ("+Inf", "+Inf")],
)
def test_bucket_bounds_are_stored_as_prometheus_3_does(written: str, stored: str) -> None:
    """However a page writes a bound, it is one series."""
    page = f'# TYPE h histogram\nh_bucket{{le="{written}"}} 1\n'
    assert make_labels({"__name__": "h_bucket", "le": stored}) == parse(page)[0].labels


def test_bounds_of_other_metrics_stay() -> None:
    """Only a histogram's own label is a number."""
    assert make_labels({"__name__": "g", "le": "1"}) == parse('# TYPE g gauge\ng{le="1"} 1\n')[0].labels


def test_time_of_the_page_is_kept() -> None:
    """A third word is the sample's time in milliseconds."""
    assert [Sample(make_labels({"__name__": "a"}), 1.0, 1700000000123)] == parse("a 1 1700000000123\n")


def test_metric_name_may_stand_in_quotes() -> None:
    """Names outside the classic alphabet stand inside the braces."""
    assert make_labels({"__name__": "my.metric", "a.b": "c"}) == parse('{"my.metric", "a.b"="c"} 1\n')[0].labels


def test_help_and_type_are_remembered() -> None:
    """Metadata carries the type and the unescaped help."""
    parser = PageParser()
    list(parser.parse("# HELP a one\\ntwo\n# TYPE a counter\na 1\n# a remark\n"))
    assert {"a": {"type": "counter", "help": "one\ntwo", "unit": ""}} == parser.metadata


@pytest.mark.parametrize(
    ("page", "line", "word"),
    [
        ("a 1\nb\n", 2, "value"),
        ("a one\n", 1, "one"),
        ("a 1 2 3\n", 1, "timestamp"),
        ("a 1 soon\n", 1, "soon"),
        ('a{b="c} 1\n', 1, "labels"),
        ('a{b="c" d="e"} 1\n', 1, "labels"),
        ('a{b="c",b="d"} 1\n', 1, "twice"),
        ("a{b} 1\n", 1, "no value"),
        ("1a 1\n", 1, "name"),
        ("a 1_000\n", 1, "1_000"),
        ("# TYPE a meter\n", 1, "meter"),
        ("# TYPE 1a counter\n", 1, "1a"),
    ],
    ids=str,
)
def test_error_names_line_and_fault(page: str, line: int, word: str) -> None:
    """A page that is not valid is refused with the place and the reason."""
    with pytest.raises(ExpositionError) as caught:
        parse(page)
    assert line == caught.value.line_number
    assert word in str(caught.value)
