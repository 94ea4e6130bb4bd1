"""An error budget over a window: what is left, how fast it burns, and when nothing can be said."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from runbook_lib import analysis
from runbook_lib.analysis.slo import PAIRS, Burn, Spending
from runbook_lib.model import Evidence, Role, Series, Severity, Window

from .builders import AVAILABILITY, END, LATENCY, gap

NOW = END.timestamp()
DAY = 86_400
STEP = 300


def rate(
    name: str, value: Callable[[float], float], *, days: float = 30, known_from: float = 0.0, step: float = STEP
) -> Evidence:
    """A rate over a window that ends at ``END``; ``value`` takes seconds before the end."""
    window = Window(END - timedelta(days=days), END)
    count = int(days * DAY / step)
    times = [NOW - step * (count - 1 - i) for i in range(count)]
    points = [(t, value(NOW - t)) for t in times if t >= NOW - days * DAY + known_from]
    return Evidence("prometheus", name, name, "1/s", name, {}, window, END, (Series.of(points),))


def spent(bad: Callable[[float], float], *, days: float = 30, per_second: float = 20.0, **more: float) -> Spending:
    """Spending of the availability budget by a rate of failures."""
    return analysis.spending(
        rate("requests_per_second", lambda _: per_second, days=days, **more),
        rate("failed_per_second", bad, days=days, **more),
        AVAILABILITY,
    )


def test_budget_left_of_a_month() -> None:
    """Half of the allowed share failing all month leaves half of the budget: used = burn rate x time / period."""
    told = spent(lambda _: 20 * 0.0005)
    assert told.budget_left == pytest.approx(0.5)
    assert told.kept == pytest.approx(0.9995)
    assert [(Role.RULED_OUT, "none")] == [(one.role, one.cause) for one in told.findings]


def test_a_total_outage_of_the_budgets_length_spends_it() -> None:
    """99.9 % of 30 days allow 43.2 minutes without any good answer: 45 minutes overspend, 40 do not."""
    assert (
        Severity.CRITICAL is spent(lambda ago: 20.0 if 10 * DAY <= ago < 10 * DAY + 45 * 60 else 0).findings[0].severity
    )
    assert Role.RULED_OUT is spent(lambda ago: 20.0 if 10 * DAY <= ago < 10 * DAY + 40 * 60 else 0).findings[0].role


@pytest.mark.parametrize(
    ("ratio", "minutes", "severity"),
    [
        (0.02, 60, Severity.CRITICAL),
        (0.008, 6 * 60, Severity.CRITICAL),
        (0.0015, 3 * 24 * 60, Severity.WARNING),
        (0.0009, 3 * 24 * 60, None),
        (0.02, 10, None),
    ],
    ids=["fast", "slow", "ticket", "below every rate", "too short for the long window"],
)
def test_burn_rates_of_the_workbook(ratio: float, minutes: float, severity: Severity | None) -> None:
    """A pair alerts when both of its windows burn at its rate: 14.4 over 1 h, 6 over 6 h, 1 over 3 d."""
    told = spent(lambda ago: 20 * ratio if ago < minutes * 60 else 0.0)
    fired = [one.severity for one in told.findings if one.role is Role.SYMPTOM and "burn rate" in one.title]
    assert ([severity] if severity else []) == fired


def test_a_burn_that_is_over_does_not_alert() -> None:
    """The short window says that it no longer goes on."""
    assert not any(burn.fires for burn in spent(lambda ago: 20 * 0.02 if 600 <= ago < 4200 else 0.0).burns)


def test_the_worst_incident_stands_first() -> None:
    """Incidents are told with start, length and share of the budget, most bad requests first."""

    def bad(ago: float) -> float:
        return 20.0 if 5 * DAY <= ago < 5 * DAY + 600 else 10.0 if 9 * DAY <= ago < 9 * DAY + 3600 else 0.0

    told = spent(bad)
    assert [36_000, 12_000] == [round(one.bad) for one in told.incidents]
    assert [3600, 600] == [round(one.end - one.start) for one in told.incidents]
    assert told.incidents[0].spent == pytest.approx(36_000 / (20 * 30 * DAY * 0.001))


def test_latency_counts_slow_requests_not_quantiles() -> None:
    """5 % may be slow for p95: 2.5 % slow leave half of the budget."""
    told = analysis.spending(rate("requests_per_second", lambda _: 20), rate("slow_per_second", lambda _: 0.5), LATENCY)
    assert told.budget_left == pytest.approx(0.5)


def test_weighted_by_traffic() -> None:
    """An hour of the night with nothing but errors and a hundredth of the traffic weighs a hundredth."""
    told = analysis.spending(
        rate("requests_per_second", lambda ago: 0.2 if ago < 3600 else 20, days=1),
        rate("failed_per_second", lambda ago: 0.2 if ago < 3600 else 0, days=1),
        AVAILABILITY,
    )
    assert told.kept == pytest.approx(1 - 0.2 * 3600 / (0.2 * 3600 + 20 * 23 * 3600))


@pytest.mark.parametrize("missing", ["requests", "bad"])
def test_a_gap_is_unknown(missing: str) -> None:
    """Without one of the two numbers nothing is said, least of all that the objective was kept."""
    given = [rate("requests_per_second", lambda _: 20.0), rate("failed_per_second", lambda _: 0.0)]
    given[["requests", "bad"].index(missing)] = gap("prometheus", "x")  # type: ignore[call-overload]
    told = analysis.spending(given[0], given[1], AVAILABILITY)
    assert (None, [Severity.UNKNOWN]) == (told.kept, [one.severity for one in told.findings])


def test_a_month_of_which_half_is_missing_is_unknown() -> None:
    """Time without samples is not good time."""
    told = spent(lambda _: 0.0, known_from=15 * DAY)
    assert told.known_seconds == pytest.approx(15 * DAY, abs=STEP)
    assert [Severity.UNKNOWN] == [one.severity for one in told.findings]


def test_a_hole_in_the_newest_hour_is_unknown() -> None:
    """A burn rate whose window has no samples is no burn rate of zero."""
    window = rate("requests_per_second", lambda _: 20.0)
    older = [(t, v) for t, v in window.series[0].points() if t < NOW - 1800]
    told = analysis.spending(
        Evidence("prometheus", "r", "r", "1/s", "", {}, window.window, END, (Series.of(older),)),
        rate("failed_per_second", lambda _: 0.0),
        AVAILABILITY,
    )
    assert told.burns[0].short is None
    assert Severity.UNKNOWN in [one.severity for one in told.findings]


def test_too_little_traffic_is_unknown() -> None:
    """A handful of requests proves neither."""
    told = spent(lambda _: 0.0, per_second=0.00001)
    assert [Severity.UNKNOWN] == [one.severity for one in told.findings]


def test_a_few_errors_alert_nobody() -> None:
    """Nine failed requests are too few for an alert, whatever their share."""
    assert not Burn(PAIRS[0], 100.0, 100.0, bad=9, enough=False).fires
    assert not any(burn.fires for burn in spent(lambda ago: 0.001 if ago < 3600 else 0, per_second=0.01).burns)


def test_a_short_window_tells_no_long_burn_rate() -> None:
    """Pairs that do not fit into what was read are left out, not guessed."""
    told = spent(lambda _: 0.0, days=1 / 24, step=15)
    assert [3600.0] == [burn.pair.long_seconds for burn in told.burns]
    assert [Role.RULED_OUT] == [one.role for one in told.findings]


def test_budget_left_over_time_ends_at_what_is_left() -> None:
    """The line that is drawn ends at the number that is told."""
    told = spent(lambda ago: 20.0 if 5 * DAY <= ago < 5 * DAY + 900 else 0.0)
    assert isinstance(told.left, Evidence)
    assert told.budget_left == pytest.approx(told.left.latest.value, rel=1e-6)
