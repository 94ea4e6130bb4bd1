"""How numbers went over the window, against the objective and beside what happened."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta

from runbook_lib.charts.chart import Chart
from runbook_lib.charts.figure import figure
from runbook_lib.charts.lines import above, holes, runs, union
from runbook_lib.charts.marks import Markable, gaps_of, marks_of
from runbook_lib.charts.plot import MAX_LINES, Limit, Line, Panel, Plot
from runbook_lib.charts.sentences import timeline_sentence
from runbook_lib.charts.svg import draw
from runbook_lib.model import Evidence, Gap, Objective, Series, Window
from runbook_lib.model.times import from_epoch, utc_now
from runbook_lib.model.units import format_value

# Width of the strip that stands for a beginning without data, as a share of what is drawn.
_STRIP = 0.08


def timeline(
    evidence: Evidence | Gap,
    *more: Evidence | Gap,
    objective: Objective | None = None,
    limits: Sequence[Limit] = (),
    marks: Markable | Iterable[Markable] | None = None,
    title: str = "",
) -> Chart:
    """Draw series over their window, one panel for each unit.

    A gap becomes a panel that says why there is no data; it never becomes an empty or a zero line.

    Args:
        evidence: series to draw; its window is the time axis.
        more: further evidence over the same window.
        objective: drawn as a line where its unit fits, with the time beyond it shaded.
        limits: further lines to hold the first panel against.
        marks: rollouts, events, outcomes and findings to mark on the axis.
        title: heading; the first question's title when empty.
    """
    asked = (evidence, *more)
    window = next((one.window for one in asked if isinstance(one, Evidence) and one.window), None) or _window(asked)
    panels = [_panel(group, objective, limits if not i else (), window) for i, group in enumerate(_grouped(asked))]
    happened = marks_of(marks)
    timed = any(isinstance(one, Evidence) for one in asked) or bool(happened)
    plot = Plot(title or evidence.title, _axis(window, panels), panels, happened, timed)
    inside = [mark for mark in happened if window.start.timestamp() <= mark.time <= window.end.timestamp()]
    sentence = timeline_sentence(plot, window, asked, inside, gaps_of(marks))
    return Chart(plot.title, sentence, draw(plot, sentence), figure(plot, sentence))


def _window(asked: Sequence[Evidence | Gap]) -> Window:
    times = [t for one in asked if isinstance(one, Evidence) for s in one.series for t in s.times]
    end = utc_now() if not times else max(one.read_at for one in asked)
    minutes = max((end.timestamp() - min(times)) / 60, 1) if times else 60
    return Window(end - timedelta(minutes=minutes), end)


def _axis(window: Window, panels: Sequence[Panel]) -> Window:
    """The part of the window that is drawn: a long beginning without any data is cut to a strip.

    A metrics store that was started a quarter of an hour ago would otherwise leave a sliver for its data.
    """
    firsts = [line.runs[0][0][0] for panel in panels for line in panel.lines]
    start, end = window.start.timestamp(), window.end.timestamp()
    if not firsts or min(firsts) - start < (end - start) / 2:
        return window
    strip = max((end - min(firsts)) * _STRIP, (end - start) / 200)
    return Window(from_epoch(max(min(firsts) - strip, start)), window.end)


def _grouped(asked: Sequence[Evidence | Gap]) -> list[list[Evidence | Gap]]:
    """Evidence of one unit shares a panel; every gap has its own, so that its reason can be read."""
    groups: list[list[Evidence | Gap]] = []
    for one in asked:
        home = next((g for g in groups if _drawable(one) and _drawable(g[0]) and _unit(one) == _unit(g[0])), None)
        if home is None:
            groups.append([one])
        else:
            home.append(one)
    return groups


def _drawable(one: Evidence | Gap) -> bool:
    return isinstance(one, Evidence) and any(s.last is not None for s in one.series)


def _unit(one: Evidence | Gap) -> str:
    return one.unit if isinstance(one, Evidence) else ""


def _panel(
    group: Sequence[Evidence | Gap], objective: Objective | None, limits: Sequence[Limit], window: Window
) -> Panel:
    title = "; ".join(one.title for one in group)
    if not _drawable(group[0]):
        return Panel(title, "", message=f"no data: {_reason(group[0])}")
    unit = _unit(group[0])
    named = [(name, series) for one in group if isinstance(one, Evidence) for name, series in names(one, len(group))]
    # The highest lines are the ones that a person must see.
    highest = sorted(named, key=lambda pair: -(pair[1].maximum or 0))[:MAX_LINES]
    start, end = window.start.timestamp(), window.end.timestamp()
    drawn = [(name, found) for name, series in highest if (found := runs(series, start, end))]
    if not drawn:
        return Panel(title, "", message=f"no data: {group[0].source}: no sample in the window")
    lines = [Line(name, found, rank) for rank, (name, found) in enumerate(drawn)]
    all_runs = [run for line in lines for run in line.runs]
    held = [*objective_limit(objective, unit), *limits]
    beyond = union(i for run in all_runs for i in above(run, held[0].value)) if held else []
    return Panel(
        title=title,
        unit=unit,
        lines=tuple(lines),
        limits=tuple(held),
        violations=tuple(beyond),
        holes=tuple(holes(all_runs, start, end)),
    )


def _reason(one: Evidence | Gap) -> str:
    if isinstance(one, Gap):
        return f"{one.source}: {one.reason}"
    if one.data and not isinstance(one.data, tuple):
        return f"{one.source}: the answer holds no series"
    return f"{one.source}: no sample in the window"


def objective_limit(objective: Objective | None, unit: str) -> list[Limit]:
    """The line that an objective draws in a panel of ``unit``; none when the objective speaks of something else."""
    if objective is None:
        return []
    if unit == "s" and objective.threshold_seconds is not None:
        return [Limit(objective.threshold_seconds, f"objective {format_value(objective.threshold_seconds, unit)}")]
    if unit == "ratio" and objective.threshold_seconds is None:
        return [Limit(objective.error_budget, f"objective {format_value(objective.error_budget, unit)}")]
    return []


def names(evidence: Evidence, company: int = 1) -> list[tuple[str, Series]]:
    """Each series with a short name: the labels in which the series differ, or the question when there is one.

    Args:
        evidence: whose series to name.
        company: how many questions share the panel; with more than one the question stays in the name.
    """
    series = evidence.series
    keys = sorted({key for one in series for key in one.labels})
    telling = [key for key in keys if len({one.labels.get(key) for one in series}) > 1]
    named = []
    for one in series:
        own = ", ".join(one.labels[key] for key in telling if one.labels.get(key))
        shown = [evidence.title] if company > 1 or not own else []
        named.append((": ".join([*shown, own] if own else shown), one))
    return named
