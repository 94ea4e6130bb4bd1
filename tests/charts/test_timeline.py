from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET
from itertools import pairwise
from typing import Any

import pytest

from runbook_lib.charts import Chart, Limit, Mark, timeline
from runbook_lib.charts.figure import MIME
from runbook_lib.model import Evidence, Gap, Objective, Outcome, OutcomeStatus, Series, Table
from runbook_lib.model.times import from_epoch

from .conftest import END, START, evidence, line

SVG = "{http://www.w3.org/2000/svg}"
SLOW = [0.1] * 120 + [0.6] * 120


def texts(chart: Chart) -> list[str]:
    """Everything that is written in the picture."""
    return [node.text or "" for node in ET.fromstring(chart.svg).iter(f"{SVG}text")]


def latency(values: list[float]) -> Evidence:
    """One latency series over the window."""
    return evidence((line(values),))


def test_the_sentence_holds_the_numbers(objective: Objective) -> None:
    """A person who sees no picture reads now, highest, lowest, and how long the objective was missed."""
    chart = timeline(latency(SLOW), objective=objective)
    assert (
        chart.sentence
        == "p95 latency: now 600 ms, highest 600 ms at 02:44:00, lowest 100 ms, above the objective 200 ms for 29m57s "
        "in all, first at 02:43:48. Window 2026-03-01 02:14:00 - 03:14:00 UTC (1h00m)." == chart.sentence
    )


def test_a_healthy_series_is_said_to_be_below_the_objective(objective: Objective) -> None:
    """Without a violation the sentence says so and nothing is shaded."""
    chart = timeline(latency([0.1] * 240), objective=objective)
    assert "never above the objective 200 ms" in chart.sentence
    assert [] == [s for s in chart.figure_json["layout"]["shapes"] if s["type"] == "rect"]


def test_the_objective_is_drawn_and_its_violation_shaded(objective: Objective) -> None:
    """The objective is a labelled line in both pictures, and the time beyond it is shaded."""
    chart = timeline(latency(SLOW), objective=objective)
    assert "objective 200 ms" in texts(chart)
    shapes = chart.figure_json["layout"]["shapes"]
    assert [s["y0"] for s in shapes if s["type"] == "line"] == [200.0]
    assert ["2026-03-01 02:43:48"] == [s["x0"] for s in shapes if s["type"] == "rect"]


def test_an_objective_of_another_unit_is_not_drawn(objective: Objective) -> None:
    """A latency objective says nothing about a request rate."""
    chart = timeline(evidence((line([40.0] * 240),), unit="1/s", title="Requests"), objective=objective)
    assert "objective" not in chart.sentence


def test_an_availability_objective_draws_its_error_budget() -> None:
    """99.9 % availability is a line at 0.1 % errors."""
    promise = Objective("availability", "availability", 0.999, None, 30)
    chart = timeline(evidence((line([0.01] * 240),), unit="ratio", title="Errors"), objective=promise)
    assert "above the objective 0.1 %" in chart.sentence


def test_a_hole_breaks_the_line_and_is_named(objective: Objective) -> None:
    """NaN is drawn as a break and as time without data, never as a line or a zero."""
    chart = timeline(latency([0.1] * 80 + [math.nan] * 40 + [0.1] * 120), objective=objective)
    assert None in chart.figure_json["data"][0]["y"]
    assert 0 not in chart.figure_json["data"][0]["y"]
    assert "no data for 10m15s of it" in chart.sentence
    assert "no data" in texts(chart)
    paths = [node.get("d", "") for node in ET.fromstring(chart.svg).iter(f"{SVG}path")]
    assert 2 == max(path.count("M") for path in paths)


def test_a_long_beginning_without_data_is_cut_to_a_strip() -> None:
    """A store that has data of the last minutes only is drawn large; the sentence keeps the whole window."""
    chart = timeline(latency([math.nan] * 200 + [0.1] * 40))
    edges = chart.figure_json["layout"]["xaxis"]["range"]
    assert ["2026-03-01 03:03:12", "2026-03-01 03:14:00"] == edges
    assert "no data" in texts(chart)
    assert "no data for 50m00s" in chart.sentence
    assert "Window 2026-03-01 02:14:00 - 03:14:00 UTC" in chart.sentence


def test_a_single_sample_is_visible() -> None:
    """One sample has no length, and is drawn as a dot in both pictures."""
    chart = timeline(latency([0.1] + [math.nan] * 200))
    assert "h0" in chart.svg
    assert "lines+markers" == chart.figure_json["data"][0]["mode"]


