"""How an objective was kept over a long window: share of good requests, error budget left, burn rates, incidents.

Burn rate = share of bad requests / error budget. The pairs of windows are those of Google's SRE workbook, table 5-8:
both windows of a pair must burn, the longer one so that it matters, the shorter one so that it still goes on.
Everything is counted in requests and weighted by traffic; quantiles are never averaged. Time without samples counts
neither as good nor as bad: it is told, and too much of it makes the answer unknown.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from runbook_lib.analysis.claims import found, has_samples, ruled_out, untold
from runbook_lib.analysis.signals import combined, end_epoch, step_seconds
from runbook_lib.analysis.thresholds import THRESHOLDS
from runbook_lib.model import Evidence, Finding, Gap, Objective, Quantity, Role, Series, Severity, show
from runbook_lib.model.times import duration, from_epoch
from runbook_lib.model.units import format_value

#: Share of a window that must have samples before anything is said about the whole of it; convention.
COVERAGE = 0.9
#: Good steps that do not end an incident.
_PAUSE_STEPS = 2
_DAY_SECONDS = 86_400.0
_HOUR_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class Step:
    """What happened in one step.

    Args:
        at: its end, epoch seconds.
        events: requests in it.
        bad: those that missed the objective.
    """

    at: float
    events: float
    bad: float


@dataclass(frozen=True, slots=True)
class Pair:
    """Two windows that alert together.

    Args:
        long_seconds: the window in which it matters.
        short_seconds: the window in which it still goes on.
        rate: burn rate from which it alerts.
        severity: how bad that is.
    """

    long_seconds: float
    short_seconds: float
    rate: float
    severity: Severity


#: Google SRE workbook, table 5-8: page, page, ticket.
PAIRS = (
    Pair(_HOUR_SECONDS, 300, 14.4, Severity.CRITICAL),
    Pair(6 * _HOUR_SECONDS, 1800, 6.0, Severity.CRITICAL),
    Pair(3 * _DAY_SECONDS, 6 * _HOUR_SECONDS, 1.0, Severity.WARNING),
)


@dataclass(frozen=True, slots=True)
class Burn:
    """Burn rates of one pair of windows; None where samples are missing.

    Args:
        pair: its windows.
        long: burn rate over the longer one.
        short: burn rate over the shorter one.
        bad: bad requests in the longer one.
        enough: whether so many requests came that the rates prove something.
    """

    pair: Pair
    long: float | None
    short: float | None
    bad: float
    enough: bool

    @property
    def fires(self) -> bool:
        """Whether both windows burn at least at the pair's rate."""
        return self.enough and min(self.long or 0.0, self.short or 0.0) >= self.pair.rate

    def __str__(self) -> str:
        windows = f"{duration(self.pair.long_seconds)} and {duration(self.pair.short_seconds)}"
        return f"{_rate(self.long)} and {_rate(self.short)} over {windows} (alert from {self.pair.rate:g})"


@dataclass(frozen=True, slots=True)
class Incident:
    """A time in which the objective was missed.

    Args:
        start: epoch seconds.
        end: epoch seconds.
        events: requests in it.
        bad: those that missed the objective.
        spent: share of the window's error budget that it took.
    """

    start: float
    end: float
    events: float
    bad: float
    spent: float


