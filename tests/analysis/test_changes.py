"""What changed: releases, traffic, errors."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from runbook_lib import analysis
from runbook_lib.model import Evidence, Finding, Role, Severity
from runbook_lib.model.evidence import Scalar

from .builders import AVAILABILITY, END, gap, latency, line, series, table, traffic

NOW = END.timestamp()


def revision(number: int, image: str, ago: float) -> dict[str, Scalar]:
    """A row of the rollouts."""
    return {"revision": number, "image": f"acme/api:{image}", "started_at": NOW - ago}


def rollouts(*rows: Mapping[str, Scalar]) -> Evidence:
    """The rollouts of the deployment."""
    return table("kubernetes", "rollouts", rows)


def only(found: tuple[Finding, ...]) -> Finding:
    """The one finding."""
    assert 1 == len(found)
    return found[0]


FIRST = revision(1, "v1", 86400)


@pytest.mark.parametrize("lag", [0, 30, 120, 280], ids=lambda lag: f"{lag} s")
def test_a_rise_soon_after_a_new_image_blames_the_release(lag: float) -> None:
    """Latency that rises within five minutes of a new image points at the release, with the way back named."""
    found = only(
        analysis.shifted_after(latency(line(0.05, 0.6, ago=600 - lag)), rollouts(FIRST, revision(2, "v2", 600)))
    )
    assert (Role.CAUSE, "app.bad_release") == (found.role, found.cause)
    assert (1, "acme/api:v1") == (found.subject["previous_revision"], found.subject["previous_image"])


@pytest.mark.parametrize(
    "rows",
    [
        (FIRST, revision(2, "v2", 1200)),
        (FIRST, revision(2, "v2", 300)),
        (revision(1, "v1", 620),),
        (revision(3, "v1", 86400), revision(2, "v2", 620)),
    ],
    ids=["long before", "after the rise", "the first revision", "already rolled back"],
)
def test_a_release_that_does_not_fit_in_time_is_ruled_out(rows: tuple[Mapping[str, Scalar], ...]) -> None:
    """A release long before, after the rise, without a predecessor, or no longer live is not blamed."""
    assert Role.RULED_OUT is only(analysis.shifted_after(latency(line(0.05, 0.6, ago=600)), rollouts(*rows))).role


def test_a_new_configuration_of_the_same_image_is_context() -> None:
    """A rollout of the same image is mentioned; the image is not to blame."""
    found = only(analysis.shifted_after(latency(line(0.05, 0.6, ago=600)), rollouts(FIRST, revision(2, "v1", 620))))
    assert Role.CONTEXT is found.role


def test_no_rise_rules_the_release_out() -> None:
    """Without a change there is nothing to blame on a release."""
    found = only(analysis.shifted_after(latency(line(0.05)), rollouts(FIRST, revision(2, "v2", 600))))
    assert Role.RULED_OUT is found.role


def test_a_rollout_from_the_future_is_clock_skew() -> None:
    """When a rollout starts after the window's end the clocks differ and nothing is aligned."""
    found = only(analysis.shifted_after(latency(line(0.05, 0.6)), rollouts(FIRST, revision(2, "v2", -60))))
    assert Severity.UNKNOWN is found.severity
    assert "clocks differ" in found.title


@pytest.mark.parametrize("which", [0, 1], ids=["no latency", "no rollouts"])
def test_a_gap_leaves_the_release_unknown(which: int) -> None:
    """Without either side nothing is said about the release."""
    given = [latency(line(0.05, 0.6)), rollouts(FIRST)]
    given[which] = gap("kubernetes", "rollouts")  # type: ignore[call-overload]
    assert Severity.UNKNOWN is only(analysis.shifted_after(*given)).severity


def test_traffic_that_rose_with_latency_drives_it() -> None:
    """Three times the traffic at the time of the rise is a surge."""
    found = only(analysis.driven_by(latency(line(0.05, 0.6, ago=600)), traffic(line(20, 60, ago=620))))
    assert (Role.CAUSE, "traffic.surge") == (found.role, found.cause)
    assert found.observed is not None
    assert pytest.approx(3, rel=0.1) == found.observed.value


@pytest.mark.parametrize(
    ("rate", "role"),
    [
        (line(20), Role.RULED_OUT),
        (line(20, 26, ago=600), Role.RULED_OUT),
        (line(20, 60, ago=120), Role.RULED_OUT),
        (line(20, 60, ago=3000), Role.RULED_OUT),
        (line(20, 8, ago=600), Role.RULED_OUT),
    ],
    ids=["steady", "a little more", "after latency", "long before latency", "less"],
)
def test_traffic_that_does_not_fit_is_ruled_out(rate: list[tuple[float, float]], role: Role) -> None:
    """Traffic that did not rise enough, or not then, is ruled out."""
    assert role is only(analysis.driven_by(latency(line(0.05, 0.6, ago=600)), traffic(rate))).role


def test_a_surge_that_latency_stands_is_context() -> None:
    """More traffic without slower answers is no trouble."""
    assert Role.CONTEXT is only(analysis.driven_by(latency(line(0.05)), traffic(line(20, 60)))).role


def test_traffic_that_began_is_no_surge() -> None:
    """A service that was started has no usual traffic yet."""
    began = [(t, 0.0 if t < NOW - 600 else 20.0) for t, _ in line(1)]
    assert Role.RULED_OUT is only(analysis.driven_by(latency(line(0.05, 0.6, ago=600)), traffic(began))).role


def ratio(points: list[tuple[float, float]]) -> Evidence:
    """The share of failed requests."""
    return series("error_ratio", "ratio", {"": points})


@pytest.mark.parametrize(
    ("after", "severity", "role"),
    [
        (0.25, Severity.CRITICAL, Role.CAUSE),
        (0.008, Severity.WARNING, Role.CAUSE),
        (0.0005, Severity.NOTE, Role.RULED_OUT),
    ],
    ids=["a quarter", "eight times the budget", "within the budget"],
)
def test_errors_are_held_against_the_budget(after: float, severity: Severity, role: Role) -> None:
    """The burn rate decides: 14.4 pages at once, 6 within hours, less is ruled out."""
    found = only(analysis.errors(ratio(line(1e-5, after)), AVAILABILITY, traffic=traffic(line(20))))
    assert (severity, role) == (found.severity, found.role)


def test_errors_from_a_standing_start_are_dated() -> None:
    """A ratio that was exactly zero before is dated at its first errors."""
    points = [(t, 0.0 if t < NOW - 300 else 0.2) for t, _ in line(1)]
    found = only(analysis.errors(ratio(points), AVAILABILITY))
    assert found.since is not None
    assert pytest.approx(NOW - 300, abs=30) == found.since.timestamp()


def test_errors_that_are_over_are_ruled_out() -> None:
    """Errors of the last five minutes that have stopped spend nothing now."""
    points = [(t, 0.3 if NOW - 240 <= t < NOW - 90 else 0.0) for t, _ in line(1)]
    assert Role.RULED_OUT is only(analysis.errors(ratio(points), AVAILABILITY, traffic=traffic(line(20)))).role


def test_a_handful_of_errors_is_unknown() -> None:
    """Half of four requests failing proves nothing."""
    found = only(analysis.errors(ratio(line(1e-6, 0.5)), AVAILABILITY, traffic=traffic(line(0.01))))
    assert Severity.UNKNOWN is found.severity


def test_no_error_ratio_is_unknown() -> None:
    """A missing ratio is not a ratio of zero."""
    assert Severity.UNKNOWN is only(analysis.errors(gap("prometheus", "error_ratio"))).severity