def test_a_spike_of_one_sample_survives_thinning() -> None:
    """The highest of 100,000 samples is in the picture, in few points."""
    values = [0.1] * 100_000
    values[54_321] = 9.9
    chart = timeline(evidence((line(values, step_seconds=0.036),)))
    drawn = chart.figure_json["data"][0]["y"]
    assert max(drawn) == 9.9
    assert len(drawn) < 2_500
    assert len(chart.svg) < 60_000


def test_a_gap_says_why_there_is_no_data(gap: Gap, objective: Objective) -> None:
    """A source that is down gives a picture with the reason, and no line."""
    chart = timeline(gap, objective=objective)
    assert ["p95 latency", "no data: prometheus: connection refused"] == [text for text in texts(chart) if text]
    assert [] == chart.figure_json["data"]
    assert "no data: prometheus: connection refused" in chart.sentence
    assert chart.png.startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "data",
    [
        pytest.param((), id="no series"),
        pytest.param((line([]),), id="empty series"),
        pytest.param((line([math.nan] * 10),), id="only nan"),
        pytest.param((line([math.inf]),), id="only infinity"),
        pytest.param(Table(("a",), ((1,),)), id="a table"),
        pytest.param({"a": 1}, id="a document"),
        pytest.param((Series.of([(START - 9e4, 1.0)]),), id="before the window"),
    ],
)
def test_an_answer_without_numbers_is_no_data(data: Any) -> None:
    """An answer without one finite sample in the window is "no data", never zero."""
    chart = timeline(evidence(data))
    assert "no data" in chart.sentence
    assert [] == chart.figure_json["data"]


def test_units_that_differ_get_panels_of_their_own(gap: Gap) -> None:
    """Latency and traffic share the time axis, not the value axis; a gap has its own panel."""
    traffic = evidence((line([40.0] * 240),), unit="1/s", title="Requests per second")
    layout = timeline(latency(SLOW), traffic, gap).figure_json["layout"]
    assert {"yaxis", "yaxis2", "yaxis3"} == {key for key in layout if key.startswith("yaxis")}


def test_series_differ_in_colour_and_in_dash() -> None:
    """A reader who sees no colours can tell the series apart."""
    pods = tuple(line([0.1 * i] * 240, labels={"pod": f"api-{i}", "job": "api"}) for i in range(1, 5))
    data = timeline(evidence(pods)).figure_json["data"]
    assert [trace["name"] for trace in data] == ["api-4", "api-3", "api-2", "api-1"]
    assert 4 == len({trace["line"]["color"] for trace in data})
    assert 4 == len({trace["line"]["dash"] for trace in data})
    assert "#D55E00" not in {trace["line"]["color"] for trace in data}


def test_series_that_are_not_drawn_are_counted() -> None:
    """With more series than colours, the highest are drawn and the rest are named as missing."""
    pods = tuple(line([0.01 * i] * 240, labels={"pod": f"api-{i}"}) for i in range(1, 21))
    chart = timeline(evidence(pods))
    assert 6 == len(chart.figure_json["data"])
    assert "api-20" == chart.figure_json["data"][0]["name"]
    assert "14 lower series are not drawn" in chart.sentence


def test_rollouts_outcomes_and_marks_stand_on_the_axis() -> None:
    """What happened is marked at its time with what it was."""
    rollouts = evidence(
        Table(("revision", "image", "started_at"), ((2, "registry.example.com/acme/api:v2", START + 600),)),
        title="Rollouts",
        source="kubernetes",
    )
    outcome = Outcome("sha256:0", OutcomeStatus.APPLIED, "scaled", sent_at=from_epoch(START + 1200))
    chart = timeline(latency(SLOW), marks=[rollouts, outcome, Mark(START + 1800, "restart")])
    assert {"▲ revision 2 api:v2", "● action applied", "▲ restart"} <= set(texts(chart))
    assert "revision 2 api:v2 at 02:24:00" in chart.sentence


def test_labels_of_marks_never_touch() -> None:
    """Labels of marks close to each other are put in rows; those without room are counted."""
    marks = [Mark(START + 600 + 20 * i, f"revision {i}") for i in range(9)]
    chart = timeline(latency(SLOW), marks=marks)
    shown = [
        (float(n.get("y", 0)), float(n.get("x", 0)), n.text or "")
        for n in ET.fromstring(chart.svg).iter(f"{SVG}text")
        if "▲" in (n.text or "")
    ]
    rows: dict[float, list[tuple[float, float]]] = {}
    for y, x, text in shown:
        rows.setdefault(y, []).append((x, x + 0.62 * 12 * len(text)))
    assert all(a[1] <= b[0] for spans in rows.values() for a, b in pairwise(spans))
    assert f"{9 - len(shown)} more marks" in texts(chart)