@dataclass(frozen=True, slots=True)
class Spending:
    """What became of an error budget.

    Args:
        objective: the promise.
        seconds: length of the window, seconds.
        known_seconds: time in it that has samples, seconds.
        events: requests in that time.
        bad: those that missed the objective.
        burns: burn rates of the pairs of windows that fit into the window.
        incidents: the worst ones, most bad requests first.
        findings: what this says.
        left: error budget left over time, a ratio; None without data.
    """

    objective: Objective
    seconds: float
    known_seconds: float
    events: float
    bad: float
    burns: tuple[Burn, ...] = ()
    incidents: tuple[Incident, ...] = ()
    findings: tuple[Finding, ...] = ()
    left: Evidence | Gap | None = field(default=None, repr=False)

    @property
    def kept(self) -> float | None:
        """Share of good requests, 0 to 1; None without requests."""
        return 1 - self.bad / self.events if self.events else None

    @property
    def budget_left(self) -> float | None:
        """Share of the objective's error budget that is left, below 0 when it is overspent; None without requests.

        used = burn rate x time / period; of a window shorter than the period it is the part that this window used.
        """
        if not self.events:
            return None
        burn = self.bad / self.events / self.objective.error_budget
        return 1 - burn * min(self.known_seconds / (self.objective.window_days * _DAY_SECONDS), 1.0)

    def __str__(self) -> str:
        return "\n".join((_summary(self), *(f"  burn rate {burn}" for burn in self.burns), *map(str, self._rows())))

    __repr__ = __str__

    def _repr_html_(self) -> str:
        burns = show.facts([("burn rate", burn) for burn in self.burns]) if self.burns else ""
        columns = ("incident (UTC)", "lasted", "bad", "of", "budget spent")
        return f"<div>{show.text(_summary(self))}</div>{burns}" + show.table(columns, self._rows(), columns[2:])

    def _rows(self) -> list[tuple[str, ...]]:
        return [
            (
                f"{from_epoch(one.start):%Y-%m-%d %H:%M}",
                duration(one.end - one.start),
                f"{one.bad:.0f}",
                f"{one.events:.0f}",
                format_value(one.spent, "ratio"),
            )
            for one in self.incidents
        ]


def spending(requests: Evidence | Gap, bad: Evidence | Gap, objective: Objective, *, worst: int = 5) -> Spending:
    """Hold a window's requests against an objective.

    Args:
        requests: requests per second over time.
        bad: requests per second that missed the objective, over the same time in the same steps: failed ones for
            availability, those at least as slow as its threshold for latency.
        objective: what was promised.
        worst: how many incidents to name.

    Returns:
        What became of the budget, with findings: the budget overspent or an alerting burn rate is a symptom; a needed
        number that is missing makes the finding unknown.
    """
    question = f"whether {objective} was kept"
    for one in (requests, bad):
        if isinstance(one, Gap) or not has_samples(one):
            return Spending(objective, 0, 0, 0, 0, findings=(untold(question, one),), left=one)
    assert isinstance(requests, Evidence)
    assert isinstance(bad, Evidence)
    steps, length = _steps(requests, bad)
    end = end_epoch(requests)
    seconds = requests.window.seconds if requests.window else length * len(steps)
    events, missed = sum(one.events for one in steps), sum(one.bad for one in steps)
    known = min(length * len(steps), seconds)
    burns = tuple(_burn(steps, length, end, pair, objective) for pair in PAIRS if pair.long_seconds <= seconds * 1.01)
    result = Spending(objective, seconds, known, events, missed, burns, _incidents(steps, length, objective)[:worst])
    return replace(result, findings=tuple(_findings(result, requests, bad, question)), left=_left(result, steps, bad))


def _steps(requests: Evidence, bad: Evidence) -> tuple[list[Step], float]:
    """The steps in which both are known, and their length in seconds."""
    came, missed = combined(requests.series), dict(combined(bad.series))
    length = step_seconds(came) or (requests.window.seconds if requests.window else 0.0)
    # A rate over a range is no count: rounding may leave a few more bad requests than requests, or fewer than none.
    return [Step(t, rate * length, min(max(missed[t], 0.0), rate) * length) for t, rate in came if t in missed], length


def _burn(steps: Sequence[Step], length: float, end: float, pair: Pair, objective: Objective) -> Burn:
    inside = [one for one in steps if one.at > end - pair.long_seconds]
    events, bad = sum(one.events for one in inside), sum(one.bad for one in inside)
    enough = events >= THRESHOLDS["min_events"].value and bad >= THRESHOLDS["min_bad_events"].value
    long, short = (_rate_over(steps, length, end, s, objective) for s in (pair.long_seconds, pair.short_seconds))
    return Burn(pair, long, short, bad, enough)


def _rate_over(steps: Sequence[Step], length: float, end: float, seconds: float, objective: Objective) -> float | None:
    """Burn rate over the last ``seconds``; None when too little of them has samples, or no request came."""
    inside = [one for one in steps if one.at > end - seconds]
    events = sum(one.events for one in inside)
    # One step less is known at both ends of a window that is not a multiple of the step.
    if events <= 0 or len(inside) * length < COVERAGE * seconds - length:
        return None
    return sum(one.bad for one in inside) / events / objective.error_budget