@pytest.mark.parametrize(
    ("second", "expected"), [(60, "▲ release"), (3590, "release ▲")], ids=["at the left edge", "at the right edge"]
)
def test_a_label_stays_inside_with_its_sign_at_the_mark(second: float, expected: str) -> None:
    """A label without room on the right stands on the left of its mark."""
    chart = timeline(latency(SLOW), marks=Mark(START + second, "release"))
    (node,) = [n for n in ET.fromstring(chart.svg).iter(f"{SVG}text") if "release" in (n.text or "")]
    assert expected == node.text
    x, width = float(node.get("x", 0)), 0.62 * 12 * len(expected)
    left = x if node.get("text-anchor") == "start" else x - width
    assert 0 <= left <= left + width <= 560 + 5


def test_the_unit_is_named_once() -> None:
    """A heading that speaks of the unit already does not repeat it; one that only holds its letter does not hide it."""
    traffic = evidence((line([40.0] * 240),), unit="1/s", title="Requests per second")
    slow = evidence((line([9.0] * 240),), unit="s", title="Slowest requests")
    shown = texts(timeline(traffic, slow))
    assert "Requests per second" in shown
    assert "Slowest requests, s" in shown


def test_marks_that_could_not_be_read_are_named() -> None:
    """Missing rollouts must not look like "no rollout"."""
    lost = Gap("kubernetes", "rollouts", "Rollouts", "forbidden", "denied", True, END)
    assert "no marks for Rollouts (kubernetes: forbidden)" in timeline(latency(SLOW), marks=lost).sentence


def test_a_limit_label_stays_inside_the_picture() -> None:
    """A limit at the very top is labelled below its line."""
    chart = timeline(latency([0.1] * 240), limits=[Limit(1.0, "limit 1 s")])
    assert "limit 1 s" in texts(chart)


def test_the_bundle_has_a_form_for_every_viewer(objective: Objective) -> None:
    """One bundle: plotly with sharing off, a PNG, a sentence, and alternative text for the PNG."""
    data, metadata = timeline(latency(SLOW), objective=objective)._repr_mimebundle_()
    assert {MIME, "image/png", "text/plain"} == set(data)
    assert {"showSendToCloud": False, "plotlyServerURL": "", "displaylogo": False}.items() <= data[MIME][
        "config"
    ].items()
    assert metadata["image/png"]["alt"] == data["text/plain"]
    assert 560 == metadata["image/png"]["width"]


def test_the_bundle_can_be_narrowed(objective: Objective) -> None:
    """A front end that asks for one form gets one form."""
    data, _ = timeline(latency(SLOW))._repr_mimebundle_(include={"text/plain"})
    assert {"text/plain"} == set(data)


def test_plotly_accepts_the_figure(objective: Objective, gap: Gap) -> None:
    """The hand-made JSON is valid to plotly's own validators."""
    graph_objects = pytest.importorskip("plotly.graph_objects")
    chart = timeline(latency(SLOW), gap, objective=objective, marks=Mark(START + 60, "<b>x</b>"))
    figure = {k: v for k, v in chart.figure_json.items() if k != "config"}
    assert 1 == len(graph_objects.Figure(figure).data)


def test_hostile_text_stays_text() -> None:
    """Labels from a source cannot add markup to the picture or to plotly, nor break it with control characters."""
    hostile = '</text><script>alert(1)</script>\x00\x1b[31m"'
    chart = timeline(evidence((line([1.0] * 9, labels={"pod": hostile}), line([2.0] * 9)), title=hostile))
    assert "<script" not in chart.svg
    assert "<script" not in str(chart.figure_json["data"]) + str(chart.figure_json["layout"]["title"])
    assert chart.png.startswith(b"\x89PNG")


def test_the_picture_needs_no_network_and_no_script() -> None:
    """The SVG refers to nothing outside itself."""
    chart = timeline(latency(SLOW))
    assert [] == re.findall(r"href|url\(|<style|<script|@import", chart.svg)


def test_values_below_zero_stay_inside_the_axes() -> None:
    """Axes begin at zero; a negative value is drawn on the base line and told as it is."""
    assert "lowest -1.0 s" in timeline(latency([-1.0, 1.0] * 50)).sentence