def _incidents(steps: Sequence[Step], length: float, objective: Objective) -> tuple[Incident, ...]:
    """Times in which more requests were bad than the objective allows, most bad requests first."""
    total = sum(one.events for one in steps) * objective.error_budget
    over = [one for one in steps if one.events and one.bad / one.events > objective.error_budget]
    groups: list[list[Step]] = []
    for one in over:
        if groups and one.at - groups[-1][-1].at <= (_PAUSE_STEPS + 1) * length:
            groups[-1].append(one)
        else:
            groups.append([one])
    found = [
        Incident(
            group[0].at - length,
            group[-1].at,
            sum(one.events for one in group),
            sum(one.bad for one in group),
            sum(one.bad for one in group) / total,
        )
        for group in groups
    ]
    counted = [one for one in found if one.bad >= THRESHOLDS["min_bad_events"].value]
    return tuple(sorted(counted, key=lambda one: (-one.bad, one.start)))


def _findings(told: Spending, requests: Evidence, bad: Evidence, question: str) -> Iterator[Finding]:
    left = told.budget_left
    if told.events < THRESHOLDS["min_events"].value or left is None:
        yield untold(question, requests, f"only {told.events:.0f} requests came: insufficient traffic")
        return
    firing = [burn for burn in told.burns if burn.fires]
    if firing:
        yield _firing(told, firing[0], requests, bad)
    if left < 0:
        title = f"the error budget of {told.objective} is overspent: {_summary(told)}"
        yield _symptom(Severity.CRITICAL, title, told, requests, bad)
    blind = [burn for burn in told.burns if burn.long is None or burn.short is None]
    if told.known_seconds < COVERAGE * told.seconds or blind:
        share = format_value(told.known_seconds / told.seconds, "ratio")
        yield untold(question, bad, f"samples exist for {share} of the window; {_summary(told)}")
    elif left >= 0 and not firing:
        yield replace(
            ruled_out("none", _summary(told), requests, bad), observed=Quantity(1 - (told.kept or 0.0), "ratio")
        )


def _firing(told: Spending, burn: Burn, requests: Evidence, bad: Evidence) -> Finding:
    left = max(told.budget_left or 0.0, 0.0)
    lasts = left * told.objective.window_days * _DAY_SECONDS / min(burn.long or 1.0, burn.short or 1.0)
    title = f"burn rate of {told.objective}: {burn}; what is left lasts {duration(lasts)} at this rate"
    return _symptom(burn.pair.severity, title, told, requests, bad, rate=burn.pair.rate, observed=burn.short)


def _symptom(
    severity: Severity, title: str, told: Spending, *given: Evidence, rate: float = 0.0, observed: float | None = None
) -> Finding:
    finding = found(
        "unknown",
        severity,
        title,
        *given,
        confidence=0.9,
        role=Role.SYMPTOM,
        subject={"objective": told.objective.name},
    )
    if not rate:
        return finding
    return replace(
        finding,
        observed=Quantity(observed, ""),
        threshold=Quantity(rate, ""),
        threshold_source="Google SRE Workbook, table 5-8",
    )


def _left(told: Spending, steps: Sequence[Step], bad: Evidence) -> Evidence:
    """The budget left after each step, a ratio that only falls."""
    period = told.objective.window_days * _DAY_SECONDS
    whole = told.events / told.known_seconds * period if told.known_seconds else 0.0
    allowed = max(whole, told.events) * told.objective.error_budget
    spent = itertools.accumulate(one.bad for one in steps)
    points = [(one.at, 1 - gone / allowed) for one, gone in zip(steps, spent, strict=True) if allowed]
    name = f"Error budget left of {told.objective}"
    return replace(bad, name="budget_left", title=name, unit="ratio", data=(Series.of(points),), reader=None)


def _summary(told: Spending) -> str:
    if told.kept is None or told.budget_left is None:
        return f"{told.objective}: no data"
    good = "answered without an error" if told.objective.threshold_seconds is None else "fast enough"
    left = max(told.budget_left, 0.0)
    period = told.objective.window_days * _DAY_SECONDS
    minutes = left * told.objective.error_budget * period
    return (
        f"{told.objective}: {told.kept * 100:.3f} % of {told.events:.0f} requests {good} over "
        f"{duration(told.known_seconds)}; {format_value(told.budget_left, 'ratio')} of the error budget of "
        f"{told.objective.window_days} days is left, {duration(minutes)} of nothing but bad requests"
    )


def _rate(value: float | None) -> str:
    return "no data" if value is None else f"{value:.2f}"
